"""open_connections and connection: how many there are, and which of them this is."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, RootModel, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from faultproxy.faults.base import YamlModel
from faultproxy.rules.conditions.base import Condition, either, one_or_list
from faultproxy.rules.facts import ConnectionFacts, RuleState
from faultproxy.units import one_or_many

LARGEST_COUNT = 10**15
"""Exact in every JSON reader, and more than any proxy will ever count."""

Count = Annotated[StrictInt, Field(ge=1, le=LARGEST_COUNT)]
Numbers = Annotated[
    tuple[Count, ...],
    BeforeValidator(one_or_many),
    Field(min_length=1),
    one_or_list({"type": "integer", "minimum": 1, "maximum": LARGEST_COUNT}),
]


class Bounds(YamlModel):
    """A count of at least ``min`` and at most ``max``."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    min: Annotated[StrictInt, Field(ge=0, le=LARGEST_COUNT)] | None = None
    """At least so many."""
    max: Annotated[StrictInt, Field(ge=0, le=LARGEST_COUNT)] | None = None
    """At most so many."""

    def hold(self, count: int) -> bool:
        """Whether a count lies within the bounds, both included."""
        return (self.min is None or count >= self.min) and (self.max is None or count <= self.max)

    def __str__(self) -> str:
        if self.max is None:
            return f"at least {self.min}"
        return f"at most {self.max}" if self.min is None else f"{self.min} to {self.max}"

    @model_validator(mode="after")
    def _are_bounds(self) -> "Bounds":
        if self.min is None and self.max is None:
            raise PydanticCustomError("bounds", "is empty; add min, max or both, such as {min: 1}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise PydanticCustomError("bounds", "holds for no count; write a min that is not larger than max")
        return self


class OpenConnections(Condition, Bounds):
    """While so many connections of this proxy are open, this one counted."""

    key: ClassVar[str] = "open_connections"

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return self.hold(facts.open_connections)

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        count = facts.open_connections
        are_open = f"{count} {'connection is' if count == 1 else 'connections are'} open"
        return f"{are_open}, {'which is' if holds else 'not'} {self}"


class ConnectionNumber(Condition, RootModel[Numbers]):
    """The connections with these numbers of the proxy's own, from 1: 17 for what the log calls redis#17."""

    key: ClassVar[str] = "connection"

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return facts.number in self.root

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return f"this is connection {facts.number}" + ("" if holds else f", not {either(self.root)}")
