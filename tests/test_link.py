"""Each verb of an ending does to the two sockets what it says, and every socket is closed in the end."""

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import trio

from faultproxy.faults.base import Direction, Side
from faultproxy.link import Link
from tests.network import need_a_filter
from tests.relay.relaying import is_quiet, polling, read_exactly, read_to_the_end, reset, send_all, tcp_pair


@dataclass
class Scene:
    """A link between two peers, whose ends are in hand."""

    link: Link
    client: trio.socket.SocketType
    server: trio.socket.SocketType
    theirs: socket.socket
    effects: list[str | None] = field(default_factory=list)

    def join(self) -> None:
        """Connect the two, and let the bytes flow."""
        self.link.join(self.theirs).start()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with polling() as poller:
        (client, ours), (server, theirs) = tcp_pair(), tcp_pair()
        wrap = trio.socket.from_stdlib_socket
        it = Scene(Link(ours, poller), wrap(client), wrap(server), theirs)
        it.link.on_effect = it.effects.append
        yield it
        it.link.abandon()
        for sock in (it.client, it.server, ours, theirs):
            sock.close()


async def test_what_was_lost_is_known_when_it_is_over(scene: Scene) -> None:
    """Packets are lost until the client's socket is closed, and afterwards it cannot be asked."""
    need_a_filter()
    scene.join()
    assert scene.link.lose(1.0) is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.link.close)
        assert await read_to_the_end(scene.client) == (b"", "EOF")
        await send_all(scene.client, b"in vain")
    assert scene.link.has_lost


async def test_a_partition_that_is_broken_off_is_not_told(scene: Scene) -> None:
    """A link that is abandoned while the client still acknowledges was never isolated."""
    scene.join()
    scene.link.drains = True
    scene.link.client.send(bytes(8 * 2**20))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.link.isolate, None)
        await trio.sleep(0.02)
        scene.link.abandon()
    assert scene.effects == []


@pytest.mark.parametrize(
    ("sides", "client_sees", "server_sees"),
    [
        ((Side.CLIENT, Side.SERVER), "ECONNRESET", "ECONNRESET"),
        ((Side.CLIENT,), "ECONNRESET", "EOF"),
        ((Side.SERVER,), "EOF", "ECONNRESET"),
    ],
)
async def test_reset(scene: Scene, sides: tuple[Side, ...], client_sees: str, server_sees: str) -> None:
    """RST to the sides that are named, FIN to the other; the effect is told once."""
    scene.join()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.link.reset, *sides)
        assert await read_to_the_end(scene.client) == (b"", client_sees)
        assert await read_to_the_end(scene.server) == (b"", server_sees)
        scene.client.close()
        scene.server.close()
    assert (scene.effects, scene.link.is_open) == ([None], False)


async def test_reset_before_the_server_is_dialled(scene: Scene) -> None:
    """There is a client to reset, and no server yet."""
    await scene.link.reset(Side.CLIENT, Side.SERVER)
    assert await read_to_the_end(scene.client) == (b"", "ECONNRESET")
    assert is_quiet(scene.server)


async def test_reset_behind_the_data(scene: Scene) -> None:
    """An ending that bytes triggered waits until its peer's kernel has all that was delivered."""
    data = bytes(300_000)
    scene.join()
    scene.link.drains = True
    relay = scene.link.relay
    assert relay is not None
    relay.downstream.set_limit(len(data))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_all, scene.server, data)
        await scene.link.changed()
        nursery.start_soon(scene.link.reset, Side.CLIENT)
        assert await read_to_the_end(scene.client) == (data, "ECONNRESET")
        scene.server.close()
    assert scene.effects == [None]


async def test_break_pipe(scene: Scene) -> None:
    """The client reads EOF, and its next write fails with EPIPE; the server reads EOF."""
    scene.join()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.link.break_pipe)
        assert await read_to_the_end(scene.server) == (b"", "EOF")
        with pytest.raises(BrokenPipeError):
            await scene.client.send(b"!")
        scene.server.close()


