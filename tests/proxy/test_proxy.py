"""One proxy: how many it lets in, what its windows cost, and what becomes of it at an edit and at the end."""

import errno
import resource
import select
import socket
from contextlib import AsyncExitStack, ExitStack
from signal import SIGUSR1
from time import process_time
from typing import Any

import pytest
import trio

from faultproxy.events.types import (
    AcceptPaused,
    AcceptResumed,
    ConnectionClosed,
    ConnectionOpened,
    FaultInjected,
    ListenFailed,
    OutageEnded,
    OutageStarted,
    ProxyDraining,
    ProxyStatus,
    ProxyStopped,
    UpstreamFailed,
)
from faultproxy.units import parse_duration
from tests.managing import CUT, Managed, ask, at, connect, managed, read_exactly
from tests.network import Namespaces, inside, ip
from tests.peers import PATIENCE_S, Upstream, nobody
from tests.relay.relaying import until
from tests.running import Faultproxy, one


@pytest.fixture
def few_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are descriptors for some hundred connections."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (300, 300))


async def has_answer(client: trio.SocketStream, within_s: float = PATIENCE_S) -> bool:
    """Whether the server answers what the client has sent."""
    with trio.move_on_after(within_s):
        return await client.receive_some() == b"hi"
    return False


# ---- how many --------------------------------------------------------------------------------------------------------


async def test_max_connections(server: str) -> None:
    """The third of two waits in the queue, connected; it is served when another has gone, and the shortage has a name."""
    async with managed({"proxies": {"p": at(server, max_connections=2)}}) as its, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await its.connect("p")) for _ in range(3)]
        for client in clients:
            await client.send_all(b"hi")
        paused = await its.record.wait_for(AcceptPaused)
        assert (paused.error, paused.open) == ("max_connections", 2)
        assert [await has_answer(client) for client in clients[:2]] == [True, True]
        assert not await has_answer(clients[2], 0.3)
        assert len(its.record.of(ConnectionOpened)) == 2
        await clients[0].aclose()
        assert await has_answer(clients[2])
        assert (await its.record.wait_for(AcceptResumed)).error == "max_connections"
        assert len(its.record.of(AcceptPaused)) == 1


async def test_an_edit_makes_room(server: str) -> None:
    """A client that waits is accepted when max_connections is raised; lowered, it accepts and ends none."""
    async with managed({"proxies": {"p": at(server, max_connections=1)}}) as its, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await its.connect("p")) for _ in range(3)]
        for client in clients:
            await client.send_all(b"hi")
        await its.record.wait_for(AcceptPaused)
        await its.edit(p=at(server, max_connections=3))
        assert [await has_answer(client) for client in clients] == [True] * 3
        await its.edit(p=at(server, max_connections=1))
        late = await stack.enter_async_context(await its.connect("p"))
        await late.send_all(b"hi")
        assert not await has_answer(late, 0.3)
        for client in clients:
            await client.send_all(b"hi")
            assert await has_answer(client)


@pytest.mark.usefixtures("few_descriptors")
async def test_one_proxy_leaves_the_others_room(server: str) -> None:
    """Clients of one take all the descriptors that they can; those of another are served, and new proxies' too."""
    async with managed({"proxies": {"greedy": at(server), "other": at(server)}}) as its, AsyncExitStack() as stack:
        for _ in range(200):
            await stack.enter_async_context(await its.connect("greedy"))
        assert (await its.record.wait_for(AcceptPaused)).error == "EMFILE"
        others = [await stack.enter_async_context(await its.connect("other")) for _ in range(10)]
        for client in others:
            await client.send_all(b"hi")
            assert await has_answer(client)
        await its.edit(greedy=at(server), other=at(server), new=at(server))
        assert not its.record.of(UpstreamFailed)


