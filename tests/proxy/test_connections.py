"""The open connections of a proxy: who is among them, what is done to all of them, and when the last has gone."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from faultproxy.connection.connection import Connection
from faultproxy.connection.record import Carried, ConnectionRecord
from faultproxy.events.types import EndedBy
from faultproxy.proxy.connections import Connections
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import UNTOUCHED, Match, Plan
from faultproxy.rules.rule import Rule
from faultproxy.rules.rule_set import RuleSet
from faultproxy.upstream.dial import Target


@dataclass(eq=False)
class Fake:
    """A connection that notes what is done to it."""

    number: int
    done: list[tuple[object, ...]] = field(default_factory=list)
    plan: Plan = UNTOUCHED
    waiting_for: str | None = None
    ended_by: EndedBy = "client"

    @property
    def facts(self) -> ConnectionFacts:
        return ConnectionFacts(self.number, "127.0.0.1", 0.0, 1)

    def reset(self, ended_by: str) -> None:
        self.done.append(("reset", ended_by))

    @property
    def carried(self) -> Carried:
        return Carried(*(self.number * size for size in (11, 10, 1100, 1000)))

    def record(self, ended_at_s: float) -> ConnectionRecord:
        upstream = Target.tcp("127.0.0.1", 1)
        return ConnectionRecord("p", upstream, self.facts, None, None, (), self.carried, ended_at_s, self.ended_by)

    def awaits(self, rule: str) -> bool:
        return rule == self.waiting_for

    def inject(self, matches: list[Match]) -> None:
        self.done.append(("inject", *(match.rule for match in matches)))

    def reshape(self, plan: Plan, matches: tuple[Match, ...]) -> None:
        self.plan = plan
        self.done.append(("reshape", *(match.rule for match in matches)))


class Open:
    """Some connections, and how often it was reported that none is left."""

    def __init__(self, count: int) -> None:
        self.empty = 0
        self.over: list[Any] = []
        self.all = Connections(self._on_empty, self.over.append)
        self.fakes: list[Any] = [Fake(number) for number in range(1, count + 1)]
        for fake in self.fakes:
            self.all.add(fake)

    def _on_empty(self) -> None:
        self.empty += 1


def rules(*rules: dict[str, Any]) -> RuleSet:
    return RuleSet.open("p", 0, [Rule.model_validate(keys) for keys in rules], trio.current_time())


async def test_they_are_counted() -> None:
    """Those that are open, and those whose first bytes are waited for; the end of the last is reported."""
    its = Open(2)
    scope = trio.CancelScope()
    its.all.add_undecided(scope, ConnectionFacts(4, "127.0.0.1", 0.0, 1))
    assert len(its.all) == 3
    for fake in its.fakes:
        its.all.remove(fake)
    assert (len(its.all), its.empty) == (1, 0)
    connection: Any = Fake(3)
    its.all.add(connection)
    its.all.remove_undecided(scope)
    its.all.remove(connection)
    assert (len(its.all), its.empty) == (0, 1)


async def test_what_they_did_is_summed_up() -> None:
    """Bytes of open ones and of those that are over; those by how they ended, which is told once, with what they were."""
    its = Open(3)
    its.all.remove(its.fakes[0])
    its.fakes[1].ended_by = "fault"
    its.all.remove(its.fakes[1])
    counts = its.all.counts()
    assert (counts.open, counts.ended) == (1, {"client": 1, "fault": 1})
    assert counts.carried == (66, 60, 6600, 6000)
    assert [record.facts.number for record in its.over] == [1, 2]
    assert list(its.all) == [its.fakes[2]]


async def test_all_are_reset() -> None:
    """The undecided are cancelled; a connection that is over at once may go while that is under way."""
    its = Open(3)
    scope = trio.CancelScope()
    its.all.add_undecided(scope, ConnectionFacts(4, "127.0.0.1", 0.0, 1))

    def reset_and_go(_: str) -> None:
        for fake in its.fakes[:2]:
            its.all.remove(fake)

    its.fakes[0].reset = reset_and_go
    its.all.reset("drain")
    assert scope.cancel_called
    assert its.fakes[2].done == [("reset", "drain")]


async def test_shapes_reach_the_oldest_first() -> None:
    """Each once, in the order of their numbers, which a rule counts; or only those that are named."""
    its = Open(3)
    some = rules({"name": "slow", "when": {"nth": [1, 3]}, "latency": {"delay": "1s"}})
    its.all.reshape(some, its.fakes[0])
    assert [fake.done for fake in its.fakes] == [[("reshape", "slow")], [], []]
    its.all.reshape(some)
    assert [fake.done[-1] for fake in its.fakes] == [("reshape", "slow"), ("reshape",), ("reshape", "slow")]


@pytest.mark.parametrize("has_it_pending", [False, True])
async def test_a_live_rule(has_it_pending: bool) -> None:
    """Its faults go to those that it matches, and not twice to one that has them pending."""
    its = Open(3)
    live = {"name": "live", "when": {"window": {"to": "1h"}, "connection": [1, 2]}, "live": True, "reset": None}
    some = rules(live)
    its.fakes[0].waiting_for = "live" if has_it_pending else None
    its.all.inject(some.rules[0], some)
    first = [] if has_it_pending else [("inject", "live")]
    assert [fake.done for fake in its.fakes] == [first, [("inject", "live")], []]


def test_a_fake_is_like_a_connection() -> None:
    """What the tests above call exists."""
    names = ("reset", "awaits", "inject", "reshape", "carried", "record", "ended_by")
    assert all(hasattr(Connection, name) for name in names)
