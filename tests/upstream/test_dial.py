"""Dialling tries the upstream's addresses in order, and says with its errno why none was reached."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from time import process_time

import pytest
import trio

from faultproxy.relay import Poller
from faultproxy.upstream.dial import Target, begin, dial, error_name
from tests.peers import SilentUpstream, Upstream, nobody
from tests.relay.relaying import polling

Found = list[tuple[int, int, int, str, tuple[str, int]]]
NOBODY = "127.0.0.2"  # where no upstream of these tests listens


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    async with polling() as poller:
        yield poller


class Resolver:
    """Knows one name, which has these addresses, instead of the system's resolver."""

    def __init__(self, *hosts: str) -> None:
        self.asked: list[object] = []
        self._found = [(socket.AF_INET, int(socket.SOCK_STREAM), 6, "", (host, 0)) for host in hosts]

    def __call__(self, host: object, *_: object, **__: object) -> Found:
        self.asked.append(host)
        if not self._found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return list(self._found)


def target(upstream: Upstream | str, host: str = "127.0.0.1") -> Target:
    port = int(upstream.rpartition(":")[2]) if isinstance(upstream, str) else upstream.port
    return Target.tcp(host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address(poller: Poller, host: str) -> None:
    """A server is reached by IPv4 and IPv6; the socket does not block and does not wait to fill segments.

    Its peer is asked whether it is still there, and its urgent data comes in line.
    """
    with Upstream(host) as upstream, await dial(target(upstream, host), poller) as sock:
        assert sock.getpeername()[:2] == (host, upstream.port)
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        with upstream.accept() as server:
            server.send(b"!", socket.MSG_OOB)
            await trio.lowlevel.wait_readable(sock)
            assert sock.recv(10) == b"!"


async def test_a_path(poller: Poller, tmp_path: Path) -> None:
    """So is one at a Unix socket."""
    with Upstream(f"{tmp_path}/s") as upstream, await dial(Target.unix(f"{tmp_path}/s"), poller) as sock:
        upstream.accept().close()
        assert sock.recv(1) == b""


async def test_names_are_tried_in_order(poller: Poller, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name's addresses the first that answers is taken; the name is looked up at every dial."""
    resolver = Resolver(NOBODY, "127.0.0.1", NOBODY)
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    for _ in range(2):
        (await dial(target(upstream, "db"), poller)).close()
        upstream.accept().close()
    assert len(resolver.asked) == 2


async def test_a_silent_address_is_passed_over(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that never answers takes its share of the time, and the next is tried."""
    with SilentUpstream() as silent, Upstream("127.0.0.2", port=silent.port) as upstream:
        monkeypatch.setattr(socket, "getaddrinfo", Resolver("127.0.0.1", "127.0.0.1", "127.0.0.2"))
        with trio.fail_after(2):  # each address has its share of this
            (await dial(target(silent, "db"), poller)).close()
        upstream.accept().close()


async def test_nobody_answers(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all addresses refuse, the last refusal is raised."""
    monkeypatch.setattr(socket, "getaddrinfo", Resolver("127.0.0.1", NOBODY))
    with nobody() as address, pytest.raises(ConnectionRefusedError) as refused:
        await dial(target(address, "db"), poller)
    assert error_name(refused.value) == "ECONNREFUSED"


async def test_an_unknown_name(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without an address is reported in the resolver's own words."""
    monkeypatch.setattr(socket, "getaddrinfo", Resolver())
    with pytest.raises(socket.gaierror) as unknown:
        await dial(Target.tcp("db", 1), poller)
    assert error_name(unknown.value) == "EAI_NONAME"


async def test_an_address_is_not_looked_up(poller: Poller, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """No resolver is asked about what is an address already."""
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    (await dial(target(upstream), poller)).close()
    assert resolver.asked == []


async def test_giving_up(poller: Poller) -> None:
    """A dial that nobody answers can be cancelled, and leaves no socket open."""
    upstream = SilentUpstream()
    with trio.move_on_after(0.05) as patience:
        await dial(target(upstream), poller)
    assert patience.cancelled_caught
    upstream.close()


async def test_a_server_that_answers_late(poller: Poller) -> None:
    """A dial waits for the handshake, while the others' bytes go on."""
    upstream = SilentUpstream()
    with upstream:
        async with trio.open_nursery() as nursery:

            async def reach() -> None:
                (await dial(target(upstream), poller)).close()

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
                (await dial(Target.unix(path), poller)).close()

            nursery.start_soon(reach)
            await trio.sleep(0.03)
            assert len(nursery.child_tasks) == 1
            upstream.accept().close()


async def test_waiting_for_a_full_queue_costs_little(poller: Poller, tmp_path: Path) -> None:
    """However many wait for room in it, each asks less and less often, and none waits long for what has become free."""
    path = f"{tmp_path}/s"
    waiting = 100
    with Upstream(path, backlog=0) as upstream, socket.socket(socket.AF_UNIX) as first:
        first.connect(path)
        async with trio.open_nursery() as nursery:

            async def reach() -> None:
                (await dial(Target.unix(path), poller)).close()

            for _ in range(waiting):
                nursery.start_soon(reach)
            await trio.sleep(0.5)
            before = process_time()
            await trio.sleep(1)
            assert process_time() - before < 0.2
            upstream.sock.listen(waiting)
            nursery.cancel_scope.deadline = trio.current_time() + 1
        assert not nursery.cancel_scope.cancelled_caught


async def test_no_such_path(poller: Poller, tmp_path: Path) -> None:
    """A path where nobody listens is ENOENT."""
    with pytest.raises(FileNotFoundError) as missing:
        await dial(Target.unix(f"{tmp_path}/none"), poller)
    assert error_name(missing.value) == "ENOENT"


def test_error_names() -> None:
    """Every error has a name, also one that no system call gave."""
    assert error_name(OSError("no address")) == "OSError"
    assert error_name(TimeoutError()) == "TimeoutError"
    assert error_name(OSError(113, "No route to host")) == "EHOSTUNREACH"
    assert error_name(socket.gaierror(socket.EAI_AGAIN, "later")) == "EAI_AGAIN"


def test_what_can_begin_at_once(upstream: Upstream, tmp_path: Path) -> None:
    """On loopback a connect is over as it begins; a name must be looked up first, a full queue be waited for."""
    begun = begin(target(upstream))
    assert begun is not None
    sock, is_over = begun
    assert is_over
    with sock, upstream.accept() as server:
        server.sendall(b"hello")
        assert sock.recv(5) == b"hello"
    assert begin(target(upstream, "localhost")) is None
    path = f"{tmp_path}/s"
    with Upstream(path, backlog=0), socket.socket(socket.AF_UNIX) as first:
        first.connect(path)
        assert begin(Target.unix(path)) is None


async def test_what_has_begun_may_fail(poller: Poller) -> None:
    """A refusal is raised by whoever finishes it."""
    with nobody() as address:
        begun = begin(target(address))
        assert begun is not None
        sock, is_over = begun
        assert not is_over
        with pytest.raises(ConnectionRefusedError):
            await dial(target(address), poller, sock)


async def test_what_has_begun_is_finished(poller: Poller) -> None:
    """A server that answers late is waited for; given up, the socket is closed."""
    upstream = SilentUpstream()
    with upstream:
        begun, other = (begin(target(upstream)) for _ in range(2))
        assert begun is not None
        assert other is not None
        assert not begun[1]
        with trio.move_on_after(0.02):
            await dial(target(upstream), poller, other[0])
        assert other[0].fileno() == -1
        upstream.speak()
        (await dial(target(upstream), poller, begun[0])).close()