# ---- circles ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def _circle_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name for this host that no configuration can be seen to mean it by."""
    getaddrinfo = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        return getaddrinfo("127.0.0.1" if host == "circle.test" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def circle(length: int, **settings: Any) -> dict[str, Any]:
    """Proxies of which each dials the next, and the last the first."""
    with ExitStack() as stack:
        listens = [stack.enter_context(nobody()) for _ in range(length)]
    return {
        f"p{number}": at(
            f"circle.test:{listens[(number + 1) % length].rpartition(':')[2]}", listen=listens[number], **settings
        )
        for number in range(length)
    }


@pytest.mark.usefixtures("_circle_test", "few_descriptors")
@pytest.mark.parametrize("length", [1, 2, 3])
async def test_a_circle_of_proxies(server: str, length: int) -> None:
    """A client that comes back to a proxy is reset, with ELOOP in the log; nothing is left, and others are served."""
    async with managed({"proxies": {**circle(length), "other": at(server)}}) as its:
        for turn in range(1, 21):
            assert await ask(its.address("p0")) == "ECONNRESET"
            failed = await its.record.wait_for(UpstreamFailed, turn)
            assert (failed.proxy, failed.error) == ("p0", "ELOOP")
            await its.record.wait_for(ConnectionClosed, turn * (length + 1))
        assert await ask(its.address("other")) == b"hi"
        assert len(its.record.of(ConnectionOpened)) == 20 * (length + 1) + 1
        assert not its.record.of(AcceptPaused)


@pytest.mark.usefixtures("_circle_test")
@pytest.mark.parametrize("rule", [{"when": {"client": "192.0.2.1"}, "refuse": None}, {"latency": {"delay": "1ms"}}])
async def test_a_circle_with_rules(server: str, rule: dict[str, Any]) -> None:
    """Where SYNs are judged, and the server dialled ahead, or bytes delayed, it ends too."""
    rules = [{"name": "r", **rule}]
    proxies = {name: {**settings, "rules": rules} for name, settings in circle(2).items()}
    async with managed({"proxies": {**proxies, "other": at(server)}}) as its:
        await ask(its.address("p0"))
        await its.record.wait_for(UpstreamFailed)
        assert await ask(its.address("other")) == b"hi"
        await until(lambda: not any(len(proxy._connections) for proxy in its.manager.proxies.values()))


async def test_a_chain_of_proxies_is_no_circle(server: str) -> None:
    """One may dial another, again and again."""
    async with managed({"proxies": {"last": at(server)}}) as its:
        last = "{}:{}".format(*its.address("last"))
        await its.edit(last=at(server), first=at(last))
        for _ in range(3):
            assert await ask(its.address("first")) == b"hi"
        assert not its.record.of(UpstreamFailed)
        await its.record.wait_for(ConnectionClosed, 6)


# ---- windows ---------------------------------------------------------------------------------------------------------


async def test_thousands_of_short_windows(server: str) -> None:
    """2,000 rules whose windows of 10 ms come and go take a fraction of the processor, and a bystander's time neither."""
    rules = [
        {
            "name": f"r{number}",
            "when": {
                "window": {"from": f"{4 * number}us", "to": f"{4 * number + 10_000}us", "every": "20ms"},
                "client": "192.0.2.1",
            },
            "latency": {"delay": "1s"},
        }
        for number in range(2000)
    ]
    config = {"proxies": {"p": at(server, *rules), "other": at(server)}}
    async with managed(config) as its, await its.connect("other") as client:
        await trio.sleep(0.1)
        spent, began = process_time(), trio.current_time()
        await trio.sleep(2)
        assert (process_time() - spent) / (trio.current_time() - began) < 0.15
        await client.send_all(b"hi")
        assert await has_answer(client)


async def test_an_outage_comes_and_goes(server: str) -> None:
    """The listener is closed in the window and open after it, and both are reported."""
    down = {"name": "down", "when": {"window": {"from": "300ms", "to": "600ms"}}, "refuse": None}
    async with managed({"proxies": {"p": at(server, down)}}) as its:
        assert await ask(its.address("p")) == b"hi"
        await its.record.wait_for(OutageStarted, rule="down")
        assert await ask(its.address("p")) == "ECONNREFUSED"
        await its.record.wait_for(OutageEnded, rule="down")
        assert await ask(its.address("p")) == b"hi"


async def test_a_port_that_is_taken_during_an_outage(server: str) -> None:
    """It is reported, and tried again each second until the port is free."""
    down = {"name": "down", "refuse": None}
    async with managed({"proxies": {"p": at(server, down)}}) as its:
        address = its.address("p")
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(address)
            thief.listen()
            await its.edit(p=at(server))
            failed = await its.record.wait_for(ListenFailed)
            assert its.manager.proxies["p"].status().state == "failed"
            assert (failed.listen, failed.error) == ("{}:{}".format(*address), "EADDRINUSE")
        began = trio.current_time()
        await its.record.wait_for(OutageEnded)
        assert trio.current_time() - began < 10
        assert await ask(address) == b"hi"


# ---- edits and the end -----------------------------------------------------------------------------------------------


async def test_disabled(server: str) -> None:
    """Like a server that is stopped: open connections are reset, and whoever comes is refused, until it is enabled."""
    async with managed({"proxies": {"p": at(server)}}) as its, await its.connect("p") as client:
        await client.send_all(b"hi")
        assert await has_answer(client)
        await its.edit(p=at(server, enabled=False))
        with pytest.raises(trio.BrokenResourceError) as reset:
            await client.receive_some()
        assert isinstance(reset.value.__cause__, OSError)
        assert reset.value.__cause__.errno == errno.ECONNRESET
        assert (await its.record.wait_for(ConnectionClosed)).ended_by == "fault"
        assert await ask(its.address("p")) == "ECONNREFUSED"
        assert not its.record.of(OutageStarted)
        await its.edit(p=at(server))
        assert await ask(its.address("p")) == b"hi"


async def test_a_removed_proxy_stops_after_its_last_connection(server: str) -> None:
    """It is logged when it drains and when it is over, once each, and how often which rule was carried out, if ever."""
    rules: list[dict[str, Any]] = [{**CUT, "when": {"nth": 2}}, {"name": "never", "when": {"nth": 99}, "close": None}]
    async with managed({"proxies": {"p": at(server, *rules), "q": at(server)}}) as its:
        address = its.address("p")
        async with await its.connect("p") as client:
            await client.send_all(b"hi")
            assert await has_answer(client)
            assert await ask(address) == "ECONNRESET"
            await its.edit(q=at(server))
            assert await ask(address) == "ECONNREFUSED"
            await client.send_all(b"hi")
            assert await has_answer(client)
            assert [event.open for event in its.record.of(ProxyDraining)] == [1]
            assert not its.record.of(ProxyStopped)
        stopped = await its.record.wait_for(ProxyStopped)
        assert (stopped.connections, stopped.faults) == (2, {"cut": 1, "never": 0})
        assert len(its.record.of(ProxyStopped)) == 1


async def test_what_a_rule_that_is_gone_was_expected_to_do(server: str) -> None:
    """It is still expected; and a proxy within its bounds is not complained of."""
    expecting = {**CUT, "when": {"nth": 1}, "expect": {"min": 1, "max": 1}}
    async with managed({"proxies": {"p": at(server, expecting)}}) as its:
        assert its.manager.unmet() == ['p: "cut" injected 0 faults, expected at least 1']
        await its.edit(p=at(server))
        assert its.manager.unmet() == ['p: "cut" injected 0 faults, expected at least 1']
        await its.edit(p=at(server, expecting))
        await ask(its.address("p"))
        await its.record.wait_for(FaultInjected)
        assert its.manager.unmet() == []


async def test_what_a_proxy_that_is_gone_was_expected_to_do(server: str) -> None:
    """It is still expected, of the next of its name too; until its counts begin anew."""
    expecting = {**CUT, "when": {"nth": 1}, "expect": {"min": 1}}
    unmet = ['p: "cut" injected 0 faults, expected at least 1']
    async with managed({"proxies": {"p": at(server, expecting), "q": at(server)}}) as its:
        await its.edit(q=at(server))
        assert its.manager.unmet() == unmet
        await its.edit(p=at(server), q=at(server))
        assert its.manager.unmet() == unmet
        await its.edit(q=at(server))
        its.manager.reset_counts("p")
        assert its.manager.unmet() == []
        await its.edit(p=at(server, expecting))
        assert its.manager.unmet() == unmet
        await its.edit(q=at(server))
        its.manager.reset_counts()
        assert its.manager.unmet() == []


# ---- keepalive -------------------------------------------------------------------------------------------------------


def keepalive(sock: socket.socket) -> int | None:
    """After how many seconds a peer is asked; None: never."""
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        return None
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)


