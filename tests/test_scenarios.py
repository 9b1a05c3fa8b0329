"""The ready scenarios of config/: each does what its comment says to a client that is as good as the comment asks."""

import http.client
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

import pytest

from faultproxy.config.loader import load, parse
from tests.peers import Server, connect, connect_error, name_of, pattern, read_exactly, read_to_the_end
from tests.running import Faultproxy

CONFIG = Path(__file__).parent.parent / "config"
SCENARIOS = ("flaky-database", "slow-network", "outage-every-minute", "truncated-responses", "half-open-peer")
ANSWER = pattern(6000)
ASK_S = 0.3


def answer(sock: socket.socket) -> None:
    """A server: for each request of ten bytes the answer."""
    while len(sock.recv(10, socket.MSG_WAITALL)) == 10:
        sock.sendall(ANSWER)


class Page(BaseHTTPRequestHandler):
    """A server of the same in HTTP."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def scenario(folder: Path, name: str, upstream: str, *replacements: tuple[str, str]) -> Iterator[Faultproxy]:
    """The scenario before this server, on any port, with these words of it replaced, as its times are a user's."""
    text = (CONFIG / f"{name}.yaml").read_text()
    text = re.sub(r"listen: \S+", "listen: 127.0.0.1:0", re.sub(r"upstream: \S+", f"upstream: {upstream}", text))
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    with Faultproxy(folder, text, "--seed", "3") as proxy:
        yield proxy


def ask(sock: socket.socket) -> bytes:
    """Send a request, and read all of its answer; ConnectionError if it ends before."""
    sock.sendall(b"0123456789")
    data = b""
    while len(data) < len(ANSWER):
        more = sock.recv(65536)
        if not more:
            raise ConnectionError("EOF")
        data += more
    return data


def what_happens(sock: socket.socket) -> str:
    """``ok``, or what went wrong with a request."""
    try:
        assert ask(sock) == ANSWER
    except TimeoutError:
        return "silence"
    except ConnectionError as error:
        return "EOF" if str(error) == "EOF" else name_of(error)
    return "ok"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_valid_and_explained(name: str) -> None:
    """It loads as it stands, and its comment says what a good client does."""
    path = CONFIG / f"{name}.yaml"
    assert load(path).proxies
    assert "# A good client\n#   - " in path.read_text()


def test_every_file_in_config_is_valid() -> None:
    """Whatever a user copies from there."""
    for path in CONFIG.glob("*.yaml"):
        assert parse(path.read_bytes(), path.name).proxies


def test_flaky_database(tmp_path: Path) -> None:
    """A client that keeps one connection, and reconnects, sees every fault, and gets every answer right in the end."""
    times = [("50s", "500ms"), ("55s", "700ms"), ("1m", "1s"), ("10s", "300ms"), ("5%", "20%"), ("80ms", "20ms"), ("40ms", "5ms")]  # fmt: skip
    rules = {"restarting", "lost in the restart", "cold caches", "cut mid-reply"}
    seen: Counter[str] = Counter()
    with Server(answer) as server, scenario(tmp_path, "flaky-database", server.address, *times) as proxy:
        address, until = proxy.address("database"), monotonic() + 15
        while monotonic() < until and not (rules <= injected(proxy) and seen["ECONNREFUSED"] and seen["ok"] > 20):
            seen.update(conversation(address))
        assert injected(proxy) == rules
    assert seen.keys() == {"ok", "ECONNREFUSED", "ECONNRESET"}


def conversation(address: tuple[str, int]) -> Iterator[str]:
    """What becomes of requests on one connection, until it breaks, or is long enough."""
    try:
        client = connect(address)
    except OSError as error:
        threading.Event().wait(0.01)
        yield name_of(error)
        return
    with client:
        for _ in range(50):
            happened = what_happens(client)
            yield happened
            if happened != "ok":
                return


def injected(proxy: Faultproxy) -> set[str]:
    """The rules whose faults were injected so far."""
    return {line["rule"] for event in ("fault.injected", "outage.started") for line in proxy.seen(event)}


