"""The handshake: while SYNs are judged, what the upstream says to the proxy is what connect() says to the client."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest
import trio

from faultproxy.events.bus import Bus
from faultproxy.faults.refuse import Refuse
from faultproxy.faults.slow_connect import SlowConnect
from faultproxy.kernel import raw_socket, raw_tcp
from faultproxy.listener import predialled
from faultproxy.listener.handshake import Handshake, HandshakeContext
from faultproxy.listener.limits import ConnectionLimit
from faultproxy.listener.syn_table import HalfOpen, SynTable
from faultproxy.relay import Poller
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import UNTOUCHED, Faults, Match, Plan
from faultproxy.upstream.circles import Circles
from faultproxy.upstream.dial import Target
from faultproxy.upstream.dialler import Dialler
from tests.network import Namespaces, connect_many, forged_syn, inside, ip, need_syn_interception
from tests.peers import (
    SilentUpstream,
    Upstream,
    connect,
    connect_and_read,
    connect_error,
    nobody,
    read_exactly,
    read_to_the_end,
)
from tests.running import Faultproxy, one

NEEDS_SYNS = {"name": "nobody", "when": {"client": "127.9.9.9"}, "refuse": None}


@pytest.fixture(scope="module")
def _interception() -> None:
    need_syn_interception()


@pytest.mark.usefixtures("_interception")
def test_an_upstream_that_refuses_refuses_the_client(tmp_path: Path) -> None:
    """ECONNREFUSED from connect(), for a burst too; each is reported, and none was opened."""
    with nobody() as upstream, Faultproxy(tmp_path, one(upstream, NEEDS_SYNS)) as proxy:
        assert connect_many(proxy.address("p"), 100) == {"ECONNREFUSED": 100}
        failed = proxy.wait_for("upstream.failed", nth=100)
        assert failed["error"] == "ECONNREFUSED"
        assert not proxy.seen("connection.opened")


@pytest.mark.usefixtures("_interception")
def test_an_upstream_out_of_reach_is_out_of_the_clients_reach(tmp_path: Path) -> None:
    """No route is ENETUNREACH from connect(), a route that says so EHOSTUNREACH, over IPv4 and IPv6; each is reported."""
    upstreams = {
        "no_route": ("192.0.2.1:9", "ENETUNREACH"),
        "no_route6": ("[2001:db8:1::1]:9", "ENETUNREACH"),
        "no_host": ("198.51.100.1:9", "EHOSTUNREACH"),
        "no_host6": ("[2001:db8:2::1]:9", "EHOSTUNREACH"),
    }
    with ExitStack() as stack:
        namespaces = stack.enter_context(Namespaces())
        for network in ("198.51.100.0/24", "2001:db8:2::/48"):
            ip("-n", namespaces.server, "route", "add", "unreachable", network)
        listens = {"v4": f"{namespaces.SERVER}:0", "v6": f"[{namespaces.SERVER6}]:0"}
        proxies = {
            f"{name}_{family}": {"listen": listen, "upstream": upstream, "rules": [NEEDS_SYNS]}
            for name, (upstream, _) in upstreams.items()
            for family, listen in listens.items()
        }
        with inside(namespaces.server):
            proxy = stack.enter_context(Faultproxy(tmp_path, {"proxies": proxies}))
        for name, (_, expected) in upstreams.items():
            for family in listens:
                with inside(namespaces.client):
                    assert connect_error(proxy.address(f"{name}_{family}")) == expected
                assert proxy.wait_for("upstream.failed", proxy=f"{name}_{family}")["error"] == expected
        assert not proxy.seen("connection.opened")


@pytest.mark.usefixtures("_interception")
def test_an_upstream_that_never_answers_leaves_the_client_without_an_answer(tmp_path: Path) -> None:
    """connect() hangs as it would have without a proxy, until the server speaks."""
    with SilentUpstream() as upstream:
        config = one(upstream.address, NEEDS_SYNS, dial_timeout="300ms")
        with Faultproxy(tmp_path, config) as proxy:
            # 2.5 s: the SYN comes again after one, and the server is dialled again; what is reported is the connection.
            assert connect_many(proxy.address("p"), 1, patience_s=2.5) == {"silence": 1}
            (reported,) = proxy.seen("upstream.failed")
            assert reported["error"] == "ETIMEDOUT"
            assert not proxy.seen("connection.opened")


@pytest.mark.usefixtures("_interception")
def test_a_server_that_was_dialled_first_serves_the_client(tmp_path: Path) -> None:
    """The connection that was dialled is the one that carries the bytes; there is no other."""
    with Upstream() as upstream, Faultproxy(tmp_path, one(upstream.address, NEEDS_SYNS)) as proxy:
        with connect(proxy.address("p")) as client, upstream.accept() as server:
            client.sendall(b"ping")
            assert read_exactly(server, 4) == b"ping"
        assert upstream.is_left_alone()


@pytest.mark.usefixtures("_interception")
def test_clients_that_never_shake_hands_hold_few_servers_and_not_for_long(tmp_path: Path) -> None:
    """Of 300 forged SYNs 256 hold a server, for 3 s; a client that comes meanwhile is accepted first, and served if there is one."""
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        proxy = stack.enter_context(Faultproxy(tmp_path, one(upstream.address, NEEDS_SYNS)))
        address = proxy.address("p")
        sender = stack.enter_context(raw_socket.sender(socket.AF_INET))
        began = monotonic()
        for number in range(300):
            packet = forged_syn(f"127.7.{number // 200}.{number % 200 + 1}", address, 1024, number)
            raw_socket.send(sender, packet, socket.inet_aton(address[0]), 0)
        held = [stack.enter_context(upstream.accept()) for _ in range(256)]
        with connect(address) as client, upstream.accept() as server:
            client.sendall(b"ping")
            assert read_exactly(server, 4) == b"ping"
        assert upstream.is_left_alone()
        upstream.close()
        assert connect_and_read(address) == (b"", "ECONNRESET")
        assert {read_to_the_end(server) for server in held} == {(b"", "EOF")}
        assert monotonic() - began >= 3
        assert connect_error(address) == "ECONNREFUSED"


@pytest.mark.usefixtures("_interception")
def test_a_silent_upstream_keeps_few_clients_waiting_and_not_for_long(tmp_path: Path) -> None:
    """Of 300 clients 256 are accepted after 3 s, the others at once, if the dial may take longer than that."""
    with SilentUpstream() as upstream, Faultproxy(tmp_path, one(upstream.address, NEEDS_SYNS)) as proxy:
        began = monotonic()
        assert connect_many(proxy.address("p"), 300) == {"connected": 300}
        assert monotonic() - began >= 3
        proxy.wait_for("connection.opened", nth=300)
        opened = sorted(datetime.fromisoformat(line["timestamp"]) for line in proxy.seen("connection.opened"))
        assert opened[44] - opened[43] > timedelta(seconds=1)


@pytest.mark.usefixtures("_interception")
def test_without_a_rule_on_syns_an_upstream_that_refuses_is_a_reset(tmp_path: Path) -> None:
    """SYNs are intercepted only while a rule needs it."""
    with nobody() as upstream, Faultproxy(tmp_path, one(upstream)) as proxy:
        assert connect_error(proxy.address("p")) in (None, "ECONNRESET")
        proxy.wait_for("connection.opened")


class Scene:
    """A handshake without a proxy: SYNs in, answers out. Timers are due when the test says so."""

    def __init__(self, stack: ExitStack, nursery: trio.Nursery, upstream: Target) -> None:
        self.poller = stack.enter_context(Poller())
        monkey = pytest.MonkeyPatch()
        stack.callback(monkey.undo)
        monkey.setattr(self.poller, "call_at", lambda _, callback: self.timers.append(callback))
        self.timers: list[Callable[[], None]] = []
        self.sent: list[bool] = []
        self.table = SynTable()
        self.limit = ConnectionLimit().add(max_connections=400)
        self.plan = UNTOUCHED
        self.count = 0
        self.turned_away: list[str] = []
        self.handshake = Handshake(self.poller, self.limit)
        self.handshake.context = HandshakeContext(
            proxy="p",
            dialler=Dialler("p", upstream, 5, self.poller, Circles()),
            nursery=nursery,
            bus=Bus(),
            decide=self.decide,
            still_refuses=lambda _: True,
            turned_away=lambda _, why: self.turned_away.append(why),
        )

    def decide(self, half_open: HalfOpen) -> tuple[ConnectionFacts, Plan]:
        """Number it."""
        self.count += 1
        return ConnectionFacts(self.count, half_open.key[0], trio.current_time(), 1), self.plan

    def syn(self, port: int, *, is_doubtful: bool = False) -> HalfOpen:
        """A SYN has come, and is judged."""
        syn = raw_tcp.parse_ipv4(forged_syn("192.0.2.1", ("192.0.2.9", 80), port, 1))
        assert syn is not None
        send = lambda _syn, _packet, accepts: self.sent.append(accepts)  # noqa: E731
        half_open = self.table.hear(("192.0.2.1", port, "192.0.2.9", 80), syn, send, is_doubtful=is_doubtful)
        assert half_open is not None
        self.handshake.on_syn(half_open)
        return half_open

    def abandon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Time passes, and none of the clients comes."""
        with monkeypatch.context() as patch:
            later = monotonic() + 4
            patch.setattr(predialled, "monotonic", lambda: later)
            due, self.timers = self.timers, []
            for callback in due:
                callback()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(backlog=1024))
        async with trio.open_nursery() as nursery:
            yield Scene(stack, nursery, Target.tcp("127.0.0.1", upstream.port))


