"""A configuration file to a Config, or to every error in it, each with its place and with what would be right."""

import errno
import os
import re
import stat
import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from faultproxy.addresses import Address, OriginalDestination, UnixAddress, parse_listen, parse_upstream
from faultproxy.config import messages
from faultproxy.config.json_schema import IGNORED
from faultproxy.config.schema import Config, ProxyConfig
from faultproxy.config.together import clashes
from faultproxy.config.warnings import warnings
from faultproxy.config.yaml_tree import Node, Place, Problem, Unreadable, plant, read_tree
from faultproxy.config.yaml_tree import Path as YamlPath
from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import Connect, ConnectDelay, Shape
from faultproxy.rules.conditions import PEEKED, TOLD_BY_HEADER
from faultproxy.text import one_line
from faultproxy.units import quote

LARGEST_FILE = 2**20
MOST_ERRORS = 100

STANDARD_INPUT = Path("-")

_STANDARD_INPUT_NAME = "<stdin>"
_MOST_NAMES = 1000
_MOST_WORDED = 10 * MOST_ERRORS
_START = Place(1, 1)
_TOO_LARGE = "the file is larger than 1 MiB; write a smaller one"
_MAY_PASS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
A = TypeVar("A")
_FAULTS = frozenset(kind.key for kind in CATALOGUE)
_CONNECTS = frozenset(kind.key for kind in CATALOGUE if issubclass(kind, (Connect, ConnectDelay)))
_VERDICTS = frozenset(kind.key for kind in CATALOGUE if not issubclass(kind, Shape))


class ConfigError(Exception):
    """A file cannot be used; ``errors`` are lines ``FILE:LINE:COLUMN: PATH: what is wrong; what would be right``.

    ``may_pass``: the host lacked something, so that the same file may be usable later.
    """

    may_pass = False

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def load(path: Path, *, has_api: bool = False) -> Config:
    """Read and validate a file, with the variables of this process's environment. ``-`` is standard input.

    Opens nothing but a regular file, and reads no more than 1 MiB of it. With an API, of which the command line may
    know alone, it needs no proxies. Raises ConfigError.
    """
    name, data = _content(path)
    return parse(data, name, os.environ, has_api=has_api)


def examine(path: Path) -> tuple[Config, list[str]]:
    """The same, and warnings: lines ``FILE:LINE:COLUMN: PATH: warning: ...`` on what can hardly be meant."""
    name, data = _content(path)
    return examine_text(data, name, os.environ)


def examine_text(
    data: bytes, name: str, environment: Mapping[str, str] = MappingProxyType({}), *, has_api: bool = False
) -> tuple[Config, list[str]]:
    """The same of the content of a file, as parse() has it."""
    config, root = _read_config(data, name, environment, has_api=has_api)
    return config, _warnings(config, root, name)


def examine_value(value: object, *, has_api: bool = False) -> tuple[Config, list[str]]:
    """The same of what build() validates."""
    root = plant(value)
    config = _config(root, None, [], has_api=has_api)
    return config, _warnings(config, root, None)


def _warnings(config: Config, root: Node, name: str | None) -> list[str]:
    lines = (_line(name, problem._replace(text=f"warning: {problem.text}")) for problem in warnings(config, root))
    return [text for _, text in sorted(lines)]


def parse(
    data: bytes, name: str, environment: Mapping[str, str] = MappingProxyType({}), *, has_api: bool = False
) -> Config:
    """Validate the content of a file; ``name`` is what its errors call it, ``environment`` what its variables hold.

    Raises ConfigError.
    """
    return _read_config(data, name, environment, has_api=has_api)[0]


def build(value: object, *, name: str | None = None, has_api: bool = False) -> Config:
    """Validate a configuration that is held in mappings and lists; its errors name paths, and no file.

    Of what is a tree in it, they name the places too, after ``name``. Raises ConfigError.
    """
    return _config(plant(value), name, [], has_api=has_api)


def build_proxy(proxy: str, value: object, *, name: str | None = None) -> ProxyConfig:
    """Validate one proxy that is held in mappings and lists, by itself: see check_together().

    Its errors are those of build(), from ``proxies`` on. Raises ConfigError.
    """
    return build({"proxies": {proxy: value}}, name=name).proxies[proxy]


