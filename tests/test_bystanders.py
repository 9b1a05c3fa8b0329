"""What one client sends, whatever it makes of a rule's expression, does not keep another client waiting."""

import socket
import threading
import time
from pathlib import Path
from statistics import median

import pytest

from tests.peers import Server, connect, read_exactly, read_to_the_end
from tests.running import Faultproxy, one


def devour(sock: socket.socket) -> None:
    """Answer a question; read whatever else there is."""
    while data := sock.recv(256 * 1024):
        if data == b"?":
            sock.sendall(b"!")


@pytest.mark.alone
@pytest.mark.parametrize(
    ("text", "fed"), [("(a+)+b", b"a"), (r"\w+@example", b"a"), ("<a.*>", b"<a"), ("a[ab]{200}c", b"abbabaaab")]
)
def test_expressions_take_linear_time(tmp_path: Path, text: str, fed: bytes) -> None:
    """While a client feeds what almost matches, as fast as it can, a bystander's round trip stays below 20 ms."""
    spare = {"name": "spare", "when": {"connection": 2}, "pass": None}
    cut = {"name": "cut", "reset": {"after": {"match": text, "direction": "upstream"}}}
    over = threading.Event()

    def feed(sock: socket.socket) -> None:
        while not over.is_set():
            sock.sendall(fed * (256 * 1024 // len(fed)))

    with Server(devour) as server, Faultproxy(tmp_path, one(server.address, spare, cut)) as proxy:  # noqa: SIM117  # it must run first
        with connect(proxy.address("p")) as feeder, connect(proxy.address("p")) as bystander:
            thread = threading.Thread(target=feed, args=(feeder,))
            thread.start()
            times = []
            for _ in range(50):
                start = time.monotonic()
                bystander.sendall(b"?")
                assert read_exactly(bystander, 1) == b"!"
                times.append(time.monotonic() - start)
            over.set()
            thread.join()
            feeder.shutdown(socket.SHUT_WR)
            assert read_to_the_end(feeder) == (b"", "EOF")
    assert median(times) < 0.02
