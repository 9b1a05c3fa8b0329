"""One connection's life between two real peers, from its start to the last event, with a task only where one waits."""

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import faultproxy
from faultproxy.connection.context import Greeting
from faultproxy.events.types import (
    ConnectionClosed,
    ConnectionCrashed,
    ConnectionOpened,
    FaultDryRun,
    FaultInjected,
    UpstreamFailed,
)
from faultproxy.rules.plan import Plan
from faultproxy.upstream.dial import Target
from tests.connection.connecting import Scene, facts, match, plan, scene
from tests.events.samples import FAULT
from tests.peers import PATIENCE_S, SilentUpstream, nobody, pattern
from tests.relay.relaying import is_quiet, read_exactly, read_to_the_end, reset, send_all, tcp_pair, until

Sock = trio.socket.SocketType


@pytest.fixture
async def it() -> AsyncIterator[Scene]:
    async with scene() as it:
        yield it


async def talk(client: Sock, server: Sock) -> None:
    """A question and a reply pass."""
    await send_all(client, b"question")
    assert await read_exactly(server, 8) == b"question"
    await send_all(server, b"reply")
    assert await read_exactly(client, 5) == b"reply"


def sees(it: Scene) -> list[tuple[str, str]]:
    """The faults that were injected, and what the client sees."""
    return [(event.fault, event.client_sees) for event in it.reported.all(FaultInjected)]


# ---- what no rule touches


@pytest.mark.parametrize("first", ["client", "server"])
async def test_untouched(it: Scene, first: str) -> None:
    """It lives and ends without a task; its end says who ended it, and how much passed."""
    made, client, server = await it.joined()
    assert not it.tasks
    await talk(client, server)
    one, other = (client, server) if first == "client" else (server, client)
    one.shutdown(socket.SHUT_WR)
    assert await read_to_the_end(other) == (b"", "EOF")
    assert it.reported.all(ConnectionClosed) == []
    await send_all(other, b"still")
    assert await read_exactly(one, 5) == b"still"
    other.shutdown(socket.SHUT_WR)
    assert await read_to_the_end(one) == (b"", "EOF")
    assert not it.tasks
    closed = await it.closed()
    assert (closed.ended_by, closed.rule, closed.faults) == (first, None, ())
    more = (5, 0) if first == "server" else (0, 5)
    assert (closed.bytes_upstream, closed.bytes_downstream) == (8 + more[0], 5 + more[1])
    assert [type(event) for event in it.reported.events] == [ConnectionOpened, ConnectionClosed]
    assert it.ended == [made]


@pytest.mark.parametrize("broken", ["client", "server"])
async def test_a_reset_is_passed_on(it: Scene, broken: str) -> None:
    """After all that had come before it, and without a task where everything was acknowledged."""
    _, client, server = await it.joined()
    await talk(client, server)
    gone, other = (client, server) if broken == "client" else (server, client)
    reset(gone)
    assert await read_to_the_end(other) == (b"", "ECONNRESET")
    closed = await it.closed()
    assert closed.ended_by == broken


@pytest.mark.parametrize("broken", ["client", "server"])
async def test_a_reset_behind_data(it: Scene, broken: str) -> None:
    """The last words arrive before it."""
    _, client, server = await it.joined()
    gone, other = (client, server) if broken == "client" else (server, client)
    data = pattern(100_000)
    await send_all(gone, data)
    reset(gone)
    got, end = await read_to_the_end(other)
    assert end == "ECONNRESET"
    assert got == data[: len(got)]
    closed = await it.closed()
    assert len(got) == max(closed.bytes_upstream, closed.bytes_downstream)


async def test_a_reset_waits_for_a_slow_reader(it: Scene) -> None:
    """It has not acknowledged everything when the server resets: a task waits until it has, and resets it then."""
    _, client, server = await it.joined(client_buffer=4096)
    data = pattern(300_000)
    await send_all(server, data)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert not it.tasks
    reset(server)
    await until(lambda: bool(it.tasks))
    assert await read_to_the_end(client) == (data, "ECONNRESET")
    closed = await it.closed()
    assert (closed.ended_by, closed.bytes_downstream) == ("server", len(data))


