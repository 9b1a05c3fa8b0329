"""Which connections can be asked about."""

from datetime import UTC, datetime
from typing import Any

import trio

from faultproxy.connection.record import NOTHING_CARRIED, ConnectionRecord
from faultproxy.proxy.connections import Connections
from faultproxy.proxy.registry import MOST_CLOSED, Registry
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.upstream.dial import Target


def record(number: int, proxy: str = "p") -> ConnectionRecord:
    facts = ConnectionFacts(number, "127.0.0.1", 0.0, 1)
    return ConnectionRecord(proxy, Target.tcp("127.0.0.1", 1), facts, None, None, (), NOTHING_CARRIED, 1.0, "client")


async def test_the_last_that_are_over() -> None:
    """So many and no more, the latest first, of one proxy or of all."""
    registry = Registry()
    for number in range(1, MOST_CLOSED + 11):
        registry.add_closed(record(number, "odd" if number % 2 else "even"))
    assert [each.facts.number for each in registry.closed()] == list(range(MOST_CLOSED + 10, 10, -1))
    assert next(registry.closed("odd")).facts.number == MOST_CLOSED + 9


async def test_open_ones_of_every_proxy() -> None:
    """Also of one that an edit has removed, until its last is over."""
    registry = Registry()
    before, after = Connections(lambda: None), Connections(lambda: None)
    registry.add_proxy("p", before)
    registry.add_proxy("p", after)
    one, other = Any, object()
    before.add(one)  # type: ignore[arg-type]
    after.add(other)  # type: ignore[arg-type]
    assert list(registry.open("p")) == [one, other] == list(registry.open())
    assert list(registry.open("q")) == []
    registry.remove_proxy(before)
    assert list(registry.open()) == [other]


async def test_the_time_on_the_wall() -> None:
    """A moment of the loop's clock, as people write it."""
    then = Registry().wall_time(trio.current_time() - 60)
    assert 59 < (datetime.now(UTC) - then).total_seconds() < 80
