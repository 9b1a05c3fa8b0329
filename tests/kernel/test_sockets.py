"""Sockets do what their manual pages say, and each helper what its name says."""

import errno
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from faultproxy.kernel import socket_filter, sockets
from tests.peers import (
    PATIENCE_S,
    SilentUpstream,
    Upstream,
    connect,
    is_broken,
    nobody,
    read_to_the_end,
    reset,
    wait_until_arrived,
    wait_until_broken,
)

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A peer's end, and ours, non-blocking."""
    with Upstream() as upstream, connect(("127.0.0.1", upstream.port)) as peer, upstream.accept() as ours:
        ours.setblocking(False)
        yield peer, ours


def wait_readable(sock: socket.socket) -> None:
    assert select.select([sock], [], [], PATIENCE_S)[0]


def accept_all(listener: socket.socket, most: int = 10) -> list[tuple[socket.socket, str, int]]:
    wait_readable(listener)
    return list(sockets.accept_waiting(listener, most))


def connect_ours(port: int) -> None:
    """Connect as the proxy does."""
    with socket.socket() as sock:
        sock.setblocking(False)
        if not sockets.start_connect(sock, ("127.0.0.1", port)):
            assert select.select([], [sock], [], PATIENCE_S)[1]
            sockets.finish_connect(sock)


def fill(sock: socket.socket) -> int:
    """Send until nothing more can be sent for now; how much was."""
    sent = 0
    while True:
        try:
            sent += sock.send(bytes(1 << 20))
        except BlockingIOError:
            return sent


# ---- bind


@pytest.mark.parametrize(
    ("host", "reachable"), [("127.0.0.1", ["127.0.0.1"]), ("::1", ["::1"]), ("", ["127.0.0.1", "::1"])]
)
def test_bind(host: str, reachable: list[str]) -> None:
    """A listener at this address; an empty host means all, of both families. It accepts with TCP_NODELAY, urgent data in line."""
    with sockets.bind(host, 0) as listener:
        listener.listen()
        for address in reachable:
            with connect((address, listener.getsockname()[1])) as client:
                ((accepted, host_of_client, port),) = accept_all(listener)
                with accepted:
                    assert (host_of_client, port) == client.getsockname()[:2]
                    assert not accepted.getblocking()
                    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    client.send(b"!", socket.MSG_OOB)
                    wait_readable(accepted)
                    assert accepted.recv(10) == b"!"


