"""probability and limit: what is judged last, of connections that all else has chosen."""

from typing import ClassVar

from pydantic import RootModel

from faultproxy.rules.conditions.base import Condition, Stage
from faultproxy.rules.conditions.counts import Count
from faultproxy.rules.facts import ConnectionFacts, RuleState
from faultproxy.units import Chance


class Probability(Condition, RootModel[Chance]):
    """So many of the connections, drawn from the seed: the same ones in every run."""

    key: ClassVar[str] = "probability"
    stage: ClassVar[Stage] = Stage.CHANCE

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return state.draw(facts) < self.root

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return f"drew {state.draw(facts):.6f}, {'below' if holds else 'not below'} {self.root:g}"


class Limit(Condition, RootModel[Count]):
    """The rule matches at most so many connections. It stands beside ``when``, not in it."""

    key: ClassVar[str] = "limit"
    stage: ClassVar[Stage] = Stage.LIMIT

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return state.matched < self.root

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return (
            f"no. {state.matched + 1} of at most {self.root}"
            if holds
            else f"it has matched {state.matched} times, its limit"
        )