async def test_predialled_upstreams_are_connections(scene: Scene) -> None:
    """They are counted until their client takes them, as it is then counted itself."""
    clients = [scene.syn(port) for port in range(10)]
    assert scene.limit.connections == 10
    for client in clients:
        judged = scene.handshake.lookup(client)
        assert judged is not None
        server = scene.handshake.predialled.take(judged)
        assert server is not None
        server.close()
        assert scene.handshake.predialled.take(judged) is None
    assert scene.limit.connections == 0
    assert scene.sent == [True] * 10


async def test_the_fewer_clients_come_the_fewer_upstreams_are_predialled(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of forged SYNs' 256 at first, then 4; all are accepted. Each decent client that comes makes it one more."""
    for port in range(300):
        scene.syn(port)
    assert scene.limit.connections == 256
    scene.abandon(monkeypatch)
    assert scene.limit.connections == 0
    for port in range(300, 600):
        scene.syn(port)
    assert scene.limit.connections == 4
    assert scene.sent == [True] * 600
    scene.abandon(monkeypatch)
    for port in range(600, 610):
        judged = scene.handshake.lookup(scene.syn(port))
        assert judged is not None
        server = scene.handshake.predialled.take(judged)
        assert server is not None
        server.close()
    for port in range(700, 800):
        scene.syn(port)
    assert scene.limit.connections == 14
    scene.abandon(monkeypatch)


async def test_the_last_quarter_of_the_limit_is_left_to_clients(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is then accepted before its upstream is dialled."""
    for _ in range(299):
        scene.limit.acquire()
    for port in range(100):
        scene.syn(port)
    assert scene.limit.connections == 300
    assert scene.sent == [True] * 100
    scene.abandon(monkeypatch)


async def test_a_doubtful_syn_is_accepted_or_waits(scene: Scene) -> None:
    """The kernel may have answered it: nothing is done that would be wrong then, nor said to be exact."""
    free = scene.syn(1, is_doubtful=True)
    judged = scene.handshake.lookup(free)
    assert scene.sent == [True]
    assert judged is not None
    assert not judged.is_exact
    refuse = Match("r", 1, Faults([Refuse()]))
    scene.plan = Plan((refuse,), (), refuse)
    refused = scene.syn(2, is_doubtful=True)
    assert scene.sent == [True]
    refused.is_doubtful = False
    scene.handshake.on_syn(refused)
    assert scene.sent == [True]
    assert refused.is_answered
    assert scene.count == 2


async def test_a_held_client_whose_mode_changes_is_done_with(scene: Scene) -> None:
    """Its delay is over when the listener has answered it; it is not answered twice."""
    slow = Match("r", 1, Faults([SlowConnect(delay="1s")]))  # type: ignore[arg-type]  # as a user writes it
    scene.plan = Plan((slow,))
    client = scene.syn(1)
    assert scene.table.held == (client,)
    client.accept()
    for callback in scene.timers:
        callback()
    assert scene.sent == [True]
    judged = scene.handshake.lookup(client)
    assert judged is not None
    assert [fault.fault for fault in judged.faults] == ["slow_connect"]
