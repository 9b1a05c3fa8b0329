"""first, skip, nth and every: which of the connections that the rule counts."""

from typing import ClassVar

from pydantic import RootModel

from faultproxy.rules.conditions.base import Condition, Stage, either, nth
from faultproxy.rules.conditions.counts import Count, Numbers
from faultproxy.rules.facts import ConnectionFacts, RuleState


class First(Condition, RootModel[Count]):
    """The first so many of the connections that the rule counts."""

    key: ClassVar[str] = "first"
    stage: ClassVar[Stage] = Stage.ORDINAL

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return state.considered <= self.root

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return f"{'of' if holds else 'past'} the first {self.root}"


class Skip(Condition, RootModel[Count]):
    """All but the first so many of the connections that the rule counts."""

    key: ClassVar[str] = "skip"
    stage: ClassVar[Stage] = Stage.ORDINAL

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return state.considered > self.root

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return f"{'past' if holds else 'one of'} the {self.root} to skip"


class Nth(Condition, RootModel[Numbers]):
    """The connections with these places among those that the rule counts, from 1."""

    key: ClassVar[str] = "nth"
    stage: ClassVar[Stage] = Stage.ORDINAL

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return state.considered in self.root

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return "as asked" if holds else f"not the {either(map(nth, self.root))}"


class Every(Condition, RootModel[Count]):
    """Each so-many-th of the connections that the rule counts: with 3 the 3rd, 6th, 9th, ..."""

    key: ClassVar[str] = "every"
    stage: ClassVar[Stage] = Stage.ORDINAL

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return not state.considered % self.root

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return f"{'' if holds else 'not one of '}every {nth(self.root)}"
