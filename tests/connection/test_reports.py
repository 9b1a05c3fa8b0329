"""What is published of one connection: every field of every event."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import trio

from faultproxy.connection.reports import Reports
from faultproxy.events.bus import Bus
from faultproxy.events.types import (
    ConnectionClosed,
    ConnectionCrashed,
    ConnectionOpened,
    FaultDryRun,
    FaultInjected,
    UpstreamFailed,
)
from tests.connection.connecting import Ends, Recorder, Scene, ends, facts, match, scene
from tests.events.samples import FAULT
from tests.relay.relaying import read_exactly, send_all


@dataclass
class Reported:
    """The reports of a connection whose peers have sent each other 8 and 5 bytes."""

    reports: Reports
    reported: Recorder
    it: Scene
    two: Ends


@pytest.fixture
async def reported() -> AsyncIterator[Reported]:
    async with scene() as it, ends() as two:
        two.connect()
        await send_all(two.client, b"question")
        await read_exactly(two.server, 8)
        await send_all(two.server, b"reply")
        await read_exactly(two.client, 5)
        yield Reported(Reports(it.context, facts(at_s=trio.current_time() - 2), two.peers), it.reported, it, two)


async def test_opened_and_closed(reported: Reported) -> None:
    """The connection's name and client; at the end also the rule, its faults, the bytes, how long, and by whom."""
    reports = reported.reports
    reports.injected = (replace(FAULT, fault="slow_connect"),)
    reports.opened()
    reports.matched(match("dry", dry_run=True, reset={}))
    reports.matched(match("cut", reset={"after": "4KiB"}))
    reports.closed("server", 7)
    opened, closed = reported.reported.events
    name = {"proxy": "redis", "connection": "redis#17", "client": "127.0.0.1:5555"}
    assert opened == ConnectionOpened(**name)
    assert isinstance(closed, ConnectionClosed)
    assert 2000 <= closed.duration_ms < 30_000
    assert closed == ConnectionClosed(
        **name,
        rule="cut",
        faults=("slow_connect",),
        bytes_upstream=8,
        bytes_downstream=5,
        bytes_changed=7,
        duration_ms=closed.duration_ms,
        ended_by="server",
    )


async def test_a_fault(reported: Reported) -> None:
    """All that the log says of it; it is one of the connection's faults from then on."""
    cut = match("cut", ordinal=3, reset={"after": "4KiB"})
    reported.reports.fault(cut, cut.faults[0], "4KiB downstream", "ECONNRESET", "7 bytes were not acknowledged")
    (event,) = reported.reported.events
    assert isinstance(event, FaultInjected)
    assert 2000 <= event.elapsed_ms < 30_000
    assert event == FaultInjected(
        proxy="redis",
        connection="redis#17",
        client="127.0.0.1:5555",
        upstream=str(reported.it.context.dialler.target),
        rule="cut",
        fault="reset",
        ordinal=3,
        options={"after": {"bytes": "4KiB"}, "to": "both"},
        trigger="4KiB downstream",
        client_sees="ECONNRESET",
        degraded="7 bytes were not acknowledged",
        bytes_upstream=8,
        bytes_downstream=5,
        elapsed_ms=event.elapsed_ms,
    )
    assert [fault.fault for fault in reported.reports.injected] == ["reset"]


async def test_a_fault_of_a_dry_run(reported: Reported) -> None:
    """It was not injected, so it is not among the connection's faults."""
    cut = match("cut", dry_run=True, reset={})
    reported.reports.fault(cut, cut.faults[0], "at once", "ECONNRESET")
    (event,) = reported.reported.events
    assert isinstance(event, FaultDryRun)
    assert (event.rule, event.fault, event.degraded) == ("cut", "reset", None)
    assert reported.reports.injected == ()


async def test_what_went_wrong(reported: Reported) -> None:
    """An upstream that failed, by its errno; a bug, by its traceback."""
    reported.reports.upstream_failed("ECONNREFUSED")
    reported.reports.crashed(ZeroDivisionError("by zero"))
    failed, crashed = reported.reported.events
    assert isinstance(failed, UpstreamFailed)
    assert (failed.error, failed.upstream) == ("ECONNREFUSED", str(reported.it.context.dialler.target))
    assert 2000 <= failed.elapsed_ms < 30_000
    assert isinstance(crashed, ConnectionCrashed)
    assert (crashed.connection, "ZeroDivisionError: by zero" in crashed.traceback) == ("redis#17", True)


async def test_what_nobody_wants_is_not_made(reported: Reported, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection's beginning and end are not, as every connection has them."""
    for kind in ("ConnectionOpened", "ConnectionClosed"):
        monkeypatch.setattr(f"faultproxy.connection.reports.{kind}.__init__", _never)
    reports = Reports(replace(reported.it.context, bus=Bus()), facts(), reported.two.peers)
    reports.opened()
    reports.closed("drain", 0)


def _never(*_: object, **__: object) -> None:
    raise AssertionError("nobody wants it")