def both_sides(its: Managed) -> tuple[int | None, int | None]:
    """Of the newest connection of ``p``."""
    (*_, connection) = its.manager.proxies["p"]._connections._connections
    peers = connection._peers
    assert peers.server is not None
    return keepalive(peers.client), keepalive(peers.server)


async def test_both_sides_are_asked_whether_they_are_there(server: str) -> None:
    """After a minute, unless the file says otherwise; an edit changes it for those who come after it."""
    async with managed({"proxies": {"p": at(server)}}) as its, AsyncExitStack() as stack:
        seen = []
        for settings in ({}, {"keepalive": "1s"}, {"keepalive": "off"}, {"keepalive": "2h"}):
            await its.edit(p=at(server, **settings))
            client = await stack.enter_async_context(await its.connect("p"))
            await client.send_all(b"hi")
            assert await has_answer(client)
            seen.append(both_sides(its))
        assert seen == [(60, 60), (1, 1), (None, None), (7200, 7200)]


async def test_a_new_listener_is_reported_before_anybody_comes(server: str) -> None:
    """Whoever connects while the edit is under way is asked too."""
    async with managed({"proxies": {"p": at(server, keepalive="7s")}}) as its, await its.connect("p") as client:
        await client.send_all(b"hi")
        assert await has_answer(client)
        assert both_sides(its) == (7, 7)


