"""Filters on a connection's sockets: what they keep from us, as the kernel counts it."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from faultproxy.connection.packets import PacketFilter
from faultproxy.faults.base import Direction
from faultproxy.kernel import socket_filter, sockets
from tests.network import need_a_filter
from tests.relay.relaying import Ends, tcp_pair, until


@pytest.fixture(autouse=True)
def _filter() -> None:
    need_a_filter()


@pytest.fixture
def client() -> Iterator[Ends]:
    peer, ours = tcp_pair()
    with peer, ours:
        yield peer, ours


@pytest.fixture
def server() -> Iterator[Ends]:
    peer, ours = tcp_pair()
    with peer, ours:
        yield peer, ours


async def arrives(peer: socket.socket, ours: socket.socket) -> bool:
    """Whether a packet of the peer's gets through to us: it does, or is dropped."""
    before = sockets.dropped(ours)
    peer.send(b"x")
    arrived: list[bytes] = []

    def happened() -> bool:
        try:
            arrived.append(ours.recv(1))
        except BlockingIOError:
            return sockets.dropped(ours) > before
        return True

    await until(happened)
    return bool(arrived)


async def test_all_of_the_clients_packets(client: Ends, server: Ends) -> None:
    """They are lost, and that is known; the server's are not."""
    packets = PacketFilter(client[1])
    packets.lose(1.0, 0.0, server[1])
    assert not packets.lost()
    assert await arrives(*server)
    assert not packets.lost()
    assert not await arrives(*client)
    assert list(packets.lost()) == [Direction.UPSTREAM]


async def test_all_of_the_servers_packets(client: Ends, server: Ends) -> None:
    """The client's arrive; a server that is reached later has its own dropped too."""
    packets = PacketFilter(client[1])
    packets.lose(0.0, 1.0, None)
    packets.apply(server[1])
    assert await arrives(*client)
    assert not packets.lost()
    assert not await arrives(*server)
    assert list(packets.lost()) == [Direction.DOWNSTREAM]
    server[1].close()
    assert list(packets.lost()) == [Direction.DOWNSTREAM]


async def test_none_any_more(client: Ends) -> None:
    """With nothing to lose every packet arrives, and none has been lost since then."""
    packets = PacketFilter(client[1])
    packets.lose(1.0, 0.0, None)
    assert not await arrives(*client)
    packets.lose(0.0, 0.0, None)
    assert not packets.lost()
    await until(lambda: bool(sockets.peek(client[1], 1)))  # what was lost is sent again
    assert await arrives(*client)
    assert not packets.lost()


async def test_a_partition(client: Ends, server: Ends) -> None:
    """Neither peer's packets arrive; these are not reported as lost."""
    packets = PacketFilter(client[1])
    packets.partition(server[1])
    assert packets.is_partition
    assert not await arrives(*client)
    assert not await arrives(*server)
    assert not packets.lost()


async def test_a_partition_that_is_healed(client: Ends, server: Ends) -> None:
    """Both arrive again, or are lost again as before; what the partition has dropped is still not reported."""
    packets = PacketFilter(client[1])
    packets.lose(1.0, 0.0, server[1])
    packets.partition(server[1])
    assert not await arrives(*client)
    assert not await arrives(*server)
    packets.heal(server[1])
    assert not packets.is_partition
    assert not packets.lost()
    await until(lambda: bool(sockets.peek(server[1], 1)))
    assert not await arrives(*client)
    assert packets.lost()


async def test_a_server_that_is_reached_later(client: Ends, server: Ends) -> None:
    """A partition is put on it too."""
    packets = PacketFilter(client[1])
    packets.partition(None)
    packets.apply(server[1])
    assert not await arrives(*server)


async def test_what_was_lost_is_known_when_the_socket_is_closed(client: Ends) -> None:
    """If it was asked for before; a closed socket is passed over, and says nothing."""
    asked, late = PacketFilter(client[1]), PacketFilter(client[1])
    asked.lose(1.0, 0.0, None)
    late.lose(1.0, 0.0, None)
    assert not await arrives(*client)
    assert bool(asked.lost())
    client[1].close()
    assert (bool(asked.lost()), bool(late.lost())) == (True, False)
    asked.partition(None)


def test_where_it_is_not_allowed(client: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the caller's, and nothing is said to be lost or parted."""

    def turn_down(*_: object) -> None:
        raise PermissionError(1, "not here")

    packets = PacketFilter(client[1])
    monkeypatch.setattr("faultproxy.connection.packets.socket_filter.attach", turn_down)
    with pytest.raises(PermissionError):
        packets.lose(1.0, 0.0, None)
    with pytest.raises(PermissionError):
        packets.partition(None)
    assert not packets.is_partition
    monkeypatch.undo()
    packets.apply(None)
    client[0].send(b"x")
    assert sockets.dropped(client[1]) == 0


def test_a_unix_server(client: Ends) -> None:
    """Knows no packets, and is passed over."""
    one, other = socket.socketpair()
    with one, other:
        packets = PacketFilter(client[1])
        packets.partition(other)
        one.send(b"x")
        assert other.recv(1) == b"x"


def test_where_a_filter_is_not_allowed(client: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said before the server is reached, to whichever socket it was to go; then nothing is filtered."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(socket_filter, "attach", refuse)
    for fractions in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        packets = PacketFilter(client[1])
        with pytest.raises(PermissionError):
            packets.lose(*fractions, None)
        packets.apply(client[0])
