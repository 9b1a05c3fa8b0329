"""What conditions judge: a connection, and what a rule remembers of the connections before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from faultproxy.rules.draw import draw

if TYPE_CHECKING:
    from faultproxy.rules.conditions.base import Condition
    from faultproxy.rules.rule import BaseRule

MOST_FIRST_BYTES = 4096
"""How many of the client's first bytes are looked at, at most."""


NO_ADDRESS = "unix"
"""Stands for the address of a client of a Unix socket; its process stands for the port."""


class ConnectionFacts(NamedTuple):
    """A connection at the moment it is judged.

    ``number`` is the proxy's own, from 1; ``client`` the address without its port; ``at_s`` the accept time on the
    clock that the rules' windows started on; ``open_connections`` includes this one. ``first_bytes`` is what the client
    has said so far, and ``heard_all`` that no more of it will be waited for. ``judged`` is what rules have said of it
    already, on its SYN: the ordinal in those that match it, 0 for those that counted it and do not, None for others.
    ``destination`` is the address that the client has connected to; empty where nobody asks for it.
    ``reading`` keeps what every rule says to it, where somebody may ask why.
    """

    number: int
    client: str
    at_s: float
    open_connections: int
    first_bytes: bytes = b""
    heard_all: bool = True
    judged: Mapping[str, int | None] = {}
    client_port: int = 0
    destination: str = ""
    destination_port: int = 0
    reading: "Reading | None" = None


@dataclass(slots=True)
class RuleState:
    """What a rule remembers: when it took effect, how many connections it counted, and how many it matched.

    ``drawn_from`` is the seed, the proxy and the rule, which its draws are functions of.
    """

    drawn_from: tuple[int, str, str]
    since_s: float
    considered: int = 0
    matched: int = 0

    def draw(self, facts: ConnectionFacts) -> float:
        """The number in [0, 1) that the rule's probability is held against; the same whenever it is asked for."""
        return draw(*self.drawn_from, facts.number)


class Said(NamedTuple):
    """What a rule said: the first of its conditions that did not hold, its state then, when, and how many were open."""

    rule: "BaseRule"
    missed: "Condition | None"
    state: RuleState
    at_s: float
    open_connections: int


_FIELDS = 8  # that a reading has for each rule


class Reading:
    """What each of the ``rules`` that were read said to one connection; explain.reasons() puts it into words.

    Every connection may have one, for which perhaps nobody asks: it is one flat list, and holds nothing of its own.
    """

    __slots__ = ("_said", "rules")

    def __init__(self, rules: "tuple[BaseRule, ...]") -> None:
        self.rules = rules
        self._said: list[Any] = []

    def note(self, rule: "BaseRule", missed: "Condition | None", state: RuleState, facts: ConnectionFacts) -> None:
        """A rule was read: this condition did not hold, or all do, and the match is not counted yet."""
        said = self._said
        if len(said) >= _FIELDS * len(self.rules):
            self._forget(rule.name)
        said += (
            rule, missed, facts.at_s, facts.open_connections,
            state.drawn_from, state.since_s, state.considered, state.matched,
        )  # fmt: skip

    def said(self) -> "dict[str, Said]":
        """What each rule said last, by its name."""
        found = (self._said[start : start + _FIELDS] for start in range(0, len(self._said), _FIELDS))
        return {
            rule.name: Said(rule, missed, RuleState(*state), at_s, are_open)
            for rule, missed, at_s, are_open, *state in found
        }

    def _forget(self, name: str) -> None:
        """A rule is asked again: its window opens again and again, say."""
        for start in range(0, len(self._said), _FIELDS):
            if self._said[start].name == name:
                del self._said[start : start + _FIELDS]
                return
