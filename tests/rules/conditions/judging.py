"""Conditions held against one connection."""

from typing import Any

from faultproxy.rules.facts import ConnectionFacts, RuleState
from faultproxy.rules.when import BaseWhen, When


def state(considered: int = 1) -> RuleState:
    return RuleState((42, "redis", "rule"), 0.0, considered)


def missed(
    when: dict[str, Any],
    *,
    client: str = "10.0.0.1",
    destination: str = "10.0.0.2",
    port: int = 80,
    number: int = 1,
    open_connections: int = 1,
    elapsed_s: float = 0.0,
    considered: int = 1,
) -> str | None:
    """The key of the first condition that does not hold; None if all do."""
    facts = ConnectionFacts(number, client, elapsed_s, open_connections, destination=destination, destination_port=port)
    conditions: BaseWhen = When.model_validate(when)
    return next((one.key for one in conditions.conditions if not one.holds(facts, state(considered))), None)


def chosen(when: dict[str, Any], most: int = 12) -> list[int]:
    """Which of a rule's first connections its ordinals choose."""
    return [count for count in range(1, most + 1) if missed(when, considered=count) is None]