def check_together(config: Config, api: Address | None = None) -> None:
    """Raise ConfigError if proxies, each of which is valid by itself, cannot be beside one another or the API."""
    listens = {name: proxy.listen for name, proxy in config.proxies.items()}
    upstreams = {name: proxy.upstream for name, proxy in config.proxies.items()}
    found = clashes(listens, upstreams, api)
    problems = [
        Problem(Place(0, number), ("proxies", name, key), f"{quote(str(getattr(config.proxies[name], key)))} {text}")
        for number, (name, key, text) in enumerate(found)
    ]
    if problems:
        raise _refusal(None, problems)


def _read_config(
    data: bytes, name: str, environment: Mapping[str, str], *, has_api: bool = False
) -> tuple[Config, Node]:
    try:
        root, problems = read_tree(_decode(data), environment)
        if not isinstance(root.value, dict):
            what = "the file is empty" if root.value is None else f"the file holds {_kind(root)}, not a mapping"
            raise Unreadable(root.place, (), f"{what}; start with proxies:")
    except Unreadable as error:
        raise _refusal(name, [error.problem]) from None
    return _config(root, name, problems, has_api=has_api), root


def _config(root: Node, name: str | None, problems: list[Problem], *, has_api: bool) -> Config:
    if isinstance(root.value, dict):
        for key in [key for key in root.value if key.startswith(IGNORED)]:
            del root.value[key]
    if not has_api and root.child("api") is None:
        problems += _no_proxies(root)
    config, wrong, unsaid = _validate(root)
    problems += [*wrong, *_twice_named(root), *_too_late(root), *_clashes(root)]
    problems += _without_destination(root)
    if config is None or problems:
        raise _refusal(name, problems, unsaid)
    return config


def _content(path: Path) -> tuple[str, bytes]:
    """What a file is called in messages, and its content. Raises ConfigError."""
    name = _STANDARD_INPUT_NAME if path == STANDARD_INPUT else str(path)
    try:
        return name, _read_standard_input() if path == STANDARD_INPUT else _read(path)
    except OSError as error:
        refusal = _refusal(name, [Problem(_START, (), _why_unread(error, path))])
        refusal.may_pass = error.errno in _MAY_PASS
        raise refusal from None
    except Unreadable as error:
        raise _refusal(name, [error.problem]) from None


def _read(path: Path) -> bytes:
    # O_NONBLOCK: to open a pipe waits for its writer otherwise. A regular file does not care.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable(_START, (), "the file is a pipe or a device; write the configuration to a regular file")
        # A file of the kernel's may have nothing to say at the moment, which is None.
        data = file.read(LARGEST_FILE + 1) or b"" if status.st_size <= LARGEST_FILE else b""
    if len(data) > LARGEST_FILE or status.st_size > LARGEST_FILE:
        raise Unreadable(_START, (), _TOO_LARGE)
    return data


def _read_standard_input() -> bytes:
    data = sys.stdin.buffer.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise Unreadable(_START, (), _TOO_LARGE)
    return data


def _why_unread(error: OSError, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        near = _nearest_name(path)
        return "the file does not exist; " + (f"there is {quote(near)} beside it" if near else "check its name")
    if isinstance(error, IsADirectoryError):
        return "the file is a directory; name a file in it"
    if isinstance(error, PermissionError):
        return "the file may not be read; check its permissions"
    return f"the file cannot be read, {error.strerror or error}; check it"


def _nearest_name(path: Path) -> str | None:
    """A file beside the one that does not exist, with nearly its name."""
    try:
        names = [entry.name for entry in islice(os.scandir(path.parent), _MOST_NAMES)]
    except OSError:
        return None
    return next(iter(get_close_matches(path.name, names, 1, cutoff=0.8)), None)


def _decode(data: bytes) -> str:
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].removeprefix(BOM_UTF8)
        column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        text = f"byte {error.start + 1} of the file, 0x{data[error.start]:02x}, is not UTF-8; save the file as UTF-8"
        raise Unreadable(Place(before.count(b"\n") + 1, column), (), text) from None