@pytest.mark.parametrize("vanishes", ["client", "server"])
def test_a_peer_that_vanishes_is_found(tmp_path: Any, vanishes: str) -> None:
    """When its link is down for four seconds, with a keepalive of one, the connection is over for the other peer too."""
    with ExitStack() as stack:
        namespaces = stack.enter_context(Namespaces())
        ours, theirs = namespaces.server, namespaces.client
        upstream_in, client_in = (ours, theirs) if vanishes == "client" else (theirs, ours)
        host = namespaces.SERVER if vanishes == "client" else namespaces.CLIENT
        with inside(upstream_in):
            upstream = stack.enter_context(Upstream(host))
        config = one(upstream.address, listen=f"{namespaces.SERVER}:0", keepalive="1s")
        with inside(ours):
            proxy = stack.enter_context(Faultproxy(tmp_path, config))
        with inside(client_in):
            client = stack.enter_context(socket.create_connection(proxy.address("p"), PATIENCE_S))
        server = stack.enter_context(upstream.accept())
        client.sendall(b"hi")
        assert server.recv(2) == b"hi"
        ip("-n", theirs, "link", "set", "v0", "down")
        stays = server if vanishes == "client" else client
        assert select.select([stays], [], [], PATIENCE_S)[0]
        with pytest.raises(ConnectionResetError):
            stays.recv(1)
        assert proxy.wait_for("connection.closed")["ended_by"] == vanishes


# ---- memory ----------------------------------------------------------------------------------------------------------


async def test_what_is_held_is_bounded(server: str) -> None:
    """Many slow connections hold no more than the limit together; an edit raises it, and no byte is lost."""
    mib = 2**20
    slow = {"name": "slow", "latency": {"delay": "30s"}}
    size, count = 64 * 1024, 200
    config = {"memory": "2MiB", "proxies": {"p": at(server, slow)}}
    async with managed(config) as its, AsyncExitStack() as stack:
        memory = its.manager._services.poller.memory
        data = bytes(range(256)) * (size // 256)
        clients = [await stack.enter_async_context(await its.connect("p")) for _ in range(count)]

        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, memory.held)
                await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            for client in clients:
                await client.send_all(data)
            await until(lambda: memory.held >= 2 * mib)
            await trio.sleep(0.3)
            assert memory.held < 2 * mib + count * 16 * 1024 + mib // 2 < count * size
            await its.apply({"memory": "32MiB", "proxies": {"p": at(server, slow)}})
            with trio.fail_after(5):
                await until(lambda: memory.held >= count * size)
            await its.apply({"memory": "2MiB", "proxies": {"p": at(server)}})
            nursery.cancel_scope.cancel()
        assert count * size <= memory.held <= most < 1.1 * count * size, "what is under way arrives as it set out"


async def test_no_byte_is_lost_for_want_of_memory(server: str) -> None:
    """200 clients send and receive far more than may be held, through a delay; each gets its own bytes back."""
    slow = {"name": "slow", "latency": {"delay": "50ms"}}
    size, count = 128 * 1024, 200
    async with managed({"memory": "1MiB", "proxies": {"p": at(server, slow)}}) as its:
        memory = its.manager._services.poller.memory

        async def exchange(number: int) -> None:
            data = bytes((number + at) % 251 for at in range(1024)) * (size // 1024)
            async with await connect(its.address("p")) as client, trio.open_nursery() as nursery:
                nursery.start_soon(client.send_all, data)
                assert await read_exactly(client, size) == data

        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(exchange, number)
        await its.record.wait_for(ConnectionClosed, count)
        assert memory.held == 0


# ---- how it stands ---------------------------------------------------------------------------------------------------


async def test_status(server: str) -> None:
    """A signal has it reported: the state, the open connections, each rule's counts, and when a window opens or closes."""
    later = {"name": "later", "when": {"window": {"from": "1h"}, "client": "10.0.0.1"}, "reset": None}
    odd = {**CUT, "when": {"nth": 2}}
    async with managed({"drain": "30s", "proxies": {"p": at(server, later, odd)}}) as its:
        assert [await ask(its.address("p")) for _ in range(3)] == [b"hi", "ECONNRESET", b"hi"]
        await its.record.wait_for(ConnectionClosed, 3)
        async with await its.connect("p") as client:
            await client.send_all(b"hi")
            assert await has_answer(client)
            its.signal.send_nowait(SIGUSR1)
            status = await its.record.wait_for(ProxyStatus)
            assert (status.proxy, status.state, status.open) == ("p", "open", 1)
            assert status.rules == {
                "later": {"considered": 0, "matched": 0, "injected": 0},
                "cut": {"considered": 4, "matched": 1, "injected": 1},
            }
            assert status.next_window_edge is not None
            assert 3500 < parse_duration(status.next_window_edge) <= 3600
            for settings, state in [
                (at(server, {"name": "down", "refuse": None}), "outage"),
                (at(server), "open"),
                (at(server, enabled=False), "disabled"),
            ]:
                await its.edit(p=settings)
                its.signal.send_nowait(SIGUSR1)
                await its.record.wait_for(ProxyStatus, state=state, next_window_edge=None)
            proxy = its.manager.proxies["p"]
            await its.edit(q=at(server))
            assert proxy.status().state == "draining"
