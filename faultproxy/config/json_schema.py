"""The JSON Schema of the configuration file, for editors; the loader's messages look up keys and examples in it."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import ValidationError

from faultproxy.config.schema import Config
from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import Fault

IGNORED = "x-"
"""Top-level keys that begin so are not looked at: a place for anchors."""

JsonSchema = dict[str, Any]

_VARIABLE = r"\$\{"


def json_schema() -> JsonSchema:
    """The schema, draft 2020-12. It accepts what the loader accepts, but for what JSON Schema cannot say.

    What only the loader sees: rule names that stand twice in a proxy; a connect fault below a verdict that looks at the
    client's bytes, or, with ``accept_proxy``, one that asks who the client is; two proxies with one place to listen, or
    that dial one another in a circle, or are to dial where a client wanted to go and cannot know; a ``keepalive`` or
    ``memory`` that is too small or too large; a regular expression that is none, costs too much, needs no byte, or
    looks beside its match; a ``starts_with`` of more bytes than are looked at, though not of more characters; a
    ``from`` that is not before ``to``, a ``to`` after ``every``, an ``every`` under 10ms; a ``min`` above ``max``;
    whether a size is a whole number of bytes; the largest duration, size and port; whether an IP address or network is
    a real one, with no bits beyond its prefix and not IPv4-mapped; a Unix path that is too long in bytes but not in
    characters; whether a variable is set, and what it holds. And 3.0 is a whole number to JSON Schema, a fraction to
    the loader.
    """
    schema = _tidy(Config.model_json_schema())
    for name, definition in schema["$defs"].items():
        definition["title"] = name
    schema["properties"]["proxies"]["additionalProperties"] = False
    schema["patternProperties"] = {f"^{IGNORED}": {}}
    for definition in (schema, *schema["$defs"].values()):
        _allow_variables(definition)
    _finish_rules(schema["$defs"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "faultproxy configuration",
        "description": "What a faultproxy listens to, and which faults it injects into which connections.",
        **{key: value for key, value in schema.items() if key != "description"},
    }


def valid_keys(path: tuple[str | int, ...]) -> list[str]:
    """The keys that a mapping at this path may have; none if any will do."""
    return [key for schema in _at(path) for key in schema.get("properties", ())]


def required_keys(path: tuple[str | int, ...]) -> list[str]:
    """The keys that a mapping at this path must have."""
    return [key for schema in _at(path) for key in schema.get("required", ()) if "properties" in schema]


def example(path: tuple[str | int, ...]) -> Any:
    """A value that would be right at this path; None if the schema names none."""
    for schema in _at(path):
        choices = [*schema.get("examples", ()), *schema.get("enum", ())]
        if choices:
            return choices[0]
        if "minimum" in schema:
            return schema["minimum"]
    return None


def _tidy(schema: Any) -> Any:
    """The schema as pydantic makes it, without nulls, made-up titles, and defaults that are no YAML.

    Descriptions end with their first line: what follows in a docstring is for the manual.
    """
    if isinstance(schema, list):
        return [_tidy(item) for item in schema if item != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidy(value) for key, value in schema.items() if not _is_noise(key, value)}
    if isinstance(tidy.get("description"), str):
        tidy["description"] = tidy["description"].splitlines()[0].replace("``", "`")
    if tidy.get("type") == "string" and not isinstance(tidy.get("default", ""), str):
        del tidy["default"]
    if {"type": "null"} in schema.get("anyOf", ()) and len(tidy["anyOf"]) == 1:
        tidy |= tidy.pop("anyOf")[0]
    return tidy


def _is_noise(key: str, value: Any) -> bool:
    if key == "title":
        return isinstance(value, str)
    return key == "default" and (value is None or isinstance(value, (dict, list, float)))


def _allow_variables(schema: Any) -> None:
    """Let a text with a variable stand wherever a scalar may. Only the loader knows what it holds."""
    if not isinstance(schema, dict) or "$ref" in schema:
        return
    for key in ("properties", "patternProperties"):
        for inner in schema.get(key, {}).values():
            _allow_variables(inner)
    for inner in (schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", ())):
        _allow_variables(inner)
    if schema.get("type") in {"integer", "number", "boolean"} or "enum" in schema or "const" in schema:
        hints = {key: schema.pop(key) for key in ("title", "description", "default", "examples") if key in schema}
        schema |= {**hints, "anyOf": [dict(schema), {"type": "string", "pattern": _VARIABLE}]}
        for key in schema.keys() - hints.keys() - {"anyOf"}:
            del schema[key]
    elif "pattern" in schema:
        schema["pattern"] += f"|{_VARIABLE}"


def _finish_rules(definitions: JsonSchema) -> None:
    """Describe each fault where an editor looks; allow no value where the loader does: rules, and most faults."""
    rules = definitions["ProxyConfig"]["properties"]["rules"]
    rules["type"] = [rules["type"], "null"]
    faults = definitions["Rule"]["properties"]
    for kind in CATALOGUE:
        reference = faults[kind.key]
        description = definitions[reference["$ref"].rpartition("/")[2]]["description"]
        allowed = [reference, {"type": "null"}] if takes(kind, {}) else [reference]
        faults[kind.key] = {"description": description, "anyOf": allowed}


def takes(kind: type[Fault], options: JsonSchema) -> bool:
    """Whether these could be options of the fault: ``100`` is no delay, as it has no unit."""
    try:
        kind.model_validate(options)
    except ValidationError:
        return False
    return True


@cache
def _schema() -> JsonSchema:
    return json_schema()


def _at(path: tuple[str | int, ...]) -> list[JsonSchema]:
    """The schemas that say what may stand at a path."""
    schemas = list(_alternatives(_schema()))
    for part in path:
        schemas = [found for schema in schemas for child in _children(schema, part) for found in _alternatives(child)]
    return schemas


def _children(schema: JsonSchema, part: str | int) -> Iterator[JsonSchema]:
    if isinstance(part, int):
        yield from [schema["items"]] if "items" in schema else []
    elif part in schema.get("properties", {}):
        yield schema["properties"][part]
    else:
        yield from schema.get("patternProperties", {}).values()


def _alternatives(schema: JsonSchema) -> Iterator[JsonSchema]:
    """A schema, and those that it refers to or chooses between."""
    yield schema
    if "$ref" in schema:
        yield from _alternatives(_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    for alternative in schema.get("anyOf", ()):
        yield from _alternatives(alternative)