def test_bind_to_one_family() -> None:
    """[::] means all addresses of IPv6, and leaves the port to others for IPv4."""
    with sockets.bind("::", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_port_that_the_kernel_chose_stays() -> None:
    """After the listener was closed it listens at the same port again."""
    with sockets.bind("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        for _ in range(3):
            listener.listen()
            listener.shutdown(socket.SHUT_RD)
            assert listener.getsockname() == address


@pytest.mark.parametrize(("host", "error"), [("192.0.2.1", errno.EADDRNOTAVAIL), ("127.0.0.1", errno.EADDRINUSE)])
def test_bind_errors(host: str, error: int) -> None:
    """An address that is not this host's, or that is taken, is an OSError that says which."""
    with Upstream() as taken, pytest.raises(OSError, match=rf"\[Errno {error}\]"):
        sockets.bind(host, taken.port)


@pytest.mark.parametrize("name", ["localhost", "no-such-host.invalid"])
def test_bind_looks_nothing_up(name: str) -> None:
    """A name is none of its business: a resolver that hangs would hold up everything."""
    with pytest.raises(socket.gaierror):
        sockets.bind(name, 0)


def test_a_socket_of_ours_is_closed_like_any() -> None:
    """By with, and by close(), which may come again."""
    with sockets.tcp_socket(socket.AF_INET) as sock:
        assert sock.fileno() >= 0
        assert "fd=" in repr(sock)
    assert sock.fileno() == -1
    sock.close()


# ---- accept


def test_accept_no_more_than_asked() -> None:
    """So many at most, and the rest wait on; none is an empty list."""
    with sockets.bind("127.0.0.1", 0) as listener:
        listener.listen()
        clients = [connect(listener.getsockname()) for _ in range(5)]
        batches = [accept_all(listener, 3), accept_all(listener, 3)]
        assert [len(batch) for batch in batches] == [3, 2]
        assert list(sockets.accept_waiting(listener, 3)) == []
        for sock in (*clients, *(accepted[0] for batch in batches for accepted in batch)):
            sock.close()


def test_a_mapped_client_is_ipv4() -> None:
    """A client of IPv4 at a listener of both families is reported as IPv4."""
    with sockets.bind("", 0) as listener:
        listener.listen()
        with connect(("127.0.0.1", listener.getsockname()[1])):
            ((sock, host, _),) = accept_all(listener)
            sock.close()
    assert host == "127.0.0.1"


# ---- connect


def test_connect() -> None:
    """A connection that is made at once, or as soon as the socket is writable."""
    with Upstream() as upstream:
        connect_ours(upstream.port)
        upstream.accept().close()


def test_connect_refused() -> None:
    """Where nobody listens it fails with ECONNREFUSED, at once or when it is finished."""
    with nobody() as address, pytest.raises(ConnectionRefusedError):
        connect_ours(int(address.rpartition(":")[2]))


def test_connect_under_way() -> None:
    """Where nobody answers it is under way, and nothing has failed yet."""
    with closing(SilentUpstream()) as upstream, socket.socket() as sock:
        sock.setblocking(False)
        assert not sockets.start_connect(sock, ("127.0.0.1", upstream.port))
        sockets.finish_connect(sock)


def test_connect_to_a_path(tmp_path: Path) -> None:
    """A Unix socket is connected at once, or there is none of that name."""
    with Upstream(f"{tmp_path}/s"), socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        assert sockets.start_connect(sock, f"{tmp_path}/s")
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError):
        sockets.start_connect(sock, f"{tmp_path}/other")


# ---- errors and ends


def test_take_error(ends: Ends) -> None:
    """A pending error is reported once."""
    peer, ours = ends
    assert sockets.take_error(ours) == 0
    reset(peer)
    wait_until_broken(ours)
    assert [sockets.take_error(ours), sockets.take_error(ours)] == [errno.ECONNRESET, 0]


def test_reset(ends: Ends) -> None:
    """The peer gets ECONNRESET, also where much was unsent and unread; a second time is no error."""
    peer, ours = ends
    peer.sendall(b"unread")
    fill(ours)
    sockets.reset(ours)
    sockets.reset(ours)
    assert read_to_the_end(peer)[1] == "ECONNRESET"


def test_a_reset_of_a_socket_that_a_child_holds_too(ends: Ends) -> None:
    """The peer is reset though another descriptor of the socket stays open."""
    peer, ours = ends
    with ours.dup():
        sockets.reset(ours)
        assert read_to_the_end(peer) == (b"", "ECONNRESET")


def test_the_end_of_a_socket_that_a_child_holds_too(ends: Ends) -> None:
    """The peer reads all data and the end, and what it sends then is answered with RST."""
    peer, ours = ends
    ours.send(b"bye")
    with ours.dup():
        sockets.end(ours)
        assert read_to_the_end(peer) == (b"bye", "EOF")
        peer.send(b"too late")
        wait_until_broken(peer)


@pytest.mark.parametrize("end", [sockets.reset, sockets.end])
def test_the_end_of_a_unix_socket_that_a_child_holds_too(end: Callable[[socket.socket], None]) -> None:
    """The peer reads the end, as a Unix socket knows no reset."""
    peer, ours = socket.socketpair()
    with peer, ours.dup():
        end(ours)
        assert read_to_the_end(peer) == (b"", "EOF")


def test_shut_write(ends: Ends) -> None:
    """The peer gets all data, then EOF; on a connection that is gone it is no error."""
    peer, ours = ends
    ours.send(b"bye")
    sockets.shut_write(ours)
    assert read_to_the_end(peer) == (b"bye", "EOF")
    reset(peer)
    wait_until_broken(ours)
    sockets.shut_write(ours)
    sockets.take_error(ours)
    sockets.shut_write(ours)


# ---- what is on its way


def test_unacknowledged(ends: Ends) -> None:
    """What the peer's kernel has not taken: all that its buffer has no room for, and nothing once it has been read."""
    peer, ours = ends
    assert sockets.unacknowledged(ours) == 0
    sent = fill(ours)
    assert 0 < sockets.unacknowledged(ours) < sent
    assert sockets.unsent(ours) > 0
    while sent:
        sent -= len(peer.recv(1 << 20))
    wait_until_arrived(ours)
    assert (sockets.unacknowledged(ours), sockets.unsent(ours)) == (0, 0)


def test_nothing_is_on_its_way_to_who_is_gone(ends: Ends) -> None:
    """Once the connection was reset, or its socket closed, nothing is waited for."""
    peer, ours = ends
    fill(ours)
    reset(peer)
    wait_until_broken(ours)
    assert (sockets.unacknowledged(ours), sockets.unsent(ours)) == (0, 0)
    ours.close()
    assert sockets.unacknowledged(ours) == 0


def test_a_unix_peer_has_not_read() -> None:
    """What a Unix peer has not read counts as not acknowledged, and so does not look delivered."""
    one, other = socket.socketpair()
    with one, other:
        one.send(b"12345")
        assert sockets.unacknowledged(one) > 0
        other.recv(10)
        assert sockets.unacknowledged(one) == 0


# ---- looking ahead


def test_peek(ends: Ends) -> None:
    """The first bytes are seen, so many at most, and stay where they are."""
    peer, ours = ends
    assert sockets.peek(ours, 10) == b""
    peer.sendall(b"hello")
    wait_readable(ours)
    assert (sockets.peek(ours, 3), sockets.peek(ours, 10), ours.recv(10)) == (b"hel", b"hello", b"hello")


def test_peek_at_a_reset(ends: Ends) -> None:
    """Bytes that came before a reset can still be seen; when there are none, it raises."""
    peer, ours = ends
    peer.sendall(b"bye")
    wait_readable(ours)
    reset(peer)
    wait_until_broken(ours)
    assert (sockets.peek(ours, 10), ours.recv(10)) == (b"bye", b"bye")
    with pytest.raises(ConnectionResetError):
        sockets.peek(ours, 10)


def test_set_low_water(ends: Ends) -> None:
    """The socket is readable once so many bytes wait, or at the end."""
    peer, ours = ends
    sockets.set_low_water(ours, 3)
    poll = select.epoll()
    with poll:
        poll.register(ours, select.EPOLLIN)
        peer.sendall(b"12")
        wait_until_arrived(peer)
        assert poll.poll(0) == []
        peer.sendall(b"3")
        assert poll.poll(PATIENCE_S) == [(ours.fileno(), select.EPOLLIN)]
        sockets.set_low_water(ours, 4)
        assert poll.poll(0) == []
        peer.shutdown(socket.SHUT_WR)
        assert poll.poll(PATIENCE_S)[0][1] & select.EPOLLIN
        assert ours.recv(10) == b"123"


KEEPALIVE = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)


