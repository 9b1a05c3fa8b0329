"""How a connection ends: what each peer reads, in order, and that every socket is closed."""

import socket
from collections.abc import AsyncIterator

import pytest
import trio

from faultproxy.connection import closing
from faultproxy.connection.packets import PacketFilter
from faultproxy.faults.base import Side
from faultproxy.kernel import sockets
from tests.connection.connecting import Ends, ends
from tests.network import needs_a_filter
from tests.relay.relaying import read_exactly, read_to_the_end, reset, send_all, until


@pytest.fixture
async def two() -> AsyncIterator[Ends]:
    async with ends() as two:
        two.connect()
        yield two


async def lose_one(two: Ends) -> None:
    """The kernel drops a packet of the client's."""
    two.peers.packets = PacketFilter(two.peers.client)
    two.peers.packets.lose(1.0, 0.0, two.peers.server)
    before = sockets.dropped(two.peers.client)
    await send_all(two.client, b"in vain")
    await until(lambda: sockets.dropped(two.peers.client) > before)


def has_lost(two: Ends) -> bool:
    """Whether that is known now."""
    return two.peers.packets is not None and bool(two.peers.packets.lost())


async def test_close_all(two: Ends) -> None:
    """Both peers have ended; ours are closed, without a reset."""
    two.client.shutdown(socket.SHUT_WR)
    two.server.shutdown(socket.SHUT_WR)
    await until(lambda: bool(two.changes))
    closing.close_all(two.peers)
    assert await read_to_the_end(two.client) == (b"", "EOF")
    assert await read_to_the_end(two.server) == (b"", "EOF")
    assert two.peers.open_sockets() == []
    for sock in (two.client, two.server):
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


async def test_reset_all(two: Ends) -> None:
    """Whatever is open is reset; to do it again is no error."""
    closing.reset_all(two.peers)
    closing.reset_all(two.peers)
    assert await read_to_the_end(two.client) == (b"", "ECONNRESET")
    assert await read_to_the_end(two.server) == (b"", "ECONNRESET")
    assert two.peers.open_sockets() == []


@pytest.mark.parametrize("turns", range(4))
async def test_a_reset_while_it_ends_politely(two: Ends, turns: int) -> None:
    """It is cancelled first: whether it has begun to wait or not, what waits for the same descriptor next is woken."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(closing.end_politely, two.peers)
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
        closing.reset_all(two.peers)
    assert two.peers.open_sockets() == []
    one, other = socket.socketpair()
    with one, other:
        one.send(b"x")
        await trio.lowlevel.wait_readable(other)


@pytest.mark.parametrize("broken", list(Side))
async def test_propagate_reset(two: Ends, broken: Side) -> None:
    """When one side was reset the other is too, behind all that had come for it."""
    gone, other = (two.client, two.server) if broken is Side.CLIENT else (two.server, two.client)
    await send_all(gone, b"last words")
    reset(gone)
    await until(lambda: bool(two.changes))
    await closing.propagate_reset(two.peers, broken)
    assert await read_to_the_end(other) == (b"last words", "ECONNRESET")
    assert two.peers.open_sockets() == []


async def test_propagate_reset_to_a_slow_reader() -> None:
    """It is flushed first, and must_flush() has said that this takes time; else nothing is waited for."""
    async with ends(client_buffer=4096) as two:
        two.connect()
        data = bytes(range(256)) * 400
        await send_all(two.server, data)
        await until(lambda: two.peers.relay is not None and two.peers.relay.downstream.bytes_written == len(data))
        reset(two.server)
        await until(lambda: bool(two.changes))
        assert closing.must_flush(two.peers, "server")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(closing.propagate_reset, two.peers, Side.SERVER)
            assert await read_to_the_end(two.client) == (data, "ECONNRESET")
        assert not closing.must_flush(two.peers, "server")


async def test_end_politely(two: Ends) -> None:
    """FIN both ways, never a reset, though the peers go on sending for a while."""
    await send_all(two.client, b"unread")
    two.peers.stop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(closing.end_politely, two.peers)
        assert (await read_to_the_end(two.client))[1] == "EOF"
        await send_all(two.client, bytes(100_000))
        assert (await read_to_the_end(two.server))[1] == "EOF"
        two.client.shutdown(socket.SHUT_WR)
        two.server.shutdown(socket.SHUT_WR)
    assert two.client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert two.peers.open_sockets() == []


async def test_end_politely_whoever_is_left(two: Ends) -> None:
    """One side has been reset before: the other reads EOF."""
    two.peers.stop()
    two.peers.rst(Side.CLIENT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(closing.end_politely, two.peers)
        assert await read_to_the_end(two.server) == (b"", "EOF")
        two.server.close()
    assert await read_to_the_end(two.client) == (b"", "ECONNRESET")


async def test_peers_that_never_end_are_not_waited_for(two: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time their sockets are closed all the same."""
    monkeypatch.setattr(closing, "_READ_OUT_S", 0.02)
    two.peers.stop()
    start = trio.current_time()
    await closing.end_politely(two.peers)
    assert 0.02 <= trio.current_time() - start < 10
    assert two.peers.open_sockets() == []


