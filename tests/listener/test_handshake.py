"""The mirror: while SYNs are judged, what the upstream says to the proxy is what connect() says to the client."""

import socket
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest

from faultproxy.kernel import raw_socket
from tests.network import Namespaces, connect_many, forged_syn, inside, ip, need_syn_interception
from tests.peers import (
    SilentUpstream,
    Upstream,
    connect,
    connect_error,
    fate,
    nobody,
    read_exactly,
    read_to_the_end,
)
from tests.running import Faultproxy, one

pytestmark = pytest.mark.usefixtures("_gate")
NEEDS_SYNS = {"name": "nobody", "when": {"client": "127.9.9.9"}, "refuse": None}


@pytest.fixture(scope="module")
def _gate() -> None:
    need_syn_interception()


def test_an_upstream_that_refuses_refuses_the_client(tmp_path: Path) -> None:
    """ECONNREFUSED from connect(), for a burst too; each is told, and none was opened."""
    with nobody() as upstream, Faultproxy(tmp_path, one(upstream, NEEDS_SYNS)) as proxy:
        assert connect_many(proxy.address("p"), 100) == {"ECONNREFUSED": 100}
        failed = proxy.wait_for("upstream.failed", nth=100)
        assert failed["error"] == "ECONNREFUSED"
        assert not proxy.seen("connection.opened")


def test_an_upstream_out_of_reach_is_out_of_the_clients_reach(tmp_path: Path) -> None:
    """No route is ENETUNREACH from connect(), a route that says so EHOSTUNREACH, over IPv4 and IPv6; each is told."""
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


def test_an_upstream_that_never_answers_leaves_the_client_without_an_answer(tmp_path: Path) -> None:
    """connect() hangs as it would have without a proxy, until the server speaks."""
    with SilentUpstream() as upstream:
        config = one(upstream.address, NEEDS_SYNS, dial_timeout="300ms")
        with Faultproxy(tmp_path, config) as proxy:
            # 2.5 s: the SYN comes again after one, and the server is dialled again; what is told of is the connection.
            assert connect_many(proxy.address("p"), 1, patience_s=2.5) == {"silence": 1}
            (told,) = proxy.seen("upstream.failed")
            assert told["error"] == "ETIMEDOUT"
            assert not proxy.seen("connection.opened")


def test_a_server_that_was_dialled_first_serves_the_client(tmp_path: Path) -> None:
    """The connection that was dialled is the one that carries the bytes; there is no other."""
    with Upstream() as upstream, Faultproxy(tmp_path, one(upstream.address, NEEDS_SYNS)) as proxy:
        with connect(proxy.address("p")) as client, upstream.accept() as server:
            client.sendall(b"ping")
            assert read_exactly(server, 4) == b"ping"
        assert upstream.is_left_alone()


def test_clients_that_never_shake_hands_hold_few_servers_and_not_for_long(tmp_path: Path) -> None:
    """Of 300 forged SYNs 256 hold a server, for 3 s; who comes meanwhile is let in first, and served if there is one."""
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
        assert fate(address) == (b"", "ECONNRESET")
        assert {read_to_the_end(server) for server in held} == {(b"", "EOF")}
        assert monotonic() - began >= 3
        assert connect_error(address) == "ECONNREFUSED"


def test_a_silent_upstream_keeps_few_clients_waiting_and_not_for_long(tmp_path: Path) -> None:
    """Of 300 clients 256 are let in after 3 s, the others at once, if the dial may take longer than that."""
    with SilentUpstream() as upstream, Faultproxy(tmp_path, one(upstream.address, NEEDS_SYNS)) as proxy:
        began = monotonic()
        assert connect_many(proxy.address("p"), 300) == {"connected": 300}
        assert monotonic() - began >= 3
        proxy.wait_for("connection.opened", nth=300)
        opened = sorted(datetime.fromisoformat(line["timestamp"]) for line in proxy.seen("connection.opened"))
        assert opened[44] - opened[43] > timedelta(seconds=1)


def test_without_a_rule_on_syns_an_upstream_that_refuses_is_a_reset(tmp_path: Path) -> None:
    """The gate runs only while a rule needs it."""
    with nobody() as upstream, Faultproxy(tmp_path, one(upstream)) as proxy:
        assert connect_error(proxy.address("p")) in (None, "ECONNRESET")
        proxy.wait_for("connection.opened")