def probes(sock: socket.socket) -> tuple[int, ...]:
    """After how long, how often and how many times the peer is asked; none: never."""
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        return ()
    return tuple(sock.getsockopt(socket.IPPROTO_TCP, option) for option in KEEPALIVE)


@pytest.mark.parametrize(
    ("idle_s", "expected"), [(60.0, (60, 10, 3)), (4.4, (4, 4, 3)), (0.001, (1, 1, 3)), (None, ())]
)
def test_keep_alive(ends: Ends, idle_s: float | None, expected: tuple[int, ...]) -> None:
    """After so long a peer is asked three times, every 10 s at the longest."""
    _, ours = ends
    sockets.keep_alive(ours, 30)
    sockets.keep_alive(ours, idle_s)
    assert probes(ours) == expected
    assert sockets.keepalive(ours) == (expected[0] if expected else None)


def test_keep_alive_is_inherited() -> None:
    """What is accepted asks as its listener says at that moment, and costs no call."""
    with sockets.bind("127.0.0.1", 0) as listener:
        listener.listen()
        for idle_s, expected in ((60, (60, 10, 3)), (None, ()), (5, (5, 5, 3))):
            sockets.keep_alive(listener, idle_s)
            with connect(listener.getsockname()):
                ((accepted, _, _),) = accept_all(listener)
                assert probes(accepted) == expected
                accepted.close()


def test_a_peer_that_vanished_is_found() -> None:
    """An accepted socket whose peer answers nothing any more fails with ETIMEDOUT."""
    with sockets.bind("127.0.0.1", 0) as listener:
        listener.listen()
        sockets.keep_alive(listener, 1)
        with connect(listener.getsockname()) as peer:
            ((accepted, _, _),) = accept_all(listener)
            with accepted:
                try:
                    socket_filter.attach(peer, socket_filter.drop_some(1))
                except OSError as error:
                    pytest.skip(f"a TCP socket may not be filtered here: {error}")
                assert is_broken(accepted, PATIENCE_S)
                assert sockets.take_error(accepted) == errno.ETIMEDOUT


def test_silence_is_borne(ends: Ends) -> None:
    """A peer that never answers is asked again and again, and not given up; unless that is set."""
    _, ours = ends
    try:
        socket_filter.attach(ours, socket_filter.drop_some(1))
    except OSError as error:
        pytest.skip(f"a TCP socket may not be filtered here: {error}")
    sockets.keep_alive(ours, 1)
    sockets.set_user_timeout(ours, for_ever=True)
    assert not is_broken(ours, 3.5)
    sockets.set_user_timeout(ours, for_ever=False)
    assert is_broken(ours, PATIENCE_S)


def test_dropped_packets_are_counted(ends: Ends) -> None:
    """What a filter keeps from a socket counts; what arrives does not."""
    peer, ours = ends
    peer.sendall(b"arrives")
    assert ours.recv(10) == b"arrives"
    assert sockets.dropped(ours) == 0
    try:
        socket_filter.attach(ours, socket_filter.drop_some(1))
    except OSError as error:
        pytest.skip(f"a TCP socket may not be filtered here: {error}")
    peer.sendall(b"is lost")
    assert sockets.dropped(ours) > 0
