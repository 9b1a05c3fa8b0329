"""Dialling tries the upstream's addresses in order, and says with its errno why none was reached."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from faultproxy.addresses import TcpAddress, UnixAddress, parse_upstream
from faultproxy.dial import begin, dial, error_name
from faultproxy.relay import Poller
from tests.peers import SilentUpstream, Upstream, nobody
from tests.relay.relaying import polling

Found = list[tuple[int, int, int, str, tuple[str, int]]]


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    async with polling() as poller:
        yield poller


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


class Resolver:
    """Knows one name, which has these addresses, instead of the system's resolver."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self.asked: list[object] = []
        self._found = [(socket.AF_INET, int(socket.SOCK_STREAM), 6, "", address) for address in addresses]

    def __call__(self, host: object, *_: object, **__: object) -> Found:
        self.asked.append(host)
        if not self._found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return list(self._found)


def address_of(upstream: Upstream) -> tuple[str, int]:
    return "127.0.0.1", upstream.port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address(poller: Poller, host: str) -> None:
    """A server is reached by IPv4 and IPv6; the socket does not block and does not wait to fill segments."""
    with Upstream(host) as upstream, await dial(parse_upstream(upstream.address), poller) as sock:
        assert sock.getpeername()[:2] == (host, upstream.port)
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        upstream.accept().close()


async def test_a_path(poller: Poller, tmp_path: Path) -> None:
    """So is one at a Unix socket."""
    with Upstream(f"{tmp_path}/s") as upstream, await dial(UnixAddress(f"{tmp_path}/s"), poller) as sock:
        upstream.accept().close()
        assert sock.recv(1) == b""


async def test_names_are_tried_in_order(poller: Poller, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name's addresses the first that answers is taken; the name is looked up at every dial."""
    with nobody() as address:
        dead = ("127.0.0.1", int(address.rpartition(":")[2]))
        resolver = Resolver(dead, address_of(upstream), dead)
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        for _ in range(2):
            (await dial(TcpAddress("db", 1), poller)).close()
            upstream.accept().close()
    assert len(resolver.asked) == 2


async def test_a_silent_address_is_passed_over(
    poller: Poller, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that never answers takes its share of the time, and the next is tried."""
    with SilentUpstream() as silent:
        dead = address_of(silent)
        monkeypatch.setattr(socket, "getaddrinfo", Resolver(dead, dead, address_of(upstream)))
        with trio.fail_after(0.6):
            (await dial(TcpAddress("db", 1), poller)).close()
        upstream.accept().close()


async def test_nobody_answers(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all addresses refuse, the last refusal is raised."""
    with nobody() as address, nobody() as other:
        ports = [int(each.rpartition(":")[2]) for each in (address, other)]
        monkeypatch.setattr(socket, "getaddrinfo", Resolver(*(("127.0.0.1", port) for port in ports)))
        with pytest.raises(ConnectionRefusedError) as refused:
            await dial(TcpAddress("db", 1), poller)
    assert error_name(refused.value) == "ECONNREFUSED"


async def test_an_unknown_name(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without an address is told by the resolver's own word."""
    monkeypatch.setattr(socket, "getaddrinfo", Resolver())
    with pytest.raises(socket.gaierror) as unknown:
        await dial(TcpAddress("db", 1), poller)
    assert error_name(unknown.value) == "EAI_NONAME"


async def test_an_address_is_not_looked_up(poller: Poller, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """No resolver is asked about what is an address already."""
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    (await dial(TcpAddress(*address_of(upstream)), poller)).close()
    assert resolver.asked == []


async def test_giving_up(poller: Poller) -> None:
    """A dial that nobody answers can be cancelled, and leaves no socket open."""
    upstream = SilentUpstream()
    with trio.move_on_after(0.05) as patience:
        await dial(TcpAddress("127.0.0.1", upstream.port), poller)
    assert patience.cancelled_caught
    upstream.close()


async def test_a_server_that_answers_late(poller: Poller) -> None:
    """A dial waits for the handshake, while the others' bytes go on."""
    upstream = SilentUpstream()
    with upstream:
        async with trio.open_nursery() as nursery:

            async def reach() -> None:
                (await dial(TcpAddress("127.0.0.1", upstream.port), poller)).close()

            nursery.start_soon(reach)
            await trio.to_thread.run_sync(upstream.wait_until_dialled)
            upstream.speak()


async def test_a_full_queue_at_a_path(poller: Poller, tmp_path: Path) -> None:
    """A Unix server whose queue is full is asked again until there is room."""
    path = f"{tmp_path}/s"
    with Upstream(path, backlog=0) as upstream, socket.socket(socket.AF_UNIX) as first:
        first.connect(path)
        async with trio.open_nursery() as nursery:

            async def reach() -> None:
                (await dial(UnixAddress(path), poller)).close()

            nursery.start_soon(reach)
            await trio.sleep(0.03)
            assert len(nursery.child_tasks) == 1
            upstream.accept().close()


async def test_no_such_path(poller: Poller, tmp_path: Path) -> None:
    """A path where nobody listens is ENOENT."""
    with pytest.raises(FileNotFoundError) as missing:
        await dial(UnixAddress(f"{tmp_path}/none"), poller)
    assert error_name(missing.value) == "ENOENT"


def test_error_names() -> None:
    """Every error has a name, also one that no system call gave."""
    assert error_name(OSError("no address")) == "OSError"
    assert error_name(TimeoutError()) == "TimeoutError"
    assert error_name(OSError(113, "No route to host")) == "EHOSTUNREACH"
    assert error_name(socket.gaierror(socket.EAI_AGAIN, "later")) == "EAI_AGAIN"


def test_what_can_begin_at_once(upstream: Upstream, tmp_path: Path) -> None:
    """On loopback a connect is over as it begins; a name must be looked up first, a full queue be waited for."""
    attempt = begin(TcpAddress(*address_of(upstream)))
    assert attempt is not None
    assert attempt.is_over
    with attempt.sock, upstream.accept() as server:
        server.sendall(b"hello")
        assert attempt.sock.recv(5) == b"hello"
    assert begin(TcpAddress("localhost", upstream.port)) is None
    path = f"{tmp_path}/s"
    with Upstream(path, backlog=0), socket.socket(socket.AF_UNIX) as first:
        first.connect(path)
        assert begin(UnixAddress(path)) is None


async def test_what_has_begun_may_fail(poller: Poller) -> None:
    """A refusal is raised by whoever finishes it."""
    with nobody() as address:
        attempt = begin(parse_upstream(address))
        assert attempt is not None
        assert not attempt.is_over
        with pytest.raises(ConnectionRefusedError):
            await dial(parse_upstream(address), poller, attempt)


async def test_what_has_begun_is_finished(poller: Poller) -> None:
    """A server that answers late is waited for; given up, the socket is closed."""
    upstream = SilentUpstream()
    with upstream:
        attempt, other = (begin(TcpAddress("127.0.0.1", upstream.port)) for _ in range(2))
        assert attempt is not None
        assert other is not None
        assert not attempt.is_over
        with trio.move_on_after(0.02):
            await dial(TcpAddress("127.0.0.1", upstream.port), poller, other)
        assert other.sock.fileno() == -1
        upstream.speak()
        (await dial(TcpAddress("127.0.0.1", upstream.port), poller, attempt)).close()
