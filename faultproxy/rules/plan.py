"""What becomes of a connection, as plain data: it can be pickled, and carried out in another process."""

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from faultproxy.faults.base import Connect, ConnectDelay, Direction, Fault, PacketShape, Shape, TriggeredFault

BY_HAND = ""
"""Stands for the name of a rule, which is never empty, where a fault was injected by hand."""


class Faults(tuple[Fault, ...]):  # noqa: SLOT001  # one a rule; what it has found is kept
    """The faults of one rule, told apart by what becomes of them: once for all connections that it matches."""

    @cached_property
    def connect(self) -> Connect | None:
        """The fault that keeps the client from connecting, if there is one."""
        return next((fault for fault in self if isinstance(fault, Connect)), None)

    @cached_property
    def connect_delay(self) -> ConnectDelay | None:
        """What delays the handshake, if something does."""
        return next((fault for fault in self if isinstance(fault, ConnectDelay)), None)

    @cached_property
    def triggered(self) -> tuple[TriggeredFault, ...]:
        """The faults that wait for a trigger, each for its own."""
        return tuple(fault for fault in self if isinstance(fault, TriggeredFault))

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes, which act as long as the rule's window is open."""
        return tuple(fault for fault in self if isinstance(fault, Shape))


class Match(NamedTuple):
    """A rule that matches a connection: its name, the connection's number among those that it counted, its faults.

    Faults that were injected by hand have no rule: ``rule`` is BY_HAND, and ``ordinal`` 0.
    """

    rule: str
    ordinal: int
    faults: Faults
    dry_run: bool = False


class Plan(NamedTuple):
    """The rules that match a connection, those that do so as a dry run, and the one that ended the reading.

    ``answers`` is what the shaping rules that counted it said: the ordinal if they match, else None. They keep to it
    for as long as it is open.
    """

    matches: tuple[Match, ...] = ()
    dry_runs: tuple[Match, ...] = ()
    verdict: Match | None = None
    answers: Mapping[str, int | None] = {}

    def loses_downstream(self) -> bool:
        """Whether packets of the server's are to be lost."""
        if not self.matches:
            return False
        shapes = (shape for match in self.matches for shape in match.faults.shapes if isinstance(shape, PacketShape))
        return any(shape.loss and shape.acts_on(Direction.DOWNSTREAM) for shape in shapes)

    @property
    def refusal(self) -> Connect | None:
        """The fault that keeps the client from connecting at all."""
        return self.verdict.faults.connect if self.verdict is not None else None


UNTOUCHED = Plan()
