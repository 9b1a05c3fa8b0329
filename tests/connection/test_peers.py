"""Each primitive does to the two sockets what it says, whatever has become of them."""

import math
import socket
from collections.abc import AsyncIterator

import pytest
import trio

from faultproxy.connection import peers as peers_module
from faultproxy.faults.base import Direction, Side
from faultproxy.kernel import sockets
from tests.connection.connecting import Ends, ends
from tests.network import needs_a_filter
from tests.relay.relaying import is_quiet, read_exactly, read_to_the_end, reset, send_all, until


@pytest.fixture
async def two() -> AsyncIterator[Ends]:
    async with ends() as two:
        yield two


async def test_bytes_go_both_ways(two: Ends) -> None:
    """Once the server is reached, and they are counted."""
    assert [two.peers.delivered(direction) for direction in Direction] == [0, 0]
    assert [side for side, _ in two.peers.open_sockets()] == [Side.CLIENT]
    two.connect()
    await send_all(two.client, b"question")
    await send_all(two.server, b"reply")
    assert await read_exactly(two.server, 8) == b"question"
    assert await read_exactly(two.client, 5) == b"reply"
    assert [two.peers.delivered(direction) for direction in Direction] == [8, 5]
    assert [side for side, _ in two.peers.open_sockets()] == [Side.CLIENT, Side.SERVER]


async def test_stop(two: Ends) -> None:
    """No byte moves any more, and the sockets stay open."""
    two.connect()
    two.peers.stop()
    two.peers.stop()
    assert not two.peers.is_open
    await send_all(two.client, b"in vain")
    await trio.sleep(0.01)
    assert is_quiet(two.server)
    assert len(two.peers.open_sockets()) == 2


@pytest.mark.parametrize("side", list(Side))
async def test_rst(two: Ends, side: Side) -> None:
    """One side is reset, and its socket closed; the other is not touched."""
    two.connect()
    two.peers.stop()
    two.peers.rst(side)
    two.peers.rst(side)
    reader, other = (two.client, two.server) if side is Side.CLIENT else (two.server, two.client)
    assert await read_to_the_end(reader) == (b"", "ECONNRESET")
    assert is_quiet(other)
    assert [left for left, _ in two.peers.open_sockets()] == [one for one in Side if one is not side]


@pytest.mark.parametrize("side", list(Side))
async def test_fin(two: Ends, side: Side) -> None:
    """FIN to one side, after all data, and it has left."""
    two.connect()
    two.peers.stop()
    ours = two.peers.client if side is Side.CLIENT else two.to_server
    ours.send(b"before")
    two.peers.fin(side)
    await two.peers.fin_sent(side)
    assert sockets.unsent(ours) == 0
    reader, other = (two.client, two.server) if side is Side.CLIENT else (two.server, two.client)
    assert await read_to_the_end(reader) == (b"before", "EOF")
    assert is_quiet(other)


async def test_no_server_yet(two: Ends) -> None:
    """What is done to it is done to nobody, at once."""
    assert await two.peers.flush(Side.SERVER) is None
    two.peers.fin(Side.SERVER)
    await two.peers.fin_sent(Side.SERVER)
    two.peers.rst(Side.SERVER)
    assert two.peers.why_no_rst(Side.SERVER) is None
    assert is_quiet(two.server)


async def test_flush() -> None:
    """It lasts until a slow reader's kernel has everything, and then says nothing."""
    async with ends(client_buffer=4096) as two:
        data = bytes(100_000)
        assert two.peers.client.send(data) == len(data)
        with trio.move_on_after(0.02) as patience:
            await two.peers.flush(Side.CLIENT)
        assert patience.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_exactly, two.client, len(data))
            assert await two.peers.flush(Side.CLIENT) is None
        assert sockets.unacknowledged(two.peers.client) == 0


async def test_flush_of_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some time without progress it is given up, and how many bytes are left is said."""
    monkeypatch.setattr(peers_module, "_NO_PROGRESS_S", 0.05)
    async with ends(client_buffer=4096) as two:
        two.peers.client.send(bytes(100_000))
        why = await two.peers.flush(Side.CLIENT)
        assert why == f"{sockets.unacknowledged(two.peers.client)} bytes were not acknowledged within 0 s"


async def test_flush_no_longer_than_until() -> None:
    """Another fault is due then."""
    async with ends(client_buffer=4096) as two:
        two.peers.client.send(bytes(100_000))
        start = trio.current_time()
        why = await two.peers.flush(Side.CLIENT, start + 0.05)
        assert why == "another fault was due before all was acknowledged"
        assert 0.05 <= trio.current_time() - start < 10


async def test_a_unix_server_cannot_be_reset(two: Ends) -> None:
    """The reason is known before; its peer sees an end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        two.peers.connect(theirs, two.on_change)
        two.peers.stop()
        reason = two.peers.why_no_rst(Side.SERVER)
        assert reason is not None
        assert reason.startswith("a Unix socket cannot be reset")
        assert two.peers.why_no_rst(Side.CLIENT) is None
        two.peers.rst(Side.SERVER)
        assert ours.recv(1) == b""