async def test_a_peer_that_still_reads_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it takes something now and then, its socket is not closed before it has everything."""
    monkeypatch.setattr(closing, "_READ_OUT_S", 0.05)
    monkeypatch.setattr(closing, "_NO_PROGRESS_S", 0.4)
    async with ends(client_buffer=4096) as two:
        two.connect()
        data = bytes(range(256)) * 200
        two.peers.client.send(data)
        two.peers.stop()
        read = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(closing.end_politely, two.peers)
            two.server.close()
            while len(read) < 40_000:
                await send_all(two.client, b"and still talking")
                read += await read_exactly(two.client, 1000)
                await trio.sleep(0.02)
            assert two.peers.client.fileno() >= 0
            rest, end = await read_to_the_end(two.client)
            assert (read + rest, end) == (data, "EOF")
            two.client.close()


async def test_a_peer_that_reads_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without progress it is given up."""
    monkeypatch.setattr(closing, "_READ_OUT_S", 0.02)
    monkeypatch.setattr(closing, "_NO_PROGRESS_S", 0.1)
    async with ends(client_buffer=4096) as two:
        two.peers.client.send(bytes(100_000))
        two.peers.stop()
        start = trio.current_time()
        await closing.end_politely(two.peers)
        assert 0.1 <= trio.current_time() - start < 10
        assert two.peers.client.fileno() == -1


@needs_a_filter
async def test_what_was_lost_is_known_when_it_is_over(two: Ends) -> None:
    """Packets are lost until the client's socket is closed, and afterwards it cannot be asked."""
    await lose_one(two)
    closing.close_all(two.peers)
    assert has_lost(two)


@needs_a_filter
async def test_what_was_lost_is_known_after_a_reset(two: Ends) -> None:
    """The same."""
    await lose_one(two)
    closing.reset_all(two.peers)
    assert has_lost(two)


@needs_a_filter
async def test_what_was_lost_is_known_after_a_polite_end(two: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same."""
    monkeypatch.setattr(closing, "_READ_OUT_S", 0.02)
    monkeypatch.setattr(closing, "_NO_PROGRESS_S", 0.05)
    await lose_one(two)
    two.peers.stop()
    await closing.end_politely(two.peers)
    assert has_lost(two)


async def test_a_peer_that_has_gone_meanwhile(two: Ends) -> None:
    """Is no error: there is nobody to end."""
    reset(two.client)
    await until(lambda: bool(two.changes))
    two.peers.stop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(closing.end_politely, two.peers)
        assert await read_to_the_end(two.server) == (b"", "EOF")
        two.server.close()
    assert two.peers.open_sockets() == []
