"""What is drawn, and what is limited, comes last."""

from faultproxy.rules.conditions.chance import Limit, Probability
from faultproxy.rules.facts import ConnectionFacts
from tests.rules.conditions.judging import state

FACTS = ConnectionFacts(1, "10.0.0.1", 0.0, 1)


def test_probability_is_held_against_the_rules_draw() -> None:
    """It holds if the draw of the rule for this connection is below it."""
    drawn = state().draw(FACTS)
    assert Probability.model_validate(drawn + 0.01).holds(FACTS, state())
    assert not Probability.model_validate(drawn).holds(FACTS, state())


def test_a_limit_counts_matches() -> None:
    """It holds for the first so many connections that the rule matches, however many it counts."""
    remembered = state(considered=9)
    assert Limit.model_validate(1).holds(FACTS, remembered)
    remembered.matched = 1
    assert not Limit.model_validate(1).holds(FACTS, remembered)