@pytest.mark.parametrize("joined", [True, False])
async def test_end_downstream(two: Ends, joined: bool) -> None:
    """The client reads EOF and may go on sending, also when the server is reached only later."""
    if joined:
        two.connect()
    assert not two.peers.client_has_eof
    assert two.peers.end(Direction.DOWNSTREAM)
    assert not two.peers.end(Direction.DOWNSTREAM)
    assert await read_to_the_end(two.client) == (b"", "EOF")
    assert two.peers.client_has_eof
    if not joined:
        two.connect()
    await send_all(two.client, b"still here")
    await send_all(two.server, b"nobody reads this")
    assert await read_exactly(two.server, 10) == b"still here"
    assert two.peers.is_open


@pytest.mark.parametrize("joined", [True, False])
async def test_end_upstream(two: Ends, joined: bool) -> None:
    """The server reads EOF, as soon as it is reached, and its reply still arrives."""
    if joined:
        two.connect()
    assert two.peers.end(Direction.UPSTREAM)
    if not joined:
        two.connect()
    assert await read_to_the_end(two.server) == (b"", "EOF")
    await send_all(two.server, b"reply")
    assert await read_exactly(two.client, 5) == b"reply"
    assert not two.peers.client_has_eof


@pytest.mark.parametrize("joined", [True, False])
async def test_discard(two: Ends, joined: bool) -> None:
    """One direction's bytes vanish, before the server is reached and after; the other's arrive, and so does the end."""
    if joined:
        two.connect()
    two.peers.discard(Direction.UPSTREAM)
    if not joined:
        two.connect()
    await send_all(two.client, b"lost")
    await send_all(two.server, b"found")
    assert await read_exactly(two.client, 5) == b"found"
    two.client.shutdown(socket.SHUT_WR)
    assert await read_to_the_end(two.server) == (b"", "EOF")
    assert two.peers.delivered(Direction.UPSTREAM) == 0


async def test_the_servers_fin_is_the_clients_eof(two: Ends) -> None:
    """Once it is passed on."""
    two.connect()
    assert not two.peers.client_has_eof
    two.server.shutdown(socket.SHUT_WR)
    assert await read_to_the_end(two.client) == (b"", "EOF")
    assert two.peers.client_has_eof


@pytest.mark.parametrize("joined", [True, False])
async def test_freeze_and_thaw(two: Ends, joined: bool) -> None:
    """Nothing moves while it is frozen, be the server reached already or not; thawed, every byte goes on."""
    if joined:
        two.connect()
    two.peers.freeze(60)
    assert two.peers.frozen_until == pytest.approx(trio.current_time() + 60, abs=1)
    if not joined:
        two.connect()
    await send_all(two.client, b"held")
    await trio.sleep(0.01)
    assert two.peers.delivered(Direction.UPSTREAM) == 0
    two.peers.thaw()
    assert two.peers.frozen_until is None
    assert await read_exactly(two.server, 4) == b"held"


@pytest.mark.parametrize("joined", [True, False])
async def test_freeze_for_ever(two: Ends, joined: bool) -> None:
    """A reset by the client is noticed all the same; one that vanished is asked for."""
    if joined:
        two.connect()
    two.peers.freeze(None)
    assert two.peers.frozen_until == math.inf
    assert two.peers.client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if not joined:
        two.connect()
    reset(two.client)
    await until(lambda: bool(two.changes))
    assert two.peers.relay is not None
    assert two.peers.relay.broken == "client"


@needs_a_filter
@pytest.mark.parametrize("joined", [True, False])
async def test_partition(two: Ends, joined: bool) -> None:
    """Nothing that the peers send is even acknowledged, until it is healed: then every byte arrives."""
    if joined:
        two.connect()
    two.peers.freeze(60)
    assert two.peers.partition() is None
    if not joined:
        two.connect()
    await send_all(two.client, b"held")
    await send_all(two.server, b"too")
    await until(lambda: sockets.dropped(two.peers.client) > 0 and sockets.dropped(two.to_server) > 0)
    assert [sockets.peek(sock, 1) for _, sock in two.peers.open_sockets()] == [b"", b""]
    two.peers.thaw()
    assert await read_exactly(two.server, 4) == b"held"
    assert await read_exactly(two.client, 3) == b"too"


@needs_a_filter
async def test_a_partition_for_ever(two: Ends) -> None:
    """The kernel goes on asking whether the client is there, and gives that up where all is stopped."""
    two.connect()
    two.peers.freeze(None)
    assert two.peers.partition() is None
    assert two.peers.client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) > 10**9
    two.peers.stop()
    assert two.peers.client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


async def test_where_no_filter_is_allowed(two: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no partition, and the reason is said."""

    def turn_down(*_: object) -> None:
        raise PermissionError(1, "not here")

    monkeypatch.setattr("faultproxy.connection.packets.socket_filter.attach", turn_down)
    assert two.peers.partition() == "a filter on a connection is not allowed here (EPERM)"


async def test_destroy_client(two: Ends) -> None:
    """The client's own socket fails with ECONNABORTED; or why it cannot is said."""
    two.connect()
    two.peers.stop()
    why_not = two.peers.destroy_client()
    if why_not is None:
        assert await read_to_the_end(two.client) == (b"", "ECONNABORTED")
    else:
        assert why_not.endswith(("CAP_NET_ADMIN (EPERM)", "destroys no sockets (EOPNOTSUPP)"))
    two.client.close()
    assert two.peers.destroy_client() is not None