def _kind(node: Node) -> str:
    return "a list" if isinstance(node.value, list) else f"only {quote(node.source)}"


def _validate(root: Node) -> tuple[Config | None, list[Problem], int]:
    """The Config, if the schema has nothing against it; what is wrong with the values; how much more is.

    Only the first so many are put into words: a megabyte has room for 100,000 mistakes.
    """
    config, errors = _try(root)
    if _variables_to_text(root, errors):
        config, errors = _try(root)
    reported = {error["loc"] for error in errors}
    gaps = [(path, node) for path, node in root.walk() if _is_gap(path, node) and path not in reported]
    problems = [messages.problem(error, root) for error in errors[:_MOST_WORDED]]
    problems += [messages.empty(node, path) for path, node in gaps[:_MOST_WORDED]]
    return config, problems, len(errors) + len(gaps) - len(problems)


def _try(root: Node) -> tuple[Config | None, list[ErrorDetails]]:
    try:
        return Config.model_validate(root.plain()), []
    except ValidationError as error:
        # pydantic calls a list of wrong items too short as well, for it counts the right ones.
        return None, [found for found in error.errors() if found["type"] != "too_short" or not found["input"]]


def _variables_to_text(root: Node, errors: list[ErrorDetails]) -> bool:
    """Have what variables hold be text where only text will do, although it looks like a number; whether any did."""
    nodes = [root.nearest(error["loc"])[0] for error in errors if error["type"] == "string_type"]
    numbers = [node for node in nodes if node.is_variable and not isinstance(node.value, str | None)]
    for node in numbers:
        node.value = node.source
    return bool(numbers)


def _is_gap(path: YamlPath, node: Node) -> bool:
    """Whether a value is null where that means nothing. Empty ``rules`` are none; an empty fault has its defaults."""
    if node.value is not None:
        return False
    match path:
        case ("proxies", _, "rules") | ("proxies", _, "rules", str()):
            return False
        case ("proxies", _, "rules", _, key):
            return key not in _FAULTS
    return True


def _no_proxies(root: Node) -> Iterator[Problem]:
    """A file that has none; only where there is an API, proxies may come later."""
    proxies = root.child("proxies")
    if proxies is None:
        yield messages.missing("proxies", root)
    elif proxies.value == {}:
        text = f"holds nothing; write at least 1, such as {messages.sample('proxies')}"
        yield Problem(proxies.place, ("proxies",), text)


def _proxies(root: Node) -> Iterator[tuple[str, Node]]:
    proxies = root.child("proxies")
    if proxies is not None and isinstance(proxies.value, dict):
        yield from proxies.value.items()


def _rules(proxy: Node) -> Iterator[tuple[int, Node]]:
    rules = proxy.child("rules")
    if rules is not None and isinstance(rules.value, list):
        yield from enumerate(rules.value)


def _keys(node: Node | None) -> frozenset[str]:
    return frozenset(node.value if node is not None and isinstance(node.value, dict) else ())


def _twice_named(root: Node) -> Iterator[Problem]:
    """Rules that have the name of one above them in the same proxy: counts and draws go by the name."""
    for proxy, node in _proxies(root):
        seen: dict[str, Place] = {}
        for index, rule in _rules(node):
            name = rule.child("name")
            if name is None or not isinstance(name.value, str):
                continue
            if name.value in seen:
                line = seen[name.value].line
                where = f"at line {line}" if line else "above"
                text = f"{quote(name.value)} already names the rule {where}; give this one another name"
                yield Problem(name.place, ("proxies", proxy, "rules", index, "name"), text)
            seen.setdefault(name.value, name.place)


