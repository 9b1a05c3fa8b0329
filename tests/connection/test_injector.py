"""The faults of one connection are injected when they are due, reported once, and cost nothing while they wait."""

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import trio

from faultproxy.connection import injector as injector_module
from faultproxy.connection.injector import Injector
from faultproxy.connection.reports import Reports
from faultproxy.events.types import FaultDryRun, FaultInjected
from faultproxy.faults.base import Direction
from faultproxy.kernel import sockets
from faultproxy.relay import UNLIMITED, Pipe
from faultproxy.rules.plan import Match
from tests.connection.connecting import Ends, Scene, facts, match, peers_on, plan, scene
from tests.network import needs_a_filter
from tests.relay.relaying import is_quiet, read_exactly, read_to_the_end, send_all, until

UP, DOWN = Direction.UPSTREAM, Direction.DOWNSTREAM


@dataclass
class Injected:
    """An injector, its peers, and what was reported."""

    it: Scene
    two: Ends
    injector: Injector

    def connect(self) -> None:
        """Reach the server."""
        self.two.peers.connect(self.two.to_server, self.two.on_change)
        self.injector.install()
        assert self.two.peers.relay is not None
        self.two.peers.relay.start()

    def reported(self) -> list[tuple[str | None, str, str | None]]:
        """The faults that were injected: whose, what the client sees, and if that is less than exact, why."""
        return [(event.rule, event.client_sees, event.degraded) for event in self.it.reported.all(FaultInjected)]

    def pipe(self, direction: Direction) -> Pipe:
        return self.two.peers.pipe(direction)


def injector_on(it: Scene, *, at_s: float | None = None) -> Injected:
    """The server is not reached yet."""
    two = peers_on(it.context.poller)
    for sock in (two.client, two.server, two.to_server, two.peers.client):
        it.keep(sock)
    about = facts(at_s=at_s)
    return Injected(it, two, Injector(it.context, about, two.peers, Reports(it.context, about, two.peers)))


@pytest.fixture
async def one() -> AsyncIterator[Injected]:
    async with scene() as it:
        yield injector_on(it)


# ---- triggers


async def test_a_limit_is_set_where_bytes_are_counted(one: Injected) -> None:
    """So the trigger is exact; it is the fault's that is due first, and gone when that was injected."""
    one.injector.begin(plan(match("r", half_close={"after": "3B"}), match("later", reset={"after": "9B"})))
    assert one.injector.has_pending
    one.connect()
    assert (one.pipe(UP).limit, one.pipe(DOWN).limit) == (UNLIMITED, 3)
    await send_all(one.two.server, b"123456")
    assert await read_exactly(one.two.client, 3) == b"123"
    await until(lambda: bool(one.two.changes))
    await one.injector.inject_due()
    assert one.reported() == [("r", "EOF", None)]
    assert await read_to_the_end(one.two.client) == (b"", "EOF")
    assert one.injector.awaits("later")
    assert not one.injector.awaits("r")


async def test_what_is_not_due_is_not_injected(one: Injected) -> None:
    """Nor before the server is reached, if that is to see it."""
    one.injector.begin(plan(match("r", reset={"after": "1h"}, close={})))
    await one.injector.inject_due()
    assert one.reported() == []
    assert one.injector.next_deadline() == pytest.approx(trio.current_time() + 3600, abs=10)
    one.connect()
    await one.injector.inject_due()
    assert one.reported() == [("r", "EOF", None)]
    assert not one.two.peers.is_open


async def test_after_an_end_nothing_is_injected(one: Injected) -> None:
    """The first fault that ends the connection is the last; others of its are not reported."""
    one.injector.begin(plan(match("r", reset={"to": "client"}), match("other", broken_pipe={})))
    await one.injector.inject_due()
    assert one.reported() == [("r", "ECONNRESET", None)]
    assert await read_to_the_end(one.two.client) == (b"", "ECONNRESET")