async def test_a_server_that_was_dialled_before(it: Scene) -> None:
    """It is used, and no other is dialled."""
    server, ours = tcp_pair()
    made, client = it.connection(greeting=Greeting(server=ours, faults=(replace(FAULT, fault="slow_connect"),)))
    made.start()
    await talk(client, it.keep(server))
    assert it.is_left_alone()
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    assert (await it.closed()).faults == ("slow_connect",)
    assert ours.fileno() == -1


async def test_a_client_that_had_reset_before(it: Scene) -> None:
    """The kernel reported it once, so whoever knows passes it on: the server reads what it said, and the reset."""
    made, client = it.connection(greeting=Greeting(client_was_reset=True))
    await send_all(client, b"last words")
    client.shutdown(socket.SHUT_WR)  # the end that is read where a reset was
    made.start()
    assert await read_to_the_end(await it.accept()) == (b"last words", "ECONNRESET")
    assert (await it.closed()).ended_by == "client"


# ---- the upstream


async def test_an_upstream_that_refuses(it: Scene) -> None:
    """The client is reset, never ended cleanly."""
    with nobody() as address:
        made, client = it.connection(target=Target.tcp("127.0.0.1", int(address.rpartition(":")[2])))
        made.start()
        assert await read_to_the_end(client) == (b"", "ECONNRESET")
    closed = await it.closed()
    (failed,) = it.reported.all(UpstreamFailed)
    assert (failed.error, closed.ended_by) == ("ECONNREFUSED", "upstream_error")


async def test_an_upstream_whose_name_is_looked_up(it: Scene) -> None:
    """A task waits for that, and is gone when the server is reached."""
    port = it.listener.getsockname()[1]
    made, client = it.connection(target=Target.tcp("localhost", port))
    made.start()
    assert it.tasks == 1
    server = await it.accept()
    await talk(client, server)
    assert not it.tasks


async def test_an_upstream_that_does_not_answer(it: Scene) -> None:
    """After the time for a dial the client is reset."""
    with SilentUpstream() as upstream:
        made, client = it.connection(target=Target.tcp("127.0.0.1", upstream.port), timeout_s=0.05)
        start = trio.current_time()
        made.start()
        assert it.tasks == 1
        assert await read_to_the_end(client) == (b"", "ECONNRESET")
        assert 0.05 <= trio.current_time() - start < 10
    closed = await it.closed()
    (failed,) = it.reported.all(UpstreamFailed)
    assert (failed.error, closed.ended_by) == ("ETIMEDOUT", "upstream_error")


# ---- faults


async def test_at_once(it: Scene) -> None:
    """A fault that does not concern the server is injected before it is dialled."""
    made, client = it.connection(match("r", reset={"to": "client"}))
    made.start()
    assert await read_to_the_end(client) == (b"", "ECONNRESET")
    closed = await it.closed()
    assert (closed.ended_by, closed.rule, closed.faults) == ("fault", "r", ("reset",))
    assert it.is_left_alone()


async def test_at_once_with_a_server_that_was_dialled_before(it: Scene) -> None:
    """It reads EOF: its socket is closed although it was never needed."""
    server, ours = tcp_pair()
    made, client = it.connection(match("r", reset={"to": "client"}), greeting=Greeting(server=ours))
    made.start()
    assert await read_to_the_end(client) == (b"", "ECONNRESET")
    assert await read_to_the_end(it.keep(server)) == (b"", "EOF")
    await it.closed()
    assert ours.fileno() == -1


async def test_after_bytes(it: Scene) -> None:
    """At the exact byte; the other side is reset too."""
    _, client, server = await it.joined(match("r", reset={"after": "10B"}))
    await send_all(server, pattern(100))
    assert await read_to_the_end(client) == (pattern(100)[:10], "ECONNRESET")
    assert await read_to_the_end(server) == (b"", "ECONNRESET")
    closed = await it.closed()
    (reported,) = it.reported.all(FaultInjected)
    assert (reported.trigger, reported.bytes_downstream, closed.ended_by) == ("10B downstream", 10, "fault")


