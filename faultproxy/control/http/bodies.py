"""The body of a request: JSON, or YAML where its Content-Type says so, as plain mappings, lists and scalars."""

import json
import re
from collections.abc import Mapping
from typing import Any

from faultproxy.config.loader import LARGEST_FILE
from faultproxy.config.yaml_tree import DEEPEST, MOST_VALUES, Node, Problem, Unreadable, read_tree
from faultproxy.control.edits import NAME
from faultproxy.control.http.messages import HttpProblem, Request
from faultproxy.units import quote

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def is_yaml(headers: Mapping[str, str]) -> bool:
    """Whether a body is YAML. What says nothing, or something else, is read as JSON."""
    return "yaml" in headers.get("content-type", "").partition(";")[0].lower()


def body(request: Request) -> Any:
    """What the body holds. No key stands twice in it, and it is neither deeper nor larger than a file may be.

    Raises HttpProblem (400), whose errors read as a file's: ``body:LINE:COLUMN: PATH: what is wrong``.
    """
    try:
        text = request.body.decode()
    except UnicodeDecodeError as error:
        raise _problem(f"{NAME}: byte {error.start + 1} is not UTF-8; send UTF-8") from None
    return _tree(text).plain() if is_yaml(request.headers) else _read_json(text)


def tree(request: Request) -> Any:
    """What the body holds, as plain values; of YAML as a tree, so that what is wrong with a value has its place."""
    try:
        return _tree(request.body.decode()) if is_yaml(request.headers) else body(request)
    except UnicodeDecodeError:
        return body(request)


def _tree(text: str) -> Node:
    if not text.strip():
        raise _problem(f"{NAME}: is empty; send YAML")
    if len(text) > LARGEST_FILE:
        raise _problem(f"{NAME}: is larger than 1 MiB of YAML; send less, or JSON")
    try:
        root, problems = read_tree(text)
    except Unreadable as error:
        raise _problem(_line(error.problem)) from None
    if problems:
        raise _problem(*map(_line, problems))
    return root


def _line(problem: Problem) -> str:
    return f"{NAME}:{problem.place.line}:{problem.place.column}: {problem.text}"


def _read_json(text: str) -> Any:
    if not text.strip():
        raise _problem(f"{NAME}: is empty; send JSON, or YAML with Content-Type: application/yaml")
    try:
        value = json.loads(text, object_pairs_hook=_mapping, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _problem(f"{NAME}:{error.lineno}:{error.colno}: this is not JSON: {error.msg}") from None
    except RecursionError:
        raise _problem(_TOO_DEEP) from None
    except ValueError:  # int() reads no more digits than 4,300
        raise _problem(f"{NAME}: holds a number that is too long; write a shorter one") from None
    _check_size(value)
    if _SURROGATE.search(text):
        _check_text(value)
    return value


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _problem(f"{NAME}: {quote(twice)} stands twice in one object; write it once")
    return mapping


def _refuse_constant(name: str) -> None:
    raise _problem(f"{NAME}: {name} is not JSON; write a number")


def _check_size(value: Any) -> None:
    """Refuse what would be costly to look at, level by level."""
    level, values = [value], 0
    for _ in range(DEEPEST + 1):
        level = [child for each in level if isinstance(each, dict | list) for child in _children(each)]
        values += len(level)
        if values > MOST_VALUES:
            raise _problem(f"{NAME}: holds more than {MOST_VALUES} values; send fewer")
        if not level:
            return
    raise _problem(_TOO_DEEP)


def _check_text(value: Any) -> None:
    """Refuse half a pair of surrogates, which JSON can write and UTF-8 cannot: no answer could hold it."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = quote(error.object[error.start : error.end])
        raise _problem(f"{NAME}: {half} is half of a pair of surrogates; write the whole character") from None


def _children(value: dict[str, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


def _problem(*errors: str) -> HttpProblem:
    return HttpProblem(400, "Bad Request", "the body cannot be read", errors)


_TOO_DEEP = f"{NAME}: is nested deeper than {DEEPEST} levels; send something flatter"
