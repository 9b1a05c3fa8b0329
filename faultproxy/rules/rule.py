"""A rule: a name, conditions, and one or more faults under their own keys."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import MODEL, Connect, ConnectShape, Ending, Fault, Shape, Verdict
from faultproxy.rules.conditions import PEEKED, Bounds, Count, When
from faultproxy.units import quote

NAME_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"


def _one_line(text: str) -> str:
    if not re.fullmatch(NAME_PATTERN, text):
        raise PydanticCustomError("name", f"{quote(text)} holds a control character; write a name of one line")
    return text


def _in_json_schema(schema: dict[str, Any]) -> None:
    """What the validator of a rule says, said in JSON Schema."""
    has = {kind.key: {"required": [kind.key]} for kind in CATALOGUE}
    endings = [has[kind.key] for kind in CATALOGUE if issubclass(kind, Ending)]
    connects = [kind.key for kind in CATALOGUE if issubclass(kind, Connect)]
    delays = [kind.key for kind in CATALOGUE if issubclass(kind, ConnectShape)]
    silent = {"properties": dict.fromkeys(sorted(PEEKED), False)}
    schema["anyOf"] = list(has.values())
    schema["dependentSchemas"] = {
        connect: {"properties": {key: False for key in has if key != connect} | {"when": silent}}
        for connect in connects
    } | {delay: {"properties": {"when": silent}} for delay in delays}
    schema["if"] = {"properties": {"live": {"const": True}}, "required": ["live"]}
    schema["then"] = {
        "properties": {"when": {"required": ["window"]}},
        "required": ["when"],
        "anyOf": endings,
    }


class BaseRule(BaseModel):
    """What every rule has beside its faults."""

    model_config = ConfigDict(**MODEL, json_schema_extra=_in_json_schema)

    name: Annotated[
        StrictStr,
        Field(min_length=1, max_length=200, examples=["cold start"]),
        AfterValidator(_one_line),
        Field(json_schema_extra={"pattern": NAME_PATTERN}),
    ]
    when: When = When()
    limit: Count | None = None
    expect: Bounds | None = None
    mode: Literal["enforce", "shadow"] = "enforce"
    stop: StrictBool = False
    live: StrictBool = False

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """The rule's faults, in the catalogue's order."""
        return tuple(fault for kind in CATALOGUE if (fault := getattr(self, _field(kind))) is not None)

    @cached_property
    def connect(self) -> Connect | None:
        """The fault that strikes before the connection exists, if the rule has one."""
        return next((fault for fault in self.faults if isinstance(fault, Connect)), None)

    @cached_property
    def endings(self) -> tuple[Ending, ...]:
        """The rule's endings, each with a trigger of its own."""
        return tuple(fault for fault in self.faults if isinstance(fault, Ending))

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The rule's shapes, which act as long as its window is open."""
        return tuple(fault for fault in self.faults if isinstance(fault, Shape))

    @cached_property
    def can_strike(self) -> bool:
        """Whether it has a fault that is carried out: not in shadow, and more than ``pass``."""
        return self.mode != "shadow" and any(not isinstance(fault, Verdict) for fault in self.faults)

    @cached_property
    def connect_delay(self) -> ConnectShape | None:
        """What delays the handshake, if the rule does."""
        return next((fault for fault in self.faults if isinstance(fault, ConnectShape)), None)

    @cached_property
    def acts_on_syns(self) -> bool:
        """Whether it must see a client's first packet, before the connection exists. A shadow touches nothing."""
        return self.mode != "shadow" and (self.connect is not None or self.connect_delay is not None)

    @cached_property
    def holds_verdict(self) -> bool:
        """Whether this rule, once it matches, ends the reading. A shadow never does."""
        return self.mode != "shadow" and self.gives_verdict

    @cached_property
    def gives_verdict(self) -> bool:
        """Whether its faults, or its ``stop``, would end the reading were it carried out."""
        return self.stop or any(not isinstance(fault, (Shape, ConnectShape)) for fault in self.faults)

    @cached_property
    def shuts_out(self) -> bool:
        """Whether every client meets its connect fault (while its window is open).

        The caller knows whether a verdict stands above it.
        """
        only_window = self.when.model_fields_set <= {"window"}
        return self.connect is not None and only_window and self.limit is None and self.mode != "shadow"

    @cached_property
    def is_outage(self) -> bool:
        """Whether it refuses every client, so that the listener can be shut."""
        return self.shuts_out and self.connect is not None and self.connect.key == "refuse"

    @cached_property
    def is_blackout(self) -> bool:
        """Whether it answers no client, so that the listener can be silenced."""
        return self.shuts_out and self.connect is not None and self.connect.key == "connect_timeout"

    def dump(self) -> dict[str, Any]:
        """The rule as it would stand in YAML, without what is left at its default."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @model_validator(mode="after")
    def _is_a_rule(self) -> "BaseRule":
        keys = ", ".join(kind.key for kind in CATALOGUE)
        if not self.faults:
            raise PydanticCustomError("no_fault", f"has no fault; add one of {keys}")
        if self.connect is not None and len(self.faults) > 1:
            others = ", ".join(fault.key for fault in self.faults if fault is not self.connect)
            raise PydanticCustomError(
                "connect",
                f"{self.connect.key} comes before there is a connection, so {others} cannot strike; use two rules",
            )
        early = self.connect or self.connect_delay
        if early is not None and self.when.peeks:
            raise PydanticCustomError(
                "connect",
                f"{early.key} strikes before the client can say anything; remove starts_with, matches and sni",
            )
        if self.live and not (self.endings and self.when.window):
            raise PydanticCustomError(
                "live",
                "is live, to strike open connections when a window opens; add a window and an ending, or remove live",
            )
        return self


def _field(kind: type[Fault]) -> str:
    return f"fault_{kind.key}"


def _nothing_is_defaults(value: object) -> object:
    return {} if value is None else value


_FIELDS: Mapping[str, Any] = {
    _field(kind): (Annotated[kind | None, BeforeValidator(_nothing_is_defaults)], Field(default=None, alias=kind.key))
    for kind in CATALOGUE
}
Rule = create_model("Rule", __base__=BaseRule, __doc__="A name, conditions, and one or more faults.", **_FIELDS)
"""A rule with one optional field for each fault of the catalogue."""
