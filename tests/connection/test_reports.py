"""What is published of one connection: every field of every event."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import trio

from faultproxy.connection.reports import Reports
from faultproxy.events.bus import Bus
from faultproxy.events.types import (
    ConnectionClosed,
    ConnectionOpened,
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
    """It says how many bytes were delivered by then."""
    cut = match("cut", ordinal=3, reset={"after": "4KiB"})
    reported.reports.fault(cut, cut.faults[0], "4KiB downstream", "ECONNRESET")
    (event,) = reported.reports.injected
    assert (event.bytes_upstream, event.bytes_downstream) == (8, 5)
    assert event.upstream == str(reported.it.context.dialler.target)


async def test_what_nobody_wants_is_not_made(reported: Reported, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection's beginning and end are not, as every connection has them."""
    for kind in ("ConnectionOpened", "ConnectionClosed"):
        monkeypatch.setattr(f"faultproxy.connection.reports.{kind}.__init__", _never)
    reports = Reports(replace(reported.it.context, bus=Bus()), facts(), reported.two.peers)
    reports.opened()
    reports.closed("drain", 0)


def _never(*_: object, **__: object) -> None:
    raise AssertionError("nobody wants it")
