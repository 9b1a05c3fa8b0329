"""docs/faults.md, written from the classes of the faults and from nothing else; scripts/docs runs this."""

import re
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any

from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import Connect, ConnectDelay, Fault, Shape, Trigger, TriggeredFault
from faultproxy.units import (
    DURATION_PATTERN,
    PERCENT_PATTERN,
    POSITIVE_DURATION_PATTERN,
    POSITIVE_SIZE_PATTERN,
    RATE_PATTERN,
    SIZE_PATTERN,
)
from tests.faults.recording import seen_by_client

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
KINDS: Mapping[type, str] = {
    Connect: "connect fault",
    ConnectDelay: "shape, before the handshake",
    TriggeredFault: "triggered fault",
    Shape: "shape",
}
DURATION = "duration: `250us` `10ms` `1.5s` `2m` `1h`"
SIZE = "size: `512B` `4KiB` `1MiB` `10kB` `1MB`"
TYPES = {
    DURATION_PATTERN: DURATION,
    POSITIVE_DURATION_PATTERN: DURATION,
    SIZE_PATTERN: SIZE,
    POSITIVE_SIZE_PATTERN: SIZE,
    RATE_PATTERN: "rate: `64KiB/s` `1MB/s` `8Mbit/s`",
    PERCENT_PATTERN: "probability: `10%` or `0.1`",
}
SEES = {
    "silence": "silence",
    "delay": "everything, later",
    "change": "other bytes than were sent",
    "EOF": "EOF",
    "nothing": "nothing",
}
HEAD = """\
# Faults

Every fault that a rule can hold, under its own key. This page is written by `scripts/docs` from the classes in
[faultproxy/faults](../faultproxy/faults), a file a fault; a test fails when it is stale.

A **connect fault** is injected before there is a connection, and a rule holds at most one, alone. A **triggered fault** is
injected when its trigger is reached; most end the connection. A **shape** changes how bytes travel and ends nothing; shapes
of several rules add up. A rule may hold several shapes and several triggered faults. Directions: `upstream` is from the
client to the server, `downstream` from the server to the client.
"""


def page() -> str:
    """All of it."""
    rows = [f"| [{key}](#{key}) | {kind_of(fault)} | {sees(fault)} |" for fault in CATALOGUE for key in [fault.key]]
    table = ["| fault | kind | the client sees |", "| --- | --- | --- |", *rows]
    options = ["| key | takes | default | what it is |", "| --- | --- | --- | --- |", *rows_of(Trigger)]
    after = "\n".join(["## after: when a fault is injected", "", markdown(Trigger), "", *options, ""])
    return "\n".join([HEAD, *table, "", after, *(section(fault) for fault in CATALOGUE)])


def section(fault: type[Fault]) -> str:
    """What the page says of one fault."""
    lines = [f"## {fault.key}", "", markdown(fault), ""]
    rows = list(rows_of(fault))
    if rows:
        lines += ["| option | takes | default | what it is |", "| --- | --- | --- | --- |", *rows, ""]
    else:
        lines += ["It has no options.", ""]
    return "\n".join([*lines, f"The least that can be written: `{example(fault)}`", ""])


def example(fault: type[Fault]) -> str:
    """A rule with this fault, and with no option that is not due."""
    schema = fault.model_json_schema()
    required = [*schema.get("required", ()), *schema.get("oneOf", [{"required": ()}])[0]["required"]]
    given = ", ".join(f"{key}: {sample(schema['properties'][key])}" for key in required)
    return f"- {{name: example, {fault.key}: {f'{{{given}}}' if given else ''}}}"


def rows_of(fault: type[Fault | Trigger]) -> Iterator[str]:
    """A row of the table for each option."""
    schema = fault.model_json_schema()
    schema = next((way for way in schema.get("anyOf", ()) if "properties" in way), schema)
    # What is required has no default, and pydantic would warn that it is missing.
    defaults = fault.model_construct().model_dump(mode="json", by_alias=True, warnings=False)
    for name, option in schema.get("properties", {}).items():
        yield f"| `{name}` | {takes(option)} | {default(name, schema, defaults)} | {option['description']} |"


def takes(option: Mapping[str, Any]) -> str:
    """The values of an option."""
    reference = option.get("$ref", "")
    if reference.endswith("Trigger"):
        return "[when it is injected](#after-when-a-fault-is-injected)"
    if reference.endswith("Direction"):
        return "`upstream` \\| `downstream`"
    if "enum" in option:
        return " \\| ".join(f"`{value}`" for value in option["enum"])
    if option.get("type") == "boolean":
        return "`true` \\| `false`"
    if "items" in option:
        return "list of offsets, from 0"
    if option.get("pattern") in TYPES:
        return TYPES[option["pattern"]]
    ways = [way for way in option.get("anyOf", ()) if way.get("type") not in ("null", "number")]
    return takes(ways[0]) if ways else "regular expression (RE2) over the bytes"


def default(name: str, schema: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """What stands for an option that is left out."""
    if name in schema.get("required", ()):
        return "required"
    value = defaults[name]
    if isinstance(value, dict):
        return "at once"
    return "—" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def sample(option: Mapping[str, Any]) -> str:
    """A value for an option."""
    if "examples" in option:
        return str(option["examples"][0])
    return next(sample(way) for way in option["anyOf"] if way.get("type") != "null")


def kind_of(fault: type[Fault]) -> str:
    """The word for what it is."""
    return next((word for kind, word in KINDS.items() if issubclass(fault, kind)), "verdict")


def sees(fault: type[Fault]) -> str:
    """What the client's next system call says, before and after it was sent FIN."""
    if issubclass(fault, (Connect, ConnectDelay, Shape)):
        return SEES.get(fault.client_sees, fault.client_sees)
    if issubclass(fault, TriggeredFault):
        before, after = seen_by_client(fault())
        words = SEES.get(before, before)
        return words if before == after else f"{words}; after FIN {SEES.get(after, after)}"
    return "nothing"


def markdown(thing: type[Fault | Trigger]) -> str:
    """A docstring as Markdown."""
    return re.sub(r"``([^`]+)``", r"`\1`", cleandoc(thing.__doc__ or ""))


if __name__ == "__main__":
    PAGE.write_text(page())
