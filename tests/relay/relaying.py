"""Relays between real sockets, with both peers' ends in hand."""

import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import trio

from faultproxy.relay import BUFFER_SIZE, Poller, Relay
from tests.peers import PATIENCE_S, name_of

Ends = tuple[socket.socket, socket.socket]


@dataclass
class Relayed:
    """A relay, the proxy's sockets, and the peers' ends."""

    relay: Relay
    ours: Ends
    client: trio.socket.SocketType
    server: trio.socket.SocketType
    news: list[trio.Event]

    async def changed(self) -> None:
        """Wait until the relay has reported a change, which is then forgotten."""
        await self.news[0].wait()
        self.news[0] = trio.Event()

    def close(self) -> None:
        """Stop it, and close all sockets."""
        self.relay.stop()
        for sock in (*self.ours, self.client, self.server):
            sock.close()


def tcp_pair(*, receive_buffer: int | None = None) -> Ends:
    """A peer's end, perhaps a slow reader's, and ours; both non-blocking."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        peer = socket.socket()
        if receive_buffer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer.connect(listener.getsockname())
        ours, _ = listener.accept()
    for sock in (peer, ours):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer, ours


def relay_on(poller: Poller, *, receive_buffer: int | None = None) -> Relayed:
    """A relay that is not started yet."""
    (client, to_client), (server, to_server) = (tcp_pair(receive_buffer=receive_buffer) for _ in range(2))
    wrap = trio.socket.from_stdlib_socket
    news = [trio.Event()]

    def tell() -> None:
        poller.yield_soon = True
        news[0].set()

    return Relayed(Relay(poller, to_client, to_server, tell), (to_client, to_server), wrap(client), wrap(server), news)


@asynccontextmanager
async def polling() -> AsyncIterator[Poller]:
    """A poller at work."""
    with trio.fail_after(PATIENCE_S), Poller() as poller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            yield poller
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def relaying(*, receive_buffer: int | None = None, start: bool = True) -> AsyncIterator[Relayed]:
    """A relay at work on a poller of its own."""
    async with polling() as poller:
        it = relay_on(poller, receive_buffer=receive_buffer)
        try:
            if start:
                it.relay.start()
            yield it
        finally:
            it.close()


async def send_all(sock: trio.socket.SocketType, data: bytes) -> None:
    """Send it, however long that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[await sock.send(rest) :]


async def read_exactly(sock: trio.socket.SocketType, count: int) -> bytes:
    """So many bytes, not one more."""
    data = bytearray()
    while len(data) < count:
        more = await sock.recv(min(65536, count - len(data)))
        assert more, f"EOF after {len(data)} of {count} bytes"
        data += more
    return bytes(data)


async def read_to_the_end(sock: trio.socket.SocketType) -> tuple[bytes, str]:
    """All that comes, and how it ends: ``EOF``, or the errno's name."""
    data = bytearray()
    while True:
        try:
            more = await sock.recv(65536)
        except OSError as error:
            return bytes(data), name_of(error)
        if not more:
            return bytes(data), "EOF"
        data += more


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it does."""
    while not holds():  # noqa: ASYNC110  # what is waited for has no event
        await trio.sleep(0.001)


def is_quiet(sock: trio.socket.SocketType) -> bool:
    """Whether there is nothing to read, not even an end."""
    try:
        with socket.socket(fileno=socket.dup(sock.fileno())) as twin:
            twin.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    return False


def reset(sock: trio.socket.SocketType | socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Late:
    """Lets everything leave so much later, in pieces of at most ``size`` bytes."""

    max_read = 65536
    max_buffered = 1 << 20
    not_before = 0.0
    stalls = False

    def __init__(self, delay_s: float = 0.0, size: int = 65536, *, own_segment: bool = False) -> None:
        self._delay_s = delay_s
        self._size = size
        self._own_segment = own_segment

    def shape(self, now: float, data: bytes) -> Sequence[tuple[float, bytes, bool]]:
        pieces = (data[at : at + self._size] for at in range(0, len(data), self._size))
        return [(now + self._delay_s, piece, self._own_segment) for piece in pieces]

    def end(self, now: float, *, fin: bool) -> float:
        return now + self._delay_s


class Stalled(Late):
    """Lets nothing leave."""

    stalls = True


def past(start: float, delay_s: float) -> bool:
    """Whether so much time has gone by."""
    return monotonic() - start >= delay_s


class Look:
    """A matcher that is a function."""

    def __init__(self, look: Callable[[bytes], int | None], max_read: int = BUFFER_SIZE) -> None:
        self.look = look
        self.max_read = max_read

    def __call__(self, data: bytes) -> int | None:
        return self.look(data)