def test_slow_network(tmp_path: Path) -> None:
    """No error at all: the answer takes a round trip and its length by the rate, and the end comes later still."""
    with Server(answer) as server, scenario(tmp_path, "slow-network", server.address, ("jitter: 30ms", "jitter: 1ms")) as proxy:  # fmt: skip
        with connect(proxy.address("service")) as client:
            began = monotonic()
            assert ask(client) == ANSWER
            assert 0.28 + len(ANSWER) / 65536 <= monotonic() - began < 10
            ended = monotonic()
            client.shutdown(socket.SHUT_WR)
            assert read_to_the_end(client) == (b"", "EOF")
            assert 1.28 <= monotonic() - ended < 10
        proxy.wait_for("connection.closed", ended_by="client")
        assert injected(proxy) == {"far", "narrow", "in small packets", "slow to say goodbye"}


def test_outage_every_minute(tmp_path: Path) -> None:
    """New connections are refused while it lasts, open ones go on, and afterwards everybody can connect again."""
    times = [("50s", "500ms"), ("1m", "1s")]
    with Server(answer) as server, scenario(tmp_path, "outage-every-minute", server.address, *times) as proxy:
        address = proxy.address("service")
        with connect(address) as old:
            for turn in (1, 2):
                assert ask(old) == ANSWER
                proxy.wait_for("outage.started", turn)
                errors = {connect_error(address), connect_error(address)}
                assert ask(old) == ANSWER
                threading.Event().wait(0.1)  # time enough for the log to say that it was over by then
                if len(proxy.seen("outage.ended")) < turn:
                    assert errors == {"ECONNREFUSED"}
                proxy.wait_for("outage.ended", turn)
                while connect_error(address) is not None:  # the next outage, on a slow machine
                    threading.Event().wait(0.01)


def test_truncated_responses(tmp_path: Path) -> None:
    """A client that checks the length notices each of them; one that asks again gets the whole answer."""
    seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with scenario(tmp_path, "truncated-responses", f"127.0.0.1:{server.server_port}") as proxy:
                seen = [download(proxy.address("service")) for _ in range(24)]
                assert injected(proxy) == {
                    "ends after a kilobyte",
                    "ends after the headers",
                    "breaks off after a kilobyte",
                }
        finally:
            server.shutdown()
            thread.join()
    assert set(seen) == {"ok", "IncompleteRead", "ConnectionResetError"}
    assert all("ok" in seen[at : at + 4] for at in range(20)), "never too long without an answer"


def download(address: tuple[str, int]) -> str:
    """``ok``, or the error of Python's own HTTP client."""
    client = http.client.HTTPConnection(*address, timeout=10)
    try:
        client.request("GET", "/")
        body = client.getresponse().read()
    except (http.client.HTTPException, ConnectionError) as error:
        return type(error).__name__
    finally:
        client.close()
    assert body == ANSWER
    return "ok"


def test_half_open_peer(tmp_path: Path) -> None:
    """Only a client with a time limit notices; it opens another connection, and is answered."""
    seen: list[str] = []
    with Server(answer) as server, scenario(tmp_path, "half-open-peer", server.address) as proxy:
        for _ in range(10):
            with connect(proxy.address("service")) as client:
                client.settimeout(ASK_S)
                seen.append(what_happens(client))
        assert {line["client_sees"] for line in proxy.seen("fault.injected")} == {"silence"}
        assert injected(proxy) == {"gone in mid-reply", "gone before it answers", "gone for half a minute"}
    assert set(seen) == {"ok", "silence"}


def test_a_half_open_peer_that_comes_back(tmp_path: Path) -> None:
    """A client that waits long enough has the whole answer after all."""
    words = [
        ("30s", "600ms"),
        ("hang: {after: 1kB}", "pass:"),
        ("hang: {after: {bytes: 10B, direction: upstream}}", "pass:"),
    ]
    with Server(answer) as server, scenario(tmp_path, "half-open-peer", server.address, *words) as proxy:
        took = []
        for _ in range(9):
            with connect(proxy.address("service")) as client:
                began = monotonic()
                client.sendall(b"0123456789")
                assert read_exactly(client, len(ANSWER)) == ANSWER
                took.append(monotonic() - began)
        assert len(proxy.seen("fault.injected")) >= 1
    assert max(took) >= 0.6
