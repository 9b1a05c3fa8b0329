"""What pydantic finds wrong, in the words of somebody who wrote YAML: what is wrong, and what would be right."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import yaml
from pydantic_core import ErrorDetails

from faultproxy.config.json_schema import example, required_keys, takes, valid_keys
from faultproxy.config.yaml_tree import Node, Path, Problem
from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import Fault
from faultproxy.rules.conditions.base import either
from faultproxy.text import LONGEST_TYPO, nearest
from faultproxy.units import quote

_FORMER = MappingProxyType({"mode": "dry_run: true for mode: shadow, nothing for mode: enforce"})
"""Keys that there were, and what is written in their place."""
_KINDS: Mapping[Any, type[Fault]] = MappingProxyType({kind.key: kind for kind in CATALOGUE})
FAULTS = tuple(_KINDS)
_NEGATIONS = frozenset({"not", "unless", "except", "exclude"})
_TRUTHS = (("true", {"true", "yes", "on", "y", "1"}), ("false", {"false", "no", "off", "n", "0"}))
_OF_RULES = {("proxies", "rules"), ("proxies", "rules", "when")}


def problem(error: ErrorDetails, root: Node) -> Problem:
    """One of pydantic's errors as a problem of the file."""
    loc = error["loc"][:-1] if error["loc"][-1:] == ("[key]",) else error["loc"]
    node, path = root.nearest(loc)
    if error["type"] == "extra_forbidden" or loc != error["loc"]:
        mapping, above = root.nearest(loc[:-1])
        key = str(loc[-1])
        text = _where_it_belongs(key, error["input"], above, root) or _say(error, node, path)
        return Problem(mapping.keys.get(key, node.place), (*above, key), text)
    return Problem(node.place, path, _say(error, node, path))


def empty(node: Node, path: Path) -> Problem:
    """A key without a value, where leaving it out would be right."""
    return Problem(node.place, path, f"is empty; {_any_value(path)}")


def missing(key: str, root: Node) -> Problem:
    """A key that is not at the top, and has to be."""
    return Problem(root.place, (), f"{key} is missing; add {_flow({key: _example((key,))})}")


def sample(key: str) -> str:
    """A value of a key at the top, as YAML."""
    return _flow(_example((key,)))


def _say(error: ErrorDetails, node: Node, path: Path) -> str:
    # Only pydantic's own errors have a url; the text of ours is for users already.
    if "url" not in error:
        text = error["msg"]
    elif error["type"] in _WORDS:
        text = _WORDS[error["type"]](error, node, path)
    elif error["type"] in _TEXTS:
        context = {key: str(value).replace("'", "") for key, value in error.get("ctx", {}).items()}
        right = _flow(_example(path) or _example((*path, 0)) or 1)
        text = _TEXTS[error["type"]].format(value=quote(error["input"]), example=right, **context)
    else:
        text = f"{quote(error['input'])} {error['msg'].removeprefix('Value error, ').removeprefix('Input ')}"
    if node.value is None and path == error["loc"] and error["type"] != "extra_forbidden":
        return "is empty; " + (text.partition("; ")[2] or _any_value(path))
    return text


def _unknown_key(error: ErrorDetails, _: Node, path: Path) -> str:
    key = str(error["loc"][-1])
    keys = valid_keys(path[:-1])
    if key in _FORMER and _FORMER[key].partition(":")[0] in keys:
        return f"{quote(key)} is no longer a key; write {_FORMER[key]}"
    if near := nearest(key, keys):
        return f"{quote(key)} is not a key here; write {near}"
    if not keys:
        return f"{quote(key)} is not a key here, there is none; remove it"
    return f"{quote(key)} is not a key here; write one of {', '.join(keys)}"


def _where_it_belongs(key: str, value: Any, above: Path, root: Node) -> str | None:
    """What to write instead of a key of a rule, or of its ``when``, that belongs elsewhere in the rule, if it does."""
    if len(above) not in (4, 5) or (above[0], above[2], *above[4:]) not in _OF_RULES or key in _FORMER:
        return None
    rule, is_when = above[:4], len(above) == 5
    if not is_when and key in valid_keys((*rule, "when")):
        return f'"{key}" is a condition; write it in when, such as when: {{{key}: {_short(value)}}}'
    if is_when and key in valid_keys(rule):
        return f'"{key}" is {"a fault" if key in FAULTS else "no condition"}; write it beside when, not in it'
    if key in _NEGATIONS:
        right = "write, above this rule, one with the conditions to leave out and the fault pass"
        return f'"{key}" is no condition; {right}, such as - {{name: spared, when: {{client: 10.0.0.1}}, pass: }}'
    if key in valid_keys((*rule, "when", "window")) and not (key == "to" and not is_when):
        return f'"{key}" is a part of window; write it there, such as when: {{window: {{{key}: {_short(value)}}}}}'
    given = [fault for fault in FAULTS if root.nearest((*rule, fault))[1] == (*rule, fault)]
    having = [fault for fault in FAULTS if key in valid_keys((*rule, fault))]
    faults = [fault for fault in having if fault in given] or having
    if not faults:
        return None
    right = f"write it below the fault, such as {faults[0]}: {{{key}: {_short(value)}}}"
    return f'"{key}" is an option of {either(faults)}; {right}'


