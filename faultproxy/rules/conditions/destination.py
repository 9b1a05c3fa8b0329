"""destination and port: where the client wants to go."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, RootModel, StrictInt

from faultproxy.rules.conditions.base import Asks, Condition, either, one_or_list
from faultproxy.rules.conditions.client import Networks, is_in
from faultproxy.rules.facts import ConnectionFacts, RuleState
from faultproxy.units import one_or_many

_MOST = 65535

Ports = Annotated[
    tuple[Annotated[StrictInt, Field(ge=1, le=_MOST)], ...],
    BeforeValidator(one_or_many),
    Field(min_length=1),
    one_or_list({"type": "integer", "minimum": 1, "maximum": _MOST, "examples": [5432]}),
]


class Destination(Condition, RootModel[Networks]):
    """Clients that connect to an address in one of these networks: where they wanted to go, if they were led here."""

    key: ClassVar[str] = "destination"
    asks: ClassVar[Asks | None] = "destination"

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return is_in(facts.destination, self.root)

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return f"destination {facts.destination or 'unknown'} {'is' if holds else 'is not'} in {either(self.root)}"


class DestinationPort(Condition, RootModel[Ports]):
    """Clients that connect to one of these ports: the one that they wanted, if they were led here."""

    key: ClassVar[str] = "port"
    asks: ClassVar[Asks | None] = "destination"

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return facts.destination_port in self.root

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return f"destination's port is {facts.destination_port}" + ("" if holds else f", not {either(self.root)}")