async def test_after_a_time(it: Scene) -> None:
    """Not before it, counted from the accept."""
    start = trio.current_time()
    _, client, server = await it.joined(match("r", close={"after": "50ms"}))
    await talk(client, server)
    assert (await read_to_the_end(client))[1] == "EOF"
    assert 0.05 <= trio.current_time() - start < 10
    assert (await read_to_the_end(server))[1] == "EOF"
    client.close()
    server.close()
    assert (await it.closed()).ended_by == "fault"


async def test_after_a_match(it: Scene) -> None:
    """Just behind it."""
    _, client, server = await it.joined(match("r", reset={"after": {"match": "END"}, "to": "client"}))
    await send_all(server, b"..E")
    assert await read_exactly(client, 3) == b"..E"
    await send_all(server, b"ND and more")
    assert await read_to_the_end(client) == (b"ND", "ECONNRESET")
    assert await read_to_the_end(server) == (b"", "EOF")
    server.close()
    await it.closed()


async def test_when_nothing_is_pending_the_task_ends(it: Scene) -> None:
    """After a half_close the rest is the poller's alone, and its end is reported all the same."""
    _, client, server = await it.joined(match("r", half_close={"after": "1B"}))
    assert it.tasks == 1
    await send_all(server, b"12")
    assert await read_to_the_end(client) == (b"1", "EOF")
    await until(lambda: not it.tasks)
    await send_all(client, b"still here")
    assert await read_exactly(server, 10) == b"still here"
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    assert (await it.closed()).faults == ("half_close",)


async def test_shapes_need_no_task(it: Scene) -> None:
    """They act in the poller."""
    _, client, server = await it.joined(match("r", latency={"delay": "10ms"}))
    assert not it.tasks
    await talk(client, server)
    assert sees(it) == [("latency", "delay")]
    reset(client)
    assert await read_to_the_end(server) == (b"", "ECONNRESET")
    assert (await it.closed()).rule == "r"


async def test_a_hang_for_a_while(it: Scene) -> None:
    """Nothing moves; then every byte does, and the task is gone."""
    _, client, server = await it.joined(match("r", hang={"for": "100ms"}))
    await it.reported.next(FaultInjected)
    await send_all(client, b"held")
    await trio.sleep(0.02)
    assert is_quiet(server)
    assert it.tasks == 1
    assert await read_exactly(server, 4) == b"held"
    await until(lambda: not it.tasks)
    await talk(client, server)


async def test_a_hang_for_ever(it: Scene) -> None:
    """It needs no task, and ends when the client resets."""
    _, client, server = await it.joined(match("r", hang={}))
    await it.reported.next(FaultInjected)
    await until(lambda: not it.tasks)
    await send_all(client, b"into the void")
    await trio.sleep(0.01)
    assert is_quiet(server)
    reset(client)
    assert await read_to_the_end(server) == (b"", "ECONNRESET")
    assert (await it.closed()).ended_by == "client"


async def test_a_peer_that_ends_while_a_fault_waits(it: Scene) -> None:
    """There is nothing to wait for any more."""
    _, client, server = await it.joined(match("r", reset={"after": "1h"}))
    assert it.tasks == 1
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    closed = await it.closed()
    assert (closed.ended_by in {"client", "server"}, closed.faults) == (True, ())


async def test_a_reset_while_a_fault_waits(it: Scene) -> None:
    """It is passed on as ever."""
    _, client, server = await it.joined(match("r", reset={"after": "1h"}))
    await send_all(server, b"last words")
    await read_exactly(client, 10)
    reset(server)
    assert await read_to_the_end(client) == (b"", "ECONNRESET")
    assert (await it.closed()).ended_by == "server"