def _too_late(root: Node) -> Iterator[Problem]:
    """Connect faults below a verdict that must hear the client first: a SYN cannot be judged by bytes.

    Nor, with ``accept_proxy``, by who the client is: the SYN is the load balancer's.
    """
    for proxy, node in _proxies(root):
        hears = asks = ""
        told = TOLD_BY_HEADER if _value(node, "accept_proxy") is True else frozenset()
        for index, rule in _rules(node):
            keys, conditions = _keys(rule), _keys(rule.child("when"))
            connect = min(keys & _CONNECTS, default=None)
            if connect is not None and conditions & told:
                text = f"{connect} is injected before the load balancer says who the client is (accept_proxy)"
                right = f"remove {' and '.join(sorted(conditions & told))}"
                yield Problem(rule.place, ("proxies", proxy, "rules", index), f"{text}; {right}")
            if connect is not None and hears:
                text = f"{connect} is injected before the client can say anything, but {hears} {asks}"
                yield Problem(rule.place, ("proxies", proxy, "rules", index), f"{text}; put this rule above {hears}")
            if connect is None and conditions & (PEEKED | told) and _ends_reading(rule):
                name = rule.child("name")
                asks = "looks at what it says" if conditions & PEEKED else "asks who it is (accept_proxy)"
                hears = quote(name.value) if name is not None and isinstance(name.value, str) else f"rules[{index}]"


def _ends_reading(rule: Node) -> bool:
    stop = _value(rule, "stop")
    return _value(rule, "dry_run") is not True and (stop if isinstance(stop, bool) else bool(_keys(rule) & _VERDICTS))


def _clashes(root: Node) -> Iterator[Problem]:
    """Proxies that listen at one place, or where the API does, or dial one another in a circle, or the API."""
    proxies = dict(_proxies(root))
    listens = {name: _address(parse_listen, _value(proxy, "listen")) for name, proxy in proxies.items()}
    upstreams = {name: _address(parse_upstream, _value(proxy, "upstream")) for name, proxy in proxies.items()}
    for proxy, key, text in clashes(listens, upstreams, _address(parse_listen, _value(root, "api"))):
        node = proxies[proxy].child(key)
        assert node is not None  # it has an address
        yield Problem(node.place, ("proxies", proxy, key), f"{quote(node.value)} {text}")


def _without_destination(root: Node) -> Iterator[Problem]:
    """Proxies that are to dial where their clients wanted to go, and cannot know where that is."""
    for name, proxy in _proxies(root):
        upstream = proxy.child("upstream")
        if upstream is None or not isinstance(_address(parse_upstream, upstream.value), OriginalDestination):
            continue
        why = ""
        if isinstance(_address(parse_listen, _value(proxy, "listen")), UnixAddress):
            why = "who connects to a Unix socket wants to go nowhere else"
        elif _value(proxy, "accept_proxy") is True:
            why = "with accept_proxy, the load balancer is who connects"
        if why:
            text = f'"original" is where the kernel has led a client away from; {why}: write the address of the server'
            yield Problem(upstream.place, ("proxies", name, "upstream"), text)


def _value(node: Node, key: str) -> Any:
    child = node.child(key)
    return child.value if child is not None else None


def _address(parse: Callable[[Any], A], value: Any) -> A | None:
    try:
        return parse(value)
    except PydanticCustomError:
        return None


def _refusal(name: str | None, problems: list[Problem], unsaid: int = 0) -> ConfigError:
    """The error for a file, one problem a place and path, from top to bottom."""
    first: dict[tuple[Place, str], Problem] = {}
    for problem in problems:
        first.setdefault((problem.place, _spell(problem.path)), problem)
    lines = [_line(name, problem)[1] for _, problem in sorted(first.items())]
    more = len(lines) - MOST_ERRORS + unsaid
    return ConfigError((*lines[:MOST_ERRORS], f"... and {more} more") if more > 0 else tuple(lines))


def _line(name: str | None, problem: Problem) -> tuple[Place, str]:
    """A problem as a line, before it the place by which lines are sorted."""
    place, path, text = problem
    where = f"{one_line(name)}:{place.line}:{place.column}: " if name is not None and place.line else ""
    return place, f"{where}{_spell(path)}{': ' if path else ''}{text}"


def _spell(path: YamlPath) -> str:
    """A path as people write it: ``proxies.redis.rules[0].reset``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_spell_key(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def _spell_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_?<-]+", key) and len(key) <= 100 else quote(key)
