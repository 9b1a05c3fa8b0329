"""A rule: a name, conditions, and one or more faults under their own keys."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
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
from faultproxy.faults.base import Connect, ConnectDelay, Fault, ListenerMode, Shape, TriggeredFault, Verdict, YamlModel
from faultproxy.rules.conditions import PEEKED
from faultproxy.rules.conditions.base import Condition, Stage
from faultproxy.rules.conditions.chance import Limit
from faultproxy.rules.conditions.window import Window
from faultproxy.rules.expect import Expect
from faultproxy.rules.plan import Faults
from faultproxy.rules.when import BaseWhen, When
from faultproxy.units import quote

LONGEST_NAME = 200
NAME_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"


def _one_line(text: str) -> str:
    if not re.fullmatch(NAME_PATTERN, text):
        raise PydanticCustomError("name", f"{quote(text)} holds a control character; write a name of one line")
    return text


def _in_json_schema(schema: dict[str, Any]) -> None:
    """What the validator of a rule says, said in JSON Schema."""
    has = {kind.key: {"required": [kind.key]} for kind in CATALOGUE}
    reaching = [has[kind.key] for kind in CATALOGUE if issubclass(kind, (TriggeredFault, Shape))]
    connects = [kind.key for kind in CATALOGUE if issubclass(kind, Connect)]
    delays = [kind.key for kind in CATALOGUE if issubclass(kind, ConnectDelay)]
    silent = {"properties": dict.fromkeys(sorted(PEEKED), False)}
    schema["anyOf"] = list(has.values())
    schema["dependentSchemas"] = {
        connect: {"properties": {key: False for key in has if key != connect} | {"when": silent}}
        for connect in connects
    } | {delay: {"properties": {"when": silent}} for delay in delays}
    schema["if"] = {"properties": {"live": {"const": True}}, "required": ["live"]}
    schema["then"] = {"anyOf": reaching}
    schema["not"] = {
        "properties": {"stop": {"const": False}},
        "required": ["stop"],
        "anyOf": [has[kind.key] for kind in CATALOGUE if issubclass(kind, (Connect, Verdict))],
    }


class BaseRule(YamlModel):
    """What every rule has beside its faults.

    ``stop`` says whether the reading ends where the rule matches; by default a connect fault, a triggered fault and
    ``pass`` end it, and shapes do not. The triggered faults of a ``live`` rule reach open connections too: when its
    window opens, or, without one, when the edit that brought it takes effect. When an edit changes or removes such a
    rule, what its shapes hold goes on at once; new conditions are put to open connections too.
    """

    model_config = ConfigDict(json_schema_extra=_in_json_schema)

    name: Annotated[
        StrictStr,
        Field(min_length=1, max_length=LONGEST_NAME, examples=["cold start"]),
        AfterValidator(_one_line),
        Field(json_schema_extra={"pattern": NAME_PATTERN}),
    ]
    """What the log and counts call the rule; once in each proxy, as draws go by it."""
    when: BaseWhen = BaseWhen()
    """The conditions, all of which must hold; without it the rule matches every connection."""
    limit: Limit | None = None
    """How many connections the rule matches at most."""
    expect: Expect | None = None
    """How often its faults should be injected, and what clients should do; with --expect, the exit code is 3 if not."""
    dry_run: StrictBool = False
    """Whether the rule is decided, counted and logged, but not carried out."""
    stop: StrictBool | None = None
    """Whether the reading ends here; by default it does if the rule holds a verdict, and not if it only shapes."""
    live: StrictBool = False
    """Whether it reaches open connections entirely: its triggered faults too, when its window opens, or at an edit."""

    @cached_property
    def faults(self) -> Faults:
        """The rule's faults, in the catalogue's order."""
        return Faults(fault for kind in CATALOGUE if (fault := getattr(self, _field(kind))) is not None)

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """All that must hold for the rule to match, in the order in which it is judged."""
        return self.when.conditions if self.limit is None else (*self.when.conditions, self.limit)

    @cached_property
    def counting(self) -> tuple[Condition, ...]:
        """The conditions of which all must hold for the rule to count a connection."""
        return tuple(one for one in self.conditions if one.stage <= Stage.FIRST_BYTES)

    @cached_property
    def choosing(self) -> tuple[Condition, ...]:
        """The conditions that choose among the connections that are counted."""
        return tuple(one for one in self.conditions if one.stage > Stage.FIRST_BYTES)

    @cached_property
    def peeks(self) -> bool:
        """Whether it looks at the client's first bytes."""
        return any(one.stage is Stage.FIRST_BYTES for one in self.conditions)

    @cached_property
    def asks_ends(self) -> bool:
        """Whether it asks who connects, or to where."""
        return any(one.asks for one in self.conditions)

    @cached_property
    def window(self) -> Window | None:
        """When it matches connections, and its shapes act; None for always."""
        return next((one for one in self.conditions if isinstance(one, Window)), None)

    @cached_property
    def acts_on_syns(self) -> bool:
        """Whether it must see a client's first packet, before the connection exists. A dry run touches nothing."""
        return not self.dry_run and (self.faults.connect is not None or self.faults.connect_delay is not None)

    @cached_property
    def holds_verdict(self) -> bool:
        """Whether this rule, once it matches, ends the reading. A dry run never does."""
        if self.dry_run or self.stop is not None:
            return not self.dry_run and bool(self.stop)
        return any(not isinstance(fault, (Shape, ConnectDelay)) for fault in self.faults)

    @cached_property
    def applies_to_all(self) -> bool:
        """Whether its connect fault is for every client while its window is open, unless a verdict is above it."""
        return not self.dry_run and self.faults.connect is not None and self.conditions in ((), (self.window,))

    @property
    def mode_for_all(self) -> ListenerMode | None:
        """The mode in which the listener does to every client what the rule says; None if there is none."""
        return self.faults.connect.mode_for_all if self.faults.connect is not None and self.applies_to_all else None

    def dump(self) -> dict[str, Any]:
        """The rule as it would stand in YAML, without what is left at its default."""
        return dict(self.dumped)

    @cached_property
    def dumped(self) -> Mapping[str, Any]:
        """The same, not to be changed: it is made once."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @model_validator(mode="after")
    def _is_a_rule(self) -> "BaseRule":
        keys = ", ".join(kind.key for kind in CATALOGUE)
        if not self.faults:
            raise PydanticCustomError("no_fault", f"has no fault; add one of {keys}")
        connect = self.faults.connect
        if connect is not None and len(self.faults) > 1:
            others = ", ".join(fault.key for fault in self.faults if fault is not connect)
            raise PydanticCustomError(
                "connect",
                f"{connect.key} comes before there is a connection, so {others} cannot be injected; use two rules",
            )
        early = connect or self.faults.connect_delay
        if early is not None and self.peeks:
            peeked = " and ".join(one.key for one in self.conditions if one.stage is Stage.FIRST_BYTES)
            raise PydanticCustomError(
                "connect", f"{early.key} is injected before the client can say anything; remove {peeked}"
            )
        if self.live and not self.faults.triggered and not self.faults.shapes:
            reaching = ", ".join(kind.key for kind in CATALOGUE if issubclass(kind, (TriggeredFault, Shape)))
            raise PydanticCustomError(
                "live", f"is live, to reach open connections, but has no fault that could; add one of {reaching}"
            )
        last = next((fault for fault in self.faults if isinstance(fault, (Connect, Verdict))), None)
        if self.stop is False and last is not None:
            raise PydanticCustomError("stop", f"goes on below {last.key}, which decides all; remove stop: false")
        return self


def _field(kind: type[Fault]) -> str:
    return f"fault_{kind.key}"


def _nothing_is_defaults(value: object) -> object:
    return {} if value is None else value


_FIELDS: Mapping[str, Any] = {
    _field(kind): (Annotated[kind | None, BeforeValidator(_nothing_is_defaults)], Field(default=None, alias=kind.key))
    for kind in CATALOGUE
} | {"when": (When, Field(default=When()))}
if TYPE_CHECKING:
    Rule = BaseRule
else:
    Rule = create_model("Rule", __base__=BaseRule, __doc__="A name, conditions, and one or more faults.", **_FIELDS)
    """A rule with one optional field for each fault of the catalogue."""