async def test_what_could_not_be_done_before_the_handshake(it: Scene) -> None:
    """A refusal is a reset, a delay one of the dial, both degraded."""
    refused, client = it.connection(match("r", refuse={}), greeting=Greeting("no raw sockets"))
    refused.start()
    assert await read_to_the_end(client) == (b"", "ECONNRESET")
    assert (await it.closed()).ended_by == "fault"
    assert it.is_left_alone()
    slow, client = it.connection(match("s", slow_connect={"delay": "50ms"}), greeting=Greeting("no raw sockets"))
    start = trio.current_time()
    slow.start()
    server = await it.accept()
    assert 0.05 <= trio.current_time() - start < 10
    await talk(client, server)
    reasons = [(event.fault, (event.degraded or "").rpartition(": ")[2]) for event in it.reported.all(FaultInjected)]
    assert reasons == [("refuse", "no raw sockets"), ("slow_connect", "no raw sockets")]


async def test_a_dry_run(it: Scene) -> None:
    """It is reported, and the connection goes on, without a task."""
    _, client, server = await it.joined(match("r", dry_run=True, reset={"after": "3B"}))
    await send_all(server, b"12345")
    assert await read_exactly(client, 5) == b"12345"
    assert [event.bytes_downstream for event in it.reported.all(FaultDryRun)] == [3]
    await until(lambda: not it.tasks)
    await talk(client, server)
    assert sees(it) == []


# ---- faults that come later


async def test_a_fault_for_an_open_connection(it: Scene) -> None:
    """One that lives in the poller gets a task, and is reset at once."""
    made, client, server = await it.joined()
    await talk(client, server)
    made.inject([match("live", reset={"to": "client"})])
    assert made.awaits("live")
    assert await read_to_the_end(client) == (b"", "ECONNRESET")
    assert await read_to_the_end(server) == (b"", "EOF")
    server.close()
    closed = await it.closed()
    assert (closed.rule, closed.faults, closed.ended_by) == ("live", ("reset",), "fault")
    made.inject([match("late", reset={})])
    assert not made.awaits("late")
    assert it.ended == [made]


async def test_a_fault_for_one_whose_task_waits(it: Scene) -> None:
    """It is woken; the bytes count from then on."""
    made, client, server = await it.joined(match("r", reset={"after": "1h"}))
    await talk(client, server)
    await trio.testing.wait_all_tasks_blocked()
    made.inject([match("live", close={"after": "2B"})])
    await server.send(b"more")
    assert await read_to_the_end(client) == (b"mo", "EOF")
    assert await read_to_the_end(server) == (b"", "EOF")


async def test_a_fault_during_a_dial(it: Scene) -> None:
    """It does not wait for the server, nor is that waited for afterwards."""
    with SilentUpstream() as upstream:
        made, client = it.connection(target=Target.tcp("127.0.0.1", upstream.port))
        made.start()
        await trio.testing.wait_all_tasks_blocked(0.01)
        made.inject([match("live", reset={"to": "client"})])
        assert await read_to_the_end(client) == (b"", "ECONNRESET")
        closed = await it.closed()
        assert closed.duration_ms < 1000 * it.context.dialler.timeout_s / 2
    assert (closed.ended_by, it.reported.all(UpstreamFailed)) == ("fault", [])


async def test_a_fault_that_is_due_during_a_dial(it: Scene) -> None:
    """A time trigger does not wait for the server either, and the dial begins anew where the fault ends nothing."""
    with SilentUpstream() as upstream:
        hang = match("h", hang={"after": "20ms", "for": "20ms"})
        made, client = it.connection(hang, target=Target.tcp("127.0.0.1", upstream.port))
        made.start()
        await it.reported.next(FaultInjected)
        upstream.speak()
        with trio.fail_after(PATIENCE_S):
            listener = trio.socket.from_stdlib_socket(upstream.sock)
            server, _ = await listener.accept()
        with server:
            await talk(client, server)


