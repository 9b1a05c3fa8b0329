"""Clients that know nothing of the proxy reach it, and through it the server that they meant; or are told that it is gone."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from faultproxy.tools import intercept
from faultproxy.tools.intercept import Interception
from tests.network import Namespaces, as_user, inside, ip, need_syn_interception
from tests.peers import PATIENCE_S, Server, Upstream, name_of
from tests.running import Faultproxy
from tests.servers import program

ANOTHER = "10.99.0.3"
SERVERS = (Namespaces.SERVER, 5432), (ANOTHER, 5432), (Namespaces.SERVER, 6379), (Namespaces.SERVER6, 5432)
LISTEN = 15432
CLIENT = 65534
MODES = pytest.mark.parametrize("tproxy", [False, True], ids=["redirect", "tproxy"])


@contextmanager
def hosts(*, tproxy: bool) -> Iterator[str]:
    """This thread is on a host whose connections to the ports 5432 and 6379 are led to the proxy; servers on another."""
    program("nft")
    with ExitStack() as stack:
        namespaces = stack.enter_context(Namespaces())
        ip("-n", namespaces.server, "address", "add", f"{ANOTHER}/24", "dev", "v1")
        with inside(namespaces.server):
            for host, port in SERVERS:
                stack.enter_context(Server(says_where, Upstream(host, port=port)))
        stack.enter_context(inside(namespaces.client))
        rules = Interception((5432, 6379), LISTEN, 0, tproxy)
        why = rules.why_not()
        if why is not None:
            pytest.skip(why)
        rules.apply()
        yield namespaces.client


def says_where(sock: socket.socket) -> None:
    """The server's own address, and who the client is to it."""
    sock.sendall(repr((sock.getsockname()[:2], sock.getpeername()[0])).encode())


def ask(host: str, port: int) -> str:
    """What a client of another user gets: all that the server says, or an errno."""

    def connect() -> str:
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
                client.settimeout(PATIENCE_S)
                client.connect((host, port))
                assert client.getpeername()[:2] == (host, port)
                return b"".join(iter(lambda: client.recv(4096), b"")).decode()
        except OSError as error:
            return name_of(error)

    return as_user(CLIENT, connect)


def proxy(*rules: dict[str, Any], listen: str = f":{LISTEN}") -> dict[str, Any]:
    return {"proxies": {"p": {"listen": listen, "upstream": "original", "rules": list(rules)}}}


def served(host: str, port: int) -> str:
    return repr(((host, port), Namespaces.CLIENT6 if ":" in host else Namespaces.CLIENT))


@MODES
def test_one_listener_serves_all(tmp_path: Path, tproxy: bool) -> None:
    """Three servers and two families: each client is where it wanted to go, and the log says where that was."""
    with hosts(tproxy=tproxy), Faultproxy(tmp_path, proxy()) as faultproxy:
        faultproxy.wait_for("proxy.started")
        assert [ask(*server) for server in SERVERS] == [served(*server) for server in SERVERS]
        for number in range(1, len(SERVERS) + 1):
            faultproxy.wait_for("connection.closed", connection=f"p#{number}", ended_by="server")


@MODES
def test_the_proxys_own_connections_go_out(tmp_path: Path, tproxy: bool) -> None:
    """Its user is not led to it; anybody else's connection goes through it, and none without."""
    with hosts(tproxy=tproxy), Faultproxy(tmp_path, proxy()) as faultproxy:
        faultproxy.wait_for("proxy.started")
        with socket.create_connection(SERVERS[0], PATIENCE_S) as own:
            assert own.recv(4096)
        assert not faultproxy.seen("connection.opened")


@MODES
def test_rules_ask_where_to(tmp_path: Path, tproxy: bool) -> None:
    """destination and port choose among the servers behind one listener."""
    rules = (
        {"name": "one server", "when": {"destination": ANOTHER}, "close": {"after": "2B"}},
        {"name": "one port", "when": {"port": [6379, 6380]}, "close": {"after": "3B"}},
    )
    with hosts(tproxy=tproxy), Faultproxy(tmp_path, proxy(*rules)) as faultproxy:
        faultproxy.wait_for("proxy.started")
        got = [ask(*server) for server in SERVERS]
        assert got == [served(*SERVERS[0]), "((", "(('", served(*SERVERS[3])]
        assert faultproxy.wait_for("fault.injected", rule="one server")["upstream"] == f"{ANOTHER}:5432"