async def test_a_fault_that_is_less_than_exact(one: Injected, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client sees instead is reported, with the reason; once, though a reset of both sides reports twice."""
    monkeypatch.setattr("faultproxy.connection.peers.Peers.destroy_client", lambda _: "not here")
    monkeypatch.setattr("faultproxy.connection.peers.Peers.why_no_rst", lambda _, __: "no reset")
    one.injector.begin(plan(match("r", abort={})))
    await one.injector.inject_due()
    assert one.reported() == [("r", "ECONNRESET", "the connection is reset: not here")]
    other = injector_on(one.it)
    other.connect()
    other.injector.begin(plan(match("both", reset={})))
    await other.injector.inject_due()
    assert one.reported()[1:] == [("both", "ECONNRESET", "no reset")]


async def test_what_the_client_sees_depends_on_what_it_has_seen(one: Injected) -> None:
    """After its FIN a reset is EPIPE; asked before the fault changes anything."""
    one.connect()
    one.injector.begin(plan(match("r", half_close={}, reset={"to": "client"})))
    await one.injector.inject_due()
    assert one.reported() == [("r", "EOF", None), ("r", "EPIPE", None)]


async def test_a_dry_run(one: Injected) -> None:
    """It is reported at its trigger, a shape at once, and nothing happens."""
    one.connect()
    one.injector.begin(plan(match("r", dry_run=True, reset={"after": "2B"}, latency={"delay": "1h"})))
    assert [event.fault for event in one.it.reported.all(FaultDryRun)] == ["latency"]
    await send_all(one.two.server, b"12345")
    assert await read_exactly(one.two.client, 2) == b"12"
    await until(lambda: bool(one.two.changes))
    await one.injector.inject_due()
    assert [event.fault for event in one.it.reported.all(FaultDryRun)] == ["latency", "reset"]
    assert await read_exactly(one.two.client, 3) == b"345"
    assert not one.injector.has_pending
    assert one.reported() == []


async def test_a_hang_is_pending_until_it_ends(one: Injected) -> None:
    """Its end is a deadline; one for ever has none."""
    one.connect()
    one.injector.begin(plan(match("r", hang={"for": "20ms"})))
    await one.injector.inject_due()
    assert one.injector.has_pending
    deadline = one.injector.next_deadline()
    assert deadline == pytest.approx(trio.current_time() + 0.02, abs=0.02)
    await send_all(one.two.client, b"held")
    await trio.sleep_until(deadline)
    assert is_quiet(one.two.server)
    await one.injector.inject_due()
    assert await read_exactly(one.two.server, 4) == b"held"
    assert not one.injector.has_pending
    one.injector.add([match("ever", hang={})])
    await one.injector.inject_due()
    assert (one.injector.has_pending, one.injector.next_deadline()) == (False, math.inf)


async def test_faults_that_come_later(one: Injected) -> None:
    """A live rule's: those of bytes count from here on, those of a match look from here on."""
    one.connect()
    await send_all(one.two.server, b"END")
    assert await read_exactly(one.two.client, 3) == b"END"
    one.injector.add([match("r", close={"after": {"match": "END"}}), match("other", half_close={"after": "2B"})])
    await one.injector.inject_due()
    assert one.reported() == []
    await send_all(one.two.server, b"on")
    assert await read_exactly(one.two.client, 2) == b"on"
    await one.injector.inject_due()
    assert one.reported() == [("other", "EOF", None)]
    assert one.injector.awaits("r")


# ---- what was asked for before the handshake


async def test_a_refusal_is_made_up_for(one: Injected) -> None:
    """The client is reset, and the log says why it is no more than that."""
    assert one.injector.make_up(plan(match("r", refuse={})), "no raw sockets") is None
    assert one.reported() == [("r", "ECONNRESET", "the connection is accepted, then reset: no raw sockets")]
    assert await read_to_the_end(one.two.client) == (b"", "ECONNRESET")


async def test_delays_are_made_up_for(one: Injected) -> None:
    """They add up, and the log says that it is the server that is reached later."""
    delays = plan(match("one", slow_connect={"delay": "1s"}), match("other", slow_connect={"delay": "2s"}))
    assert one.injector.make_up(delays, "no raw sockets") == 3.0
    reason = "the server is dialled later: no raw sockets"
    assert one.reported() == [("one", "delay", reason), ("other", "delay", reason)]


async def test_dry_runs_are_reported_of(one: Injected) -> None:
    """Nothing happens."""
    dry = plan(match("r", dry_run=True, refuse={}), match("slow", dry_run=True, slow_connect={"delay": "1s"}))
    assert one.injector.make_up(dry, "no raw sockets") == 0.0
    reported = [(event.rule, event.client_sees, event.trigger) for event in one.it.reported.all(FaultDryRun)]
    assert reported == [("r", "ECONNREFUSED", "connect"), ("slow", "delay", "connect")]
    assert is_quiet(one.two.client)


# ---- shapes


async def test_shapes_change(one: Injected) -> None:
    """From now on these act, and no others; nothing happens to a connection that is over."""
    one.injector.begin(plan(match("r", corrupt={"at": [0]})))
    one.connect()
    await send_all(one.two.client, b"x")
    assert await read_exactly(one.two.server, 1) != b"x"
    assert one.reported() == [("r", "change", None)]
    one.injector.shape([match("s", corrupt={"at": [2]})])
    await send_all(one.two.client, b"yz")
    got = await read_exactly(one.two.server, 2)
    assert (got[:1], got != b"yz") == (b"y", True)
    one.two.peers.stop()
    one.injector.shape([])
    assert one.reported() == [("r", "change", None), ("s", "change", None)]


async def test_draws_are_the_connections(one: Injected) -> None:
    """From the seed, the proxy, the rule and the number: the same again, whatever else there is."""
    other = injector_on(one.it)
    assert one.injector._draw("r", "x") == other.injector._draw("r", "x") != one.injector._draw("s", "x")


# ---- loss


def lossy(percent: int) -> Match:
    return match("r", loss={"probability": f"{percent}%"})


async def lose_one(one: Injected) -> None:
    """Send bytes upstream until the kernel has dropped a packet of them; all of them arrive."""
    before, sent = sockets.dropped(one.two.peers.client), 0
    while sockets.dropped(one.two.peers.client) == before:
        await send_all(one.two.client, b"x")
        sent += 1
        await trio.sleep(0.001)
        assert sent < 1000, "nothing is lost"
    await read_exactly(one.two.server, sent)


@needs_a_filter
async def test_idle_connections_that_may_lose_packets_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A while after the last byte no timer is set any more, for any of them."""
    monkeypatch.setattr(injector_module, "_LOOK_FOR_S", 0.1)
    async with scene() as it:
        idle = [injector_on(it) for _ in range(20)]
        for one in idle:
            one.injector.begin(plan(lossy(1)))
            one.connect()
        poller = it.context.poller
        assert poller._timers, "packets are not looked for"
        await until(lambda: not poller._timers)
        calls: list[float] = []
        monkeypatch.setattr(poller, "call_at", lambda at_s, _: calls.append(at_s))
        await trio.sleep(0.2)
        assert calls == []
        assert all(one.injector._shaping.expects_loss for one in idle)


@needs_a_filter
async def test_the_first_packet_that_is_lost_after_a_while(one: Injected, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that arrive make it look again, so that it is reported, once; then bytes are not looked at any more."""
    monkeypatch.setattr(injector_module, "_LOOK_FOR_S", 0.1)
    poller = one.it.context.poller
    one.injector.begin(plan(lossy(30)))
    one.connect()
    await until(lambda: not poller._timers)
    assert one.reported() == []
    await lose_one(one)
    await until(lambda: bool(one.reported()))
    assert one.reported() == [("r", "delay", None)]
    await until(lambda: not poller._timers)
    assert not one.pipe(UP)._is_transformed
    await lose_one(one)
    assert not poller._timers
    one.injector.end()
    assert one.reported() == [("r", "delay", None)]


@needs_a_filter
async def test_a_packet_that_was_lost_at_the_very_end(one: Injected, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported with the end."""
    monkeypatch.setattr(injector_module, "_LOOK_S", 60.0)
    one.injector.begin(plan(lossy(30)))
    one.connect()
    await lose_one(one)
    assert one.reported() == []
    one.injector.end()
    assert one.reported() == [("r", "delay", None)]


@needs_a_filter
async def test_looking_ends_with_the_connection(one: Injected) -> None:
    """No timer is left."""
    one.injector.begin(plan(lossy(1)))
    one.connect()
    one.two.peers.stop()
    await until(lambda: not one.it.context.poller._timers)