async def test_shapes_for_an_open_connection(it: Scene) -> None:
    """They act from then on, until there are none; a rule that matched before is not reported again."""
    made, client, server = await it.joined()
    await talk(client, server)
    made.reshape(plan(), ())
    change = match("live", corrupt={"at": [8, 9]})
    made.reshape(Plan(answers={"live": 1}), [change])
    await send_all(client, b"x")
    assert await read_exactly(server, 1) != b"x"
    made.reshape(Plan(answers={"live": 1}), ())
    await send_all(client, b"x")
    assert await read_exactly(server, 1) == b"x"
    assert not it.tasks
    reset(client)
    assert (await it.closed()).rule == "live"
    made.reshape(plan(), [change])


# ---- reset by whoever owns it


@pytest.mark.parametrize("waits", [True, False])
async def test_reset(it: Scene, waits: bool) -> None:
    """Both sides, at once, be there a task or not; and the end says why."""
    made, client, server = await it.joined(*([match("r", reset={"after": "1h"})] if waits else []))
    await talk(client, server)
    made.reset("drain")
    made.reset("drain")
    assert await read_to_the_end(client) == (b"", "ECONNRESET")
    assert await read_to_the_end(server) == (b"", "ECONNRESET")
    assert (await it.closed()).ended_by == "drain"


async def test_reset_during_a_dial(it: Scene) -> None:
    """Nobody is dialled any more."""
    with SilentUpstream() as upstream:
        made, client = it.connection(target=Target.tcp("127.0.0.1", upstream.port))
        made.start()
        await trio.testing.wait_all_tasks_blocked(0.01)
        made.reset("drain")
        assert await read_to_the_end(client) == (b"", "ECONNRESET")
        assert (await it.closed()).ended_by == "drain"
        assert it.reported.all(UpstreamFailed) == []


