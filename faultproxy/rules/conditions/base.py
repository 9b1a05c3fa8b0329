"""What conditions are made of.

A condition is a frozen pydantic model: its value is what stands in YAML, its docstring what editors show. Nothing here
does I/O, reads a clock or draws: all of it is handed in.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar, Literal

from pydantic import ConfigDict, WithJsonSchema

from faultproxy.rules.facts import ConnectionFacts, RuleState

Asks = Literal["client", "destination"]


class Stage(IntEnum):
    """When a condition is judged. A connection is counted when FACTS and FIRST_BYTES hold; the others then choose."""

    FACTS = 1
    FIRST_BYTES = 2
    ORDINAL = 3
    CHANCE = 4
    LIMIT = 5


class Condition:
    """What must hold for a rule to match a connection."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, hide_input_in_errors=True)
    key: ClassVar[str]
    stage: ClassVar[Stage] = Stage.FACTS
    asks: ClassVar[Asks | None] = None
    """Whether it asks who connects, or to where: behind a load balancer a header says so, after the SYN."""

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool | None:
        """Whether it holds; None while more of the client's first bytes could still make it hold.

        From ORDINAL on the rule's state counts this connection in.
        """
        raise NotImplementedError

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        """Why it holds, or why not, with its values. Of an ordinal: what it says of the rule's count."""
        raise NotImplementedError


def nth(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ..."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def either(items: Iterable[object]) -> str:
    """``a, b or c``."""
    *most, last = map(str, items)
    return f"{', '.join(most)} or {last}" if most else last


def one_or_list(schema: dict[str, object]) -> WithJsonSchema:
    """The JSON Schema of one such value or a list of them."""
    return WithJsonSchema({"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]})
