"""What a rule is held against."""

from faultproxy.rules.draw import draw
from faultproxy.rules.facts import ConnectionFacts, RuleState


def test_a_rules_draw() -> None:
    """It depends on the seed, the proxy, the rule and the connection's number, and on nothing else."""
    state = RuleState((42, "redis", "chance"), 0.0)
    drawn = state.draw(ConnectionFacts(17, "10.0.0.1", 0.0, 1))
    assert drawn == draw(42, "redis", "chance", 17)
    state.considered = 9
    assert state.draw(ConnectionFacts(17, "10.0.0.2", 5.0, 3, b"hello")) == drawn