@MODES
def test_connect_faults(tmp_path: Path, tproxy: bool) -> None:
    """With TPROXY they are exact, as is a server that refuses; a REDIRECT says at start that they are not."""
    need_syn_interception()
    rules = (
        {"name": "refuse", "when": {"destination": ANOTHER}, "refuse": {}},
        {"name": "unreachable", "when": {"port": 6379}, "unreachable": {}},
        {"name": "late", "slow_connect": {"delay": "50ms"}},
    )
    exact = ["ECONNREFUSED", "EHOSTUNREACH", served(*SERVERS[0]), served(*SERVERS[3]), "ECONNREFUSED"]
    reset = ["ECONNRESET", "ECONNRESET", served(*SERVERS[0]), served(*SERVERS[3]), "ECONNRESET"]
    with hosts(tproxy=tproxy), Faultproxy(tmp_path, proxy(*rules)) as faultproxy:
        faultproxy.wait_for("proxy.started")
        if not tproxy:
            assert "REDIRECT" in faultproxy.wait_for("fault.unavailable")["reason"]
        stopped = "10.99.0.1", 6380
        rest = Interception((5432, 6379, stopped[1]), LISTEN, 0, tproxy)
        rest.apply()
        asked = (SERVERS[1], SERVERS[2], SERVERS[0], SERVERS[3], stopped)
        assert [ask(*server) for server in asked] == (exact if tproxy else reset)
        fidelity = {line["fidelity"] for line in faultproxy.seen("fault.injected")}
        assert fidelity == ({"exact"} if tproxy else {"degraded"})


@MODES
def test_abort(tmp_path: Path, tproxy: bool) -> None:
    """The client's own socket is found, whatever address it believes that it has connected to."""
    abort = {"name": "abort", "abort": {"after": "1B"}}
    with hosts(tproxy=tproxy), Faultproxy(tmp_path, proxy(abort)) as faultproxy:
        faultproxy.wait_for("proxy.started")
        assert [ask(*SERVERS[0]), ask(*SERVERS[3])] == ["ECONNABORTED", "ECONNABORTED"]
        assert {line["fidelity"] for line in faultproxy.seen("fault.injected")} == {"exact"}


@MODES
def test_where_the_proxy_itself_listens(tmp_path: Path, tproxy: bool) -> None:
    """Who connects there wanted to go nowhere else: reset, logged, and never dialled."""
    refuse = {"name": "refuse", "when": {"nth": 99}, "refuse": {}}
    with hosts(tproxy=tproxy), Faultproxy(tmp_path, proxy(refuse)) as faultproxy:
        faultproxy.wait_for("proxy.started")
        for host in ("127.0.0.1", Namespaces.CLIENT, "::1"):
            assert ask(host, LISTEN) == "ECONNRESET"
            at = f"[{host}]:{LISTEN}" if ":" in host else f"{host}:{LISTEN}"
            faultproxy.wait_for("upstream.failed", error="ELOOP", upstream=at)
        assert len(faultproxy.seen("connection.opened")) == 3


@MODES
def test_a_proxy_that_is_led_to_itself(tmp_path: Path, tproxy: bool) -> None:
    """If the rules exempt another user, its own connections come back once, and are reset: no circle."""
    with hosts(tproxy=tproxy), Faultproxy(tmp_path, proxy()) as faultproxy:
        faultproxy.wait_for("proxy.started")
        Interception((5432,), LISTEN, CLIENT - 1, tproxy).apply()
        assert ask(*SERVERS[0]) in {"ECONNRESET", ""}
        faultproxy.wait_for("upstream.failed", error="ELOOP")
        assert len(faultproxy.seen("connection.opened")) == 2


@MODES
def test_the_proxy_is_dead(tmp_path: Path, tproxy: bool) -> None:
    """Clients are refused at once; once the rules are taken back, they reach their servers without it."""
    with hosts(tproxy=tproxy):
        with Faultproxy(tmp_path, proxy()) as faultproxy:
            faultproxy.wait_for("proxy.started")
            assert ask(*SERVERS[0]) == served(*SERVERS[0])
            faultproxy.process.kill()
            faultproxy.process.wait()
        assert [ask(*server) for server in SERVERS] == ["ECONNREFUSED"] * len(SERVERS)
        intercept.remove()
        assert [ask(*server) for server in SERVERS] == [served(*server) for server in SERVERS]


def test_an_edit_changes_what_is_dialled(tmp_path: Path) -> None:
    """From one server to where each client wants to go, and back, at the same listener, while SYNs are judged."""
    need_syn_interception()
    refuse = {"name": "refuse", "when": {"nth": 99}, "refuse": {}}
    original, fixed = proxy(refuse), proxy(refuse)
    fixed["proxies"]["p"]["upstream"] = f"{ANOTHER}:5432"
    with hosts(tproxy=True), Faultproxy(tmp_path, fixed) as faultproxy:
        faultproxy.wait_for("proxy.started")
        faultproxy.edit(original)
        assert ask(*SERVERS[0]) == served(*SERVERS[0])
        faultproxy.edit(fixed)
        assert ask(Namespaces.CLIENT, LISTEN) == served(ANOTHER, 5432)
        faultproxy.edit(original)
        assert ask(*SERVERS[2]) == served(*SERVERS[2])
