"""Clients that come through a Unix socket: relayed, judged, and given each fault as nearly as such a socket knows it."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.peers import PATIENCE_S, Upstream
from tests.running import Faultproxy

FAULTS: dict[str, tuple[Any, str, str]] = {
    "reset": ({"after": "3B"}, "b'abc' b''", "a Unix socket cannot be reset: its peer may see EOF"),
    "broken_pipe": ({"after": "3B"}, "b'abc' b''", ""),
    "abort": (
        {"after": "3B"},
        "b'abc' b''",
        "the connection is reset: a Unix socket cannot be destroyed (EAFNOSUPPORT)",
    ),
    "half_close": ({"after": "3B"}, "b'abc' b''", ""),
    "close": ({"after": "3B"}, "b'abc' b''", ""),
    "hang": (
        {"after": "3B", "acks": False, "for": "100ms"},
        "b'abc' b'def' b''",
        "what is sent is acknowledged: a Unix socket has no packets (EAFNOSUPPORT)",
    ),
    "latency": ({"delay": "50ms"}, "b'abcdef' b''", ""),
    "loss": ({"probability": 0.5}, "b'abcdef' b''", "nothing is lost: a Unix socket has no packets (EAFNOSUPPORT)"),
    "refuse": (None, "ECONNRESET", "the connection is accepted, then reset: a Unix socket has no SYNs"),
    "unreachable": (None, "ECONNRESET", "the connection is accepted, then reset: a Unix socket has no SYNs"),
    "connect_timeout": (None, "ECONNRESET", "the connection is accepted, then reset: a Unix socket has no SYNs"),
    "slow_connect": ({"delay": "50ms"}, "b'abcdef' b''", "the server is dialled later: a Unix socket has no SYNs"),
}
RULES = [
    {"name": fault, "when": {"connection": number}, fault: options}
    for number, (fault, (options, _, _)) in enumerate(FAULTS.items(), start=1)
]


class Scene:
    """A running proxy that listens at a path."""

    def __init__(self, folder: Path, *rules: Any, **settings: Any) -> None:
        self.path = folder / "p.sock"
        self.upstream = Upstream()
        config = {"listen": f"unix:{self.path}", "upstream": self.upstream.address, **settings, "rules": list(rules)}
        self.proxy = Faultproxy(folder, {"proxies": {"p": config}})

    def connect(self) -> socket.socket:
        """A client."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE_S)
        try:
            client.connect(str(self.path))
        except OSError:
            client.close()
            raise
        return client

    def __enter__(self) -> "Scene":
        self.proxy.__enter__()
        self.proxy.wait_for("proxy.started", listen=f"unix:{self.path}")
        return self

    def __exit__(self, *error: Any) -> None:
        self.proxy.__exit__(*error)
        self.upstream.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    everybody = {"name": "client", "when": {"client": ["0.0.0.0/0", "::/0"]}, "close": None}
    with Scene(tmp_path_factory.mktemp("unix"), *RULES, everybody) as scene:
        yield scene


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(scene: Scene, fault: str) -> None:
    """What a Unix socket has no notion of is degraded, and the log says why. The proxy's clients come in this order."""
    _, sees, reason = FAULTS[fault]
    with scene.connect() as client:
        seen = []
        try:
            if "E" not in sees:
                with scene.upstream.accept() as server:
                    server.sendall(b"abcdef")
                    server.shutdown(socket.SHUT_WR)
                    while data := client.recv(100):
                        seen.append(repr(data))
                    seen.append("b''")
            else:
                client.sendall(b"x")
                assert client.recv(1) == b""  # or, if the byte was not read, a reset
                seen.append("ECONNRESET")
        except OSError as error:
            seen.append(errno_name(error))
    assert " ".join(seen) == sees
    line = scene.proxy.wait_for("fault.injected", fault=fault)
    assert (line["client"], line.get("reason", "")) == (f"unix:{os.getpid()}", reason)
    if fault in {"reset", "abort"}:
        assert line["client_sees"] == "EOF"


def errno_name(error: OSError) -> str:
    return "ECONNRESET" if isinstance(error, ConnectionError) else repr(error)


def test_no_client_condition_matches(scene: Scene) -> None:
    """Such a client has no address, be the network that of all addresses."""
    with scene.connect() as client, scene.upstream.accept() as server:
        client.sendall(b"hello")
        assert server.recv(100) == b"hello"
    assert not scene.proxy.seen("fault.injected", rule="client")
    scene.proxy.wait_for("fault.unavailable", reason="a Unix socket has no SYNs")


def test_peek(tmp_path: Path) -> None:
    """First bytes are waited for as elsewhere: they may come in parts, and end."""
    rule = {"name": "admin", "when": {"starts_with": "GET /admin"}, "reset": {"to": "client"}}
    with Scene(tmp_path, rule, peek_timeout="10s") as scene:
        with scene.connect() as client:
            client.sendall(b"GET ")
            assert scene.upstream.is_left_alone()
            client.sendall(b"/admin")
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
        with scene.connect() as client:
            client.sendall(b"GET /")
            client.shutdown(socket.SHUT_WR)
            with scene.upstream.accept() as server:
                assert server.recv(100) == b"GET /"


def test_an_outage(tmp_path: Path) -> None:
    """While the listener is closed the file stays and the kernel refuses; the file goes at the end, and only then."""
    with Scene(tmp_path, {"name": "down", "when": {"window": {"to": "300ms"}}, "refuse": None}) as scene:
        scene.proxy.wait_for("outage.started")
        with pytest.raises(ConnectionRefusedError):
            scene.connect()
        scene.proxy.wait_for("outage.ended")
        scene.connect().close()
        assert scene.proxy.stop() == 0
        assert not scene.path.exists()


def test_another_process_listens(tmp_path: Path) -> None:
    """A living socket is an error that says so; that of a process that was killed is replaced."""
    with Scene(tmp_path) as scene:
        other = Faultproxy(tmp_path, scene.proxy.file.read_text(), may_complain=True)
        with other:
            assert other.exit_code() == 1
        assert "Address already in use (EADDRINUSE); another process listens there: stop that, or" in other.errors
        scene.connect().close()
        scene.proxy.process.kill()
        scene.proxy.exit_code()
        assert scene.path.exists()
    with Scene(tmp_path) as again:
        again.connect().close()


def test_edits(tmp_path: Path) -> None:
    """A path that stays keeps its socket; one that changes is given up, with its file."""
    with Scene(tmp_path) as scene:
        text = scene.proxy.file.read_text()
        inode = scene.path.stat().st_ino
        scene.proxy.edit(text.replace("rules: []", "rules: [{name: r, pass: }]"))
        assert scene.path.stat().st_ino == inode
        scene.proxy.edit(text.replace("p.sock", "q.sock"))
        assert not scene.path.exists()
        scene.path = scene.path.with_name("q.sock")
        scene.connect().close()