@pytest.mark.parametrize("joined", [True, False])
async def test_shut_downstream(scene: Scene, joined: bool) -> None:
    """The client reads EOF and may go on sending, also when the server is reached only later."""
    if joined:
        scene.join()
    scene.link.shut(Direction.DOWNSTREAM)
    assert await read_to_the_end(scene.client) == (b"", "EOF")
    assert scene.link.client_has_eof
    if not joined:
        scene.join()
    await send_all(scene.client, b"still here")
    await send_all(scene.server, b"nobody reads this")
    assert await read_exactly(scene.server, 10) == b"still here"
    assert scene.link.is_open


@pytest.mark.parametrize("joined", [True, False])
async def test_shut_upstream(scene: Scene, joined: bool) -> None:
    """The server reads EOF, as soon as it is reached, and its reply still arrives."""
    if joined:
        scene.join()
    scene.link.shut(Direction.UPSTREAM)
    if not joined:
        scene.join()
    assert await read_to_the_end(scene.server) == (b"", "EOF")
    await send_all(scene.server, b"reply")
    assert await read_exactly(scene.client, 5) == b"reply"
    assert not scene.link.client_has_eof


@pytest.mark.parametrize("joined", [True, False])
async def test_freeze_and_thaw(scene: Scene, joined: bool) -> None:
    """Nothing moves while it is frozen, be the server reached already or not; thawed, every byte goes on."""
    if joined:
        scene.join()
    scene.link.freeze(60)
    if not joined:
        scene.join()
    await send_all(scene.client, b"held")
    await trio.sleep(0.01)
    assert scene.link.delivered(Direction.UPSTREAM) == 0
    scene.link.thaw()
    assert await read_exactly(scene.server, 4) == b"held"


async def test_close(scene: Scene) -> None:
    """FIN both ways, never a reset, though the peers go on sending for a while."""
    scene.join()
    await send_all(scene.client, b"unread")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.link.close)
        assert (await read_to_the_end(scene.client))[1] == "EOF"
        await send_all(scene.client, bytes(100_000))
        assert (await read_to_the_end(scene.server))[1] == "EOF"
        scene.client.shutdown(socket.SHUT_WR)
        scene.server.shutdown(socket.SHUT_WR)
    assert scene.client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


@pytest.mark.parametrize("broken", list(Side))
async def test_carry_reset(scene: Scene, broken: Side) -> None:
    """When one side was reset the other is too, behind all that had come for it."""
    scene.join()
    relay = scene.link.relay
    assert relay is not None
    gone, other = (scene.client, scene.server) if broken is Side.CLIENT else (scene.server, scene.client)
    await send_all(gone, b"last words")
    reset(gone)
    await scene.link.changed()
    await scene.link.carry_reset(broken)
    assert await read_to_the_end(other) == (b"last words", "ECONNRESET")


async def test_abandon(scene: Scene) -> None:
    """Whatever is open is reset; to abandon it again is no error."""
    scene.join()
    scene.link.abandon()
    scene.link.abandon()
    assert await read_to_the_end(scene.client) == (b"", "ECONNRESET")
    assert await read_to_the_end(scene.server) == (b"", "ECONNRESET")
    assert (scene.link.client.fileno(), scene.theirs.fileno()) == (-1, -1)


async def test_a_unix_server_cannot_be_reset(scene: Scene) -> None:
    """Its peer sees an end, and the reason why that is less than exact is told."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        scene.theirs.close()
        scene.theirs = theirs
        scene.join()
        await scene.link.reset(Side.SERVER, Side.CLIENT)
        assert await read_to_the_end(scene.client) == (b"", "ECONNRESET")
        assert ours.recv(1) == b""
    (reason,) = scene.effects
    assert reason is not None
    assert reason.startswith("a Unix socket cannot be reset")
