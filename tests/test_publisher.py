"""What is published of a client before it has a connection: every field of every event."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import trio

from faultproxy.events.types import ConnectionCrashed, FaultDryRun, FaultInjected, UpstreamFailed
from faultproxy.publisher import Publisher
from faultproxy.rules.plan import BY_HAND
from tests.connection.connecting import Recorder, facts, match, scene


@dataclass
class Published:
    """The publisher of a client that came two seconds ago, what it has published, and the upstream."""

    publisher: Publisher
    events: Recorder
    upstream: str


@pytest.fixture
async def published() -> AsyncIterator[Published]:
    async with scene() as it:
        context, target = it.context, it.context.dialler.target
        about = facts(at_s=trio.current_time() - 2)
        yield Published(Publisher(context.bus, "redis", target, about), it.reported, str(target))


async def test_a_fault(published: Published) -> None:
    """All that the log says of it; it is one of the client's faults from then on."""
    slow = match("slow", ordinal=3, slow_connect={"delay": "2s"})
    published.publisher.fault(slow, slow.faults[0], "connect", "a slow connect()", "it is accepted at once")
    (event,) = published.events.events
    assert isinstance(event, FaultInjected)
    assert 2000 <= event.elapsed_ms < 30_000
    assert event == FaultInjected(
        proxy="redis",
        connection="redis#17",
        client="127.0.0.1:5555",
        upstream=published.upstream,
        rule="slow",
        fault="slow_connect",
        ordinal=3,
        options={"delay": "2s"},
        trigger="connect",
        client_sees="a slow connect()",
        degraded="it is accepted at once",
        bytes_upstream=0,
        bytes_downstream=0,
        elapsed_ms=event.elapsed_ms,
    )
    assert published.publisher.injected == (event,)


async def test_a_fault_of_a_dry_run(published: Published) -> None:
    """It was not injected, so it is not among the client's faults."""
    cut = match("cut", dry_run=True, reset={})
    published.publisher.fault(cut, cut.faults[0], "at once", "ECONNRESET")
    (event,) = published.events.events
    assert isinstance(event, FaultDryRun)
    assert (event.rule, event.fault, event.degraded) == ("cut", "reset", None)
    assert published.publisher.injected == ()


async def test_a_fault_by_hand_and_a_disabled_proxy(published: Published) -> None:
    """No rule has asked for either."""
    by_hand = match(BY_HAND, ordinal=0, reset={})
    published.publisher.fault(by_hand, by_hand.faults[0], "at once", "ECONNRESET")
    published.publisher.disabled("EPIPE")
    said = [
        (event.fault, event.rule, event.ordinal, event.source, event.trigger, event.client_sees)
        for event in published.publisher.injected
    ]
    assert said == [
        ("reset", None, None, "api", "at once", "ECONNRESET"),
        ("disabled", None, None, None, "edit", "EPIPE"),
    ]


async def test_what_went_wrong(published: Published) -> None:
    """An upstream that failed, by its errno; a bug, by its traceback."""
    published.publisher.upstream_failed("ECONNREFUSED")
    published.publisher.crashed(ZeroDivisionError("by zero"))
    failed, crashed = published.events.events
    assert isinstance(failed, UpstreamFailed)
    assert (failed.error, failed.upstream) == ("ECONNREFUSED", published.upstream)
    assert 2000 <= failed.elapsed_ms < 30_000
    assert isinstance(crashed, ConnectionCrashed)
    assert (crashed.connection, "ZeroDivisionError: by zero" in crashed.traceback) == ("redis#17", True)
