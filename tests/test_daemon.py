"""The tree of tasks: it serves until it is stopped, drains, and leaves nothing behind."""

import os
from signal import SIGHUP, SIGINT, SIGTERM

import pytest
import trio

from faultproxy import daemon
from faultproxy.control.manager import Manager
from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.events.types import ConfigLoaded, ConnectionClosed, ProxyDraining, ProxyStarted, ProxyStopped
from faultproxy.failures import CannotListen
from tests.managing import Managed, Record, ask, at, configuration, connect
from tests.peers import PATIENCE_S, Server, echo, nobody
from tests.relay.relaying import until


class Running(Managed):
    """A daemon in a task, started and ended by the test itself."""

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """From start to end."""
        with trio.fail_after(PATIENCE_S):
            await daemon.run(self.manager, self.stats, self.signals, ready=task_status.started)


async def echoes(client: trio.SocketStream) -> None:
    await client.send_all(b"hi")
    assert await client.receive_some() == b"hi"


async def test_ready_means_that_clients_may_come(server: str) -> None:
    """Each proxy has logged where it listens by then, and serves."""
    its = Running(configuration({"proxies": {"p": at(server), "q": at(server)}}))
    async with trio.open_nursery() as nursery:
        await nursery.start(its.run)
        assert [event.proxy for event in its.record.of(ProxyStarted)] == ["p", "q"]
        assert [await ask(its.address(name)) for name in "pq"] == [b"hi", b"hi"]
        its.signal.send_nowait(SIGTERM)


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
async def test_open_connections_may_finish(server: str, number: int) -> None:
    """Nobody is accepted any more; it ends with the last connection, well before the drain's time is up."""
    its = Running(configuration({"drain": "1h", "proxies": {"p": at(server)}}))
    async with trio.open_nursery() as nursery:
        await nursery.start(its.run)
        async with await its.connect("p") as client:
            await echoes(client)
            its.signal.send_nowait(number)
            await its.record.wait_for(ProxyDraining, open=1)
            assert await ask(its.address("p")) == "ECONNREFUSED"
            await echoes(client)
            assert not its.record.of(ProxyStopped)
    assert its.record.of(ConnectionClosed)[0].ended_by == "client"
    assert isinstance(its.record.events[-1], ProxyStopped)


@pytest.mark.parametrize(("drain", "signals"), [("200ms", (SIGTERM,)), ("1h", (SIGTERM, SIGINT))])
async def test_what_is_still_open_is_reset(server: str, drain: str, signals: tuple[int, ...]) -> None:
    """When the time is up, or a second signal comes."""
    its = Running(configuration({"drain": drain, "proxies": {"p": at(server)}}))
    async with trio.open_nursery() as nursery:
        await nursery.start(its.run)
        async with await its.connect("p") as client:
            await echoes(client)
            for number in signals:
                its.signal.send_nowait(number)
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()
    assert its.record.of(ConnectionClosed)[0].ended_by == "drain"
    assert isinstance(its.record.events[-1], ProxyStopped)


async def test_a_hangup_without_a_file_is_nothing(server: str) -> None:
    """There is nothing to look at."""
    its = Running(configuration({"proxies": {"p": at(server)}}))
    async with trio.open_nursery() as nursery:
        await nursery.start(its.run)
        its.signal.send_nowait(SIGHUP)
        assert await ask(its.address("p")) == b"hi"
        assert not its.record.of(ConfigLoaded)
        its.signal.send_nowait(SIGTERM)


async def test_an_edit_changes_how_long_the_drain_is(server: str) -> None:
    """What the configuration says at the end counts."""
    its = Running(configuration({"drain": "1h", "proxies": {"p": at(server)}}))
    async with trio.open_nursery() as nursery:
        await nursery.start(its.run)
        async with await its.connect("p") as client:
            await echoes(client)
            await its.apply({"drain": "50ms", "proxies": {"p": at(server)}})
            its.signal.send_nowait(SIGTERM)
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()


async def test_it_starts_whole_or_not_at_all(server: str) -> None:
    """If one address cannot be had, none is taken, and nothing is reported or left open."""
    with nobody() as free, nobody() as taken:
        pass
    with Server(echo) as holder:
        record, stats = Record(), Stats()
        proxies = {"p": at(server, listen=free), "q": at("127.0.0.1:9", listen=holder.address)}
        manager = Manager(configuration({"proxies": proxies}), Bus(stats, record))
        _, signals = trio.open_memory_channel[int](0)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(CannotListen, match=r"^proxies\.q\.listen: cannot listen on "):
            await daemon.run(manager, stats, signals)
        assert len(os.listdir("/proc/self/fd")) == before
        assert not record.events
        assert taken


async def test_it_leaves_no_descriptor(server: str) -> None:
    """Neither its listeners, nor its poller, nor its connections."""
    before = len(os.listdir("/proc/self/fd"))
    its = Running(configuration({"drain": "0s", "proxies": {"p": at(server), "q": at(server)}}))
    async with trio.open_nursery() as nursery:
        await nursery.start(its.run)
        clients = [await connect(its.address(name)) for name in "pq" * 5]
        for client in clients:
            await echoes(client)
        its.signal.send_nowait(SIGTERM)
    for client in clients:
        await client.aclose()
    with trio.fail_after(PATIENCE_S):
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)  # the server sees them go