async def test_reset_when_the_dial_is_just_over(it: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that was reached reads EOF; nothing crashes."""
    server, ours = tcp_pair()
    made, client = it.connection(target=Target.tcp("redis.test", 6379))

    async def dial(*_: object) -> socket.socket:
        await trio.lowlevel.checkpoint()
        made.reset("fault")  # too late to cancel what has no checkpoint left
        return ours

    monkeypatch.setattr("faultproxy.upstream.dialler.dial", dial)
    made.start()
    assert await read_to_the_end(client) == (b"", "ECONNRESET")
    assert await read_to_the_end(it.keep(server)) == (b"", "EOF")
    assert (await it.closed()).ended_by == "fault"
    assert it.reported.all(ConnectionCrashed) == []


@pytest.mark.parametrize("waits", [True, False])
async def test_reset_before_its_task_has_begun(it: Scene, waits: bool) -> None:
    """A dial that had begun is over."""
    with SilentUpstream() as upstream:
        rules = [match("r", reset={"after": "1h"})] if waits else []
        made, client = it.connection(*rules, target=Target.tcp("127.0.0.1", upstream.port))
        made.start()
        made.reset("drain")
        assert await read_to_the_end(client) == (b"", "ECONNRESET")
        assert (await it.closed()).ended_by == "drain"


async def test_reset_before_it_is_started(it: Scene) -> None:
    """It is over: opened and closed, and nobody is dialled. A server that was dialled before reads EOF."""
    server, ours = tcp_pair()
    made, client = it.connection(greeting=Greeting(server=ours))
    made.reset("drain")
    assert await read_to_the_end(client) == (b"", "ECONNRESET")
    assert await read_to_the_end(it.keep(server)) == (b"", "EOF")
    assert (ours.fileno(), it.ended, it.is_left_alone()) == (-1, [made], True)
    assert [type(event) for event in it.reported.events] == [ConnectionOpened, ConnectionClosed]


# ---- a bug


class _Bug(Exception):
    pass


def _broken(*_: Any, **__: Any) -> Any:
    raise _Bug


@pytest.mark.parametrize("where", ["connection.Injector.begin", "connection.Connection._begin_to_dial", "peers.Relay"])
async def test_a_bug_at_the_start(it: Scene, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """It is reported, and ends this connection alone."""
    _, client, server = await it.joined()
    with monkeypatch.context() as patch:
        patch.setattr(f"faultproxy.connection.{where}", _broken)
        made, victim = it.connection(match("r", latency={"delay": "1ms"}))
        made.start()
    assert await read_to_the_end(victim) == (b"", "ECONNRESET")
    (crash,) = it.reported.all(ConnectionCrashed)
    assert "_Bug" in crash.traceback
    assert it.ended == [made]
    await talk(client, server)


async def test_a_bug_in_the_poller(it: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, where both have ended."""
    _, client, server = await it.joined()
    _, other, others = await it.joined()
    with monkeypatch.context() as patch:
        patch.setattr("faultproxy.connection.connection.Connection._finish", _broken)
        client.shutdown(socket.SHUT_WR)
        server.shutdown(socket.SHUT_WR)
        await it.reported.next(ConnectionCrashed)
    await it.closed()
    await talk(other, others)


async def test_a_bug_in_the_task(it: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, where a fault is injected."""
    _, other, others = await it.joined()
    monkeypatch.setattr("faultproxy.faults.reset.Reset.inject", _broken)
    _, client, server = await it.joined(match("r", reset={"after": "1B"}))
    await send_all(server, b"12")
    assert await read_to_the_end(client) == (b"1", "ECONNRESET")
    assert await read_to_the_end(server) == (b"", "ECONNRESET")
    await it.closed()
    assert len(it.reported.all(ConnectionCrashed)) == 1
    await talk(other, others)


async def test_no_memory(it: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed allocation in the relay ends this connection alone."""
    _, other, others = await it.joined()
    _, client, server = await it.joined(match("r", latency={"delay": "1ms"}))

    def exhausted(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("faultproxy.faults.latency._Delayed.shape", exhausted)
        await send_all(client, b"x")
        assert await read_to_the_end(client) == (b"", "ECONNRESET")
    assert await read_to_the_end(server) == (b"", "ECONNRESET")
    await it.closed()
    (crash,) = it.reported.all(ConnectionCrashed)
    assert "MemoryError" in crash.traceback
    await talk(other, others)


# ---- a plan is data


@pytest.mark.parametrize(
    ("rule", "got", "end"),
    [
        (match("cut", ordinal=3, reset={"after": {"match": "END"}}), b"...END", "ECONNRESET"),
        (match("cut", close={"after": "2B"}, latency={"delay": "1ms"}), b"..", "EOF"),
    ],
    ids=["reset", "close"],
)
async def test_a_connection_lives_in_another_process(it: Scene, rule: Any, got: bytes, end: str) -> None:
    """A plan is pickled, and carried out where the accepted socket was handed to, with the same bytes and errno."""
    peer, ours = tcp_pair()
    client = it.keep(peer)
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, "PYTHONPATH": str(Path(faultproxy.__file__).parent.parent)}
    command = [sys.executable, "-P", str(Path(__file__).with_name("elsewhere.py")), str(other.fileno())]
    child = subprocess.Popen(command, pass_fds=[other.fileno()], env=environment, stdout=subprocess.PIPE)  # noqa: ASYNC220
    with one, child:
        other.close()
        work = pickle.dumps((facts(), plan(rule), it.listener.getsockname()))
        socket.send_fds(one, [work], [ours.fileno()])
        ours.close()
        server = await it.accept()
        await send_all(client, b"question")
        assert await read_exactly(server, 8) == b"question"
        await send_all(server, b"...END and more")
        assert await read_to_the_end(client) == (got, end)
        assert await read_to_the_end(server) == (b"", end)
        client.close()
        server.close()
        out, _ = await trio.to_thread.run_sync(child.communicate)
    assert child.returncode == 0
    lines = out.decode().splitlines()
    assert [line.split()[0] for line in lines[:2] + lines[-1:]] == [
        "connection.opened",
        "fault.injected",
        "connection.closed",
    ]
    assert "'ended_by': 'fault'" in lines[-1]
    assert f"'ordinal': {rule.ordinal}" in lines[1]
