"""The open connections of one proxy."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import add
from typing import NamedTuple

import trio

from faultproxy.connection.connection import Connection
from faultproxy.connection.injector import Edited
from faultproxy.connection.record import NOTHING_CARRIED, Carried, ConnectionRecord
from faultproxy.events.types import EndedBy
from faultproxy.faults.base import Direction
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.rule import BaseRule
from faultproxy.rules.rule_set import RuleSet


class ConnectionCounts(NamedTuple):
    """How many are open, how many have ended and by whom, and the bytes that all have carried."""

    open: int
    ended: Mapping[EndedBy, int]
    carried: Carried


class Connections:
    """Connections that are not over, oldest first, and clients whose first bytes are still waited for.

    ``on_empty`` is called when the last is gone, ``on_over`` with each that is over, if anybody wants to know.
    """

    def __init__(self, on_empty: Callable[[], None], on_over: Callable[[ConnectionRecord], None] | None = None) -> None:
        self.ended: Counter[EndedBy] = Counter()
        self._carried: tuple[int, ...] = NOTHING_CARRIED
        self._connections: dict[Connection, None] = {}
        self._undecided: dict[trio.CancelScope, ConnectionFacts] = {}
        self._on_empty = on_empty
        self._on_over = on_over

    def __len__(self) -> int:
        return len(self._connections) + len(self._undecided)

    def add(self, connection: Connection) -> None:
        """One more."""
        self._connections[connection] = None

    def remove(self, connection: Connection) -> None:
        """It is over."""
        del self._connections[connection]
        self.ended[connection.ended_by] += 1
        if self._on_over is None:
            carried = connection.carried
        else:
            record = connection.record(trio.current_time())
            carried = record.carried
            self._on_over(record)
        self._carried = tuple(map(add, self._carried, carried))
        if not self._connections and not self._undecided:
            self._on_empty()

    def turned_away(self, record: ConnectionRecord) -> None:
        """A client has got no connection."""
        if record.ended_by is not None:
            self.ended[record.ended_by] += 1
        if self._on_over is not None:
            self._on_over(record)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._connections)

    @property
    def undecided(self) -> Iterable[ConnectionFacts]:
        """The clients whose first bytes are still waited for, as they came."""
        return self._undecided.values()

    def counts(self) -> ConnectionCounts:
        """What all have done, open ones and others."""
        carried = zip(self._carried, *(connection.carried for connection in self), strict=True)
        return ConnectionCounts(len(self), self.ended, Carried(*map(sum, carried)))

    def delivered(self, direction: Direction) -> int:
        """How many bytes all have delivered, open ones and others."""
        carried = self.counts().carried
        return carried.to_server if direction is Direction.UPSTREAM else carried.to_client

    def add_undecided(self, scope: trio.CancelScope, facts: ConnectionFacts) -> None:
        """A client whose first bytes are waited for in this scope, which is cancelled where a connection is reset."""
        self._undecided[scope] = facts

    def remove_undecided(self, scope: trio.CancelScope) -> None:
        """It has a connection now, which was added before; or it was turned away."""
        del self._undecided[scope]
        if not self:
            self._on_empty()

    def reset(self, ended_by: EndedBy) -> None:
        """Reset all of them now."""
        for scope in tuple(self._undecided):
            scope.cancel()
        for connection in tuple(self._connections):
            connection.reset(ended_by)

    def reshape(self, rules: RuleSet, *connections: Connection) -> None:
        """Have these travel through the shapes that act on them now; without any, all of them."""
        for connection in connections or tuple(self._connections):
            connection.reshape(*rules.reshape(_now(connection, len(self)), connection.plan))

    def follow_edit(self, before: RuleSet, after: RuleSet) -> int:
        """Let go of what changed rules did. Returns how many connections the changed triggered faults do not reach.

        A hang of a rule that was changed or removed ends. A triggered fault that waits goes on waiting, as it was when
        the connection was accepted, unless its rule was live, or is now: then it is withdrawn, and what its shapes hold
        goes on at once.
        """
        gone = {rule.name: rule for rule in before.changed(after)}
        new = {rule.name: rule for rule in after.changed(before)}
        if gone:
            removed = gone.keys() - new.keys()
            live = {name for name, rule in gone.items() if rule.live or (name in new and new[name].live)}
            rejudged = {name for name in live if name in removed or new[name].conditions != gone[name].conditions}
            edited = Edited(frozenset(gone), frozenset(removed), frozenset(live), frozenset(rejudged))
            for connection in tuple(self._connections):
                connection.let_go(edited)
        reaches_all = all(rule.live or not rule.faults.triggered for rule in new.values())
        return 0 if reaches_all else len(self._connections)

    def inject(self, rule: BaseRule, rules: RuleSet) -> None:
        """Give the faults of a live rule to those that it matches, and that do not have them pending."""
        for connection in tuple(self._connections):
            if not connection.awaits(rule.name):
                match = rules.match_open(rule, _now(connection, len(self)), connection.plan)
                if match is not None:
                    connection.inject([match])


def _now(connection: Connection, are_open: int) -> ConnectionFacts:
    return connection.facts._replace(at_s=trio.current_time(), open_connections=are_open)