def _short(value: Any) -> str:
    """A value on one line, if it is short and plain."""
    text = _braces(value) if not isinstance(value, dict) else ""
    return text if 0 < len(text) <= LONGEST_TYPO else "..."


def _missing(error: ErrorDetails, _: Node, path: Path) -> str:
    key = str(error["loc"][-1])
    return f"{key} is missing; add {_flow({key: _example((*path, key))})}"


def _not_mapping(error: ErrorDetails, _: Node, path: Path) -> str:
    keys = valid_keys(path)
    match path:
        case ("proxies", _, "rules", int(), str(key)) if key in FAULTS:
            return _not_options(error["input"], path, keys)
    given = error["input"]
    if isinstance(given, str) and given in keys:
        return f'{quote(given)} is not a mapping; write "{given}:", with a colon'
    right = f"write any of {', '.join(keys)} below it" if keys else f"write {_flow(_example(path))}"
    return f"{quote(given)} is not a mapping; {right}"


def _not_options(value: Any, path: Path, options: list[str]) -> str:
    fault = path[-1]
    if value is False:
        return f"false does not turn {fault} off; leave the key out"
    if not options:
        return f'{quote(value)} is too much, as {fault} has no options; write "{fault}:" with nothing behind it'
    required = required_keys(path)
    if value is True and not required:
        return f'"true" is no option of {fault}; write "{fault}:" alone, or any of {", ".join(options)} below it'
    option = required[0] if required else "after"
    if value is True:
        return f'"true" is no option of {fault}; write {fault}: {{{option}: {_example((*path, option))}}}'
    if option in options and re.match("[0-9]", str(value)):
        otherwise = "4KiB" if option == "after" else _example((*path, option))
        right = value if takes(_KINDS[fault], {option: value}) else otherwise
        return f"{quote(value)} is not a mapping; write {fault}: {{{option}: {right}}}"
    return f"{quote(value)} is not a mapping; write any of {', '.join(options)} below it"


def _not_list(error: ErrorDetails, node: Node, path: Path) -> str:
    if path[-1:] == ("rules",) and isinstance(error["input"], dict):
        right = 'write "- " before its first key' if node.place.line else "write [{...}], with a mapping for each rule"
        return f"is one rule where a list of rules is due; {right}"
    return f'{quote(error["input"])} is not a list; write each item on a line of its own, after "- "'


def _not_text(error: ErrorDetails, node: Node, _: Path) -> str:
    value = error["input"]
    if isinstance(value, (dict, list)) or value is None:
        return f"{quote(value)} is not text; write one line of text"
    kind = "truth value" if isinstance(value, bool) else "number"
    return f'{quote(node.source)} is a {kind} here; quote it: "{node.source}"'


def _not_whole(error: ErrorDetails, _: Node, path: Path) -> str:
    value = error["input"]
    digits = re.fullmatch(r"\+?0*([0-9]{1,15})(?:\.0+)?", str(value))
    right = f"write {digits[1]}" if digits else f"write a whole number such as {_example(path) or 0}"
    if isinstance(value, str) and digits and digits[1] == value:
        return f"{quote(value)} is text here; {right} without quotes"
    return f"{quote(value)} is not a whole number; {right}"


def _not_truth(error: ErrorDetails, _: Node, __: Path) -> str:
    value = error["input"]
    right = next((right for right, words in _TRUTHS if str(value).lower() in words), "true or false")
    return f"{quote(value)} is not true or false; write {right}"


_WORDS: MappingProxyType[str, Callable[[ErrorDetails, Node, Path], str]] = MappingProxyType(
    {
        "extra_forbidden": _unknown_key,
        "missing": _missing,
        **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), _not_mapping),
        **dict.fromkeys(("tuple_type", "list_type"), _not_list),
        "string_type": _not_text,
        **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _not_whole),
        **dict.fromkeys(("bool_type", "bool_parsing"), _not_truth),
    }
)
_CHOICES = "{value} is not one of the choices; write {expected}"
_LONG = "is longer than {max_length}; write less"
_NUMBER = "{value} is not a number; write one such as {example}"
_TEXTS: MappingProxyType[str, str] = MappingProxyType(
    {
        "float_type": _NUMBER,
        "float_parsing": _NUMBER,
        "literal_error": _CHOICES,
        "enum": _CHOICES,
        "greater_than_equal": "{value} is too small; write {ge} or more",
        "greater_than": "{value} is too small; write more than {gt}",
        "less_than_equal": "{value} is too large; write at most {le}",
        "less_than": "{value} is too large; write less than {lt}",
        "too_short": "holds nothing; write at least {min_length}, such as {example}",
        "too_long": _LONG,
        "string_too_short": '"" is no text; write some, such as {example}',
        "string_too_long": _LONG,
        "string_pattern_mismatch": "{value} does not have the right form; write one such as {example}",
    }
)


def _example(path: Path) -> Any:
    found = example(path)
    return {} if found is None and valid_keys(path) else found


def _any_value(path: Path) -> str:
    found = example(path)
    return f"write a value{'' if found is None else f' such as {_flow(found)}'}, or leave the key out"


def _flow(value: Any) -> str:
    """A value as YAML on one line; a mapping of one key as it would stand in a block."""
    if isinstance(value, dict) and len(value) == 1:
        ((key, inner),) = value.items()
        return f"{key}: {_flow(inner) if not isinstance(inner, dict) else _braces(inner)}"
    return _braces(value)


def _braces(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")
