"""Shapes change while connections live: by windows, by edits; and not a byte is lost, repeated or out of place."""

import signal
import socket
import threading
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.peers import Background, Server, Upstream, connect, echo, pattern, read_exactly, read_to_the_end
from tests.running import Faultproxy, Line, one

Rules = Sequence[Mapping[str, Any]]
BLOCK = 65_536
LEAST = 20_000_000
CHANGES = {"probability": "100%", "direction": "downstream"}


def rule(name: str = "r", **keys: Any) -> dict[str, Any]:
    return {"name": name, **keys}


def edit(proxy: Faultproxy, upstream: str, *rules: Mapping[str, Any], seed: int = 1) -> Line:
    """Write the rules, and have them loaded at once."""
    before = proxy.verdicts()
    proxy.write({**one(upstream, *rules), "seed": seed})
    proxy.signal(signal.SIGHUP)
    return proxy.next_verdict(before)


def is_changed(client: socket.socket) -> bool:
    """Whether what an echo server sends back is not what was sent."""
    client.sendall(b"12345678")
    answer = read_exactly(client, 8)
    assert answer == b"12345678" or all(one != other for one, other in zip(answer, b"12345678", strict=True))
    return answer != b"12345678"


def sequence(start: int) -> bytes:
    """A block of a stream of which no part repeats another."""
    return array("I", range(start, start + BLOCK)).tobytes()


class Stream:
    """20 MB and more from one socket to another, until it is to end; and whether all of it arrived."""

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        self.sent = 0
        self.got = 0
        self.enough = threading.Event()
        self._sender = sender
        self._receiver = receiver

    def send(self) -> None:
        while self.sent < LEAST or not self.enough.is_set():
            self._sender.sendall(sequence(self.sent // 4))
            self.sent += 4 * BLOCK
        self._sender.shutdown(socket.SHUT_WR)

    def check(self) -> None:
        """Read all, and compare each block with what was sent."""
        held = b""
        while more := self._receiver.recv(4 * BLOCK):
            held += more
            while len(held) >= 4 * BLOCK:
                assert held[: 4 * BLOCK] == sequence(self.got // 4), f"not what was sent, after {self.got} bytes"
                held = held[4 * BLOCK :]
                self.got += 4 * BLOCK
        assert not held


EDITS: list[Rules] = [
    [],
    [rule("a", latency={"delay": "20ms"})],
    [rule("a", latency={"delay": "60ms", "jitter": "50ms"})],
    [rule("a", latency={"delay": "5ms"}), rule("b", bandwidth={"rate": "40MB/s"})],
    [rule("b", bandwidth={"rate": "10MB/s"})],
    [rule("b", bandwidth={"rate": "100MB/s"}), rule("c", slice={"size": "2000B", "jitter": "1999B"})],
    [rule("c", slice={"size": "4000B"})],
    [rule("c", slice={"size": "4000B"}), rule("a", latency={"delay": "30ms", "distribution": "pareto", "jitter": "9ms"})],
    [rule("a", latency={"delay": "80ms", "direction": "upstream"})],
    [rule("a", latency={"delay": "80ms", "direction": "downstream"}), rule("d", slow_close={"delay": "10ms"})],
    [rule("e", when={"window": {"from": "10ms", "to": "30ms", "every": "40ms"}}, latency={"delay": "25ms"})],
]  # fmt: skip


def test_edits_lose_no_byte(tmp_path: Path) -> None:
    """20 MB and more each way while the rules change 33 times: every byte arrives, in order, once, and then the end."""
    with (
        Upstream() as upstream,
        Faultproxy(tmp_path, one(upstream.address)) as proxy,
        connect(proxy.address("p")) as client,
        upstream.accept() as server,
    ):
        down, up = Stream(server, client), Stream(client, server)
        with Background(down.send), Background(up.send), Background(down.check), Background(up.check):
            try:
                for rules in EDITS * 3:
                    assert edit(proxy, upstream.address, *rules)["event"] == "config.loaded"
                    threading.Event().wait(0.05)  # let some bytes pass through them
                edit(proxy, upstream.address)
            finally:
                down.enough.set()
                up.enough.set()
        assert (down.got, up.got) == (down.sent, up.sent)
        assert min(down.got, up.got) >= LEAST
        closed = proxy.wait_for("connection.closed")
        assert {"latency", "bandwidth", "slice"} <= set(closed["faults"])
        assert (closed["bytes_upstream"], closed["bytes_downstream"]) == (up.sent, down.sent)


@pytest.mark.parametrize("after", [[], [rule(latency={"delay": "1ms"})], [rule("x", slice={"size": "3000B"})]])
def test_latency_goes_while_megabytes_are_held(tmp_path: Path, after: Rules) -> None:
    """A reader that sleeps, megabytes in the pipe, the rule removed or changed: all of it arrives, then what came later."""
    data = pattern(9_000_000)
    with (
        Upstream() as upstream,
        Faultproxy(tmp_path, one(upstream.address, rule(latency={"delay": "400ms"}))) as proxy,
        connect(proxy.address("p"), receive_buffer=16_384) as client,
        upstream.accept() as server,
    ):

        def send() -> None:
            server.sendall(data)
            server.shutdown(socket.SHUT_WR)

        sent = monotonic()
        with Background(send):
            proxy.wait_for("fault.injected", fault="latency")
            edit(proxy, upstream.address, *after)
            first = read_exactly(client, 1000)
            assert monotonic() - sent >= 0.4, "what was on its way arrives as it set out"
            got, end = read_to_the_end(client, 50_000)
        assert (first + got, end) == (data, "EOF")


def test_a_delayed_end_outlives_its_rule(tmp_path: Path) -> None:
    """FIN that is held back comes when it is due, though slow_close is gone by then."""
    with (
        Upstream() as upstream,
        Faultproxy(tmp_path, one(upstream.address, rule(slow_close={"delay": "700ms"}))) as proxy,
        connect(proxy.address("p")) as client,
        upstream.accept() as server,
    ):
        ended = monotonic()
        server.shutdown(socket.SHUT_WR)
        proxy.wait_for("fault.injected", fault="slow_close")
        edit(proxy, upstream.address)
        assert read_to_the_end(client) == (b"", "EOF")
        assert monotonic() - ended >= 0.7
        client.sendall(b"the other direction goes on")
        assert read_exactly(server, 27) == b"the other direction goes on"


BUSY_S = 0.4  # how late a window may open or close on a machine that is busy with something else


def test_a_window_shapes_open_connections(tmp_path: Path) -> None:
    """What passes while the window is open is changed, what passes before and after is not, on one connection."""
    opens, closes = 0.7, 1.3
    rules = [rule(when={"window": {"from": f"{opens}s", "to": f"{closes}s"}}, corrupt=CHANGES)]
    seen: list[bool] = []
    with Server(echo) as server:
        not_before = monotonic()
        with Faultproxy(tmp_path, one(server.address, *rules)) as proxy, connect(proxy.address("p")) as client:
            not_after = monotonic()
            while (sent := monotonic()) < not_after + closes + BUSY_S + 0.2:
                changed, got = is_changed(client), monotonic()
                seen.append(changed)
                if got < not_before + opens or sent > not_after + closes + BUSY_S:
                    assert not changed
                if not_after + opens + BUSY_S < sent and got < not_before + closes:
                    assert changed
            injected = proxy.wait_for("fault.injected")
    assert not seen[0]
    assert not seen[-1]
    assert [one for one, other in zip(seen, [not seen[0], *seen], strict=False) if one != other] == [False, True, False]
    assert injected["elapsed_ms"] <= 1300
    assert injected["ordinal"] == 1


def test_a_window_opens_again_and_again(tmp_path: Path) -> None:
    """Each time on the same connection; it is reported and counted once."""
    rules = [rule(when={"window": {"to": "150ms", "every": "300ms"}}, corrupt=CHANGES)]
    with Server(echo) as server, Faultproxy(tmp_path, one(server.address, *rules)) as proxy:
        with connect(proxy.address("p")) as client:
            turns, before = 0, is_changed(client)
            while turns < 6:
                turns += before != (before := is_changed(client))
        proxy.wait_for("connection.closed")
        assert len(proxy.seen("fault.injected")) == 1


@pytest.fixture
def clients(tmp_path: Path) -> Iterator["Clients"]:
    with Clients(tmp_path) as clients:
        yield clients


class Clients:
    """Some clients of one proxy before an echo server, in the order in which they came."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._server = self._stack.enter_context(Server(echo))
        self._proxy = self._stack.enter_context(Faultproxy(folder, {**one(self._server.address), "seed": 1}))
        self._open: list[socket.socket] = []

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def come(self, count: int) -> None:
        """More clients."""
        for _ in range(count):
            self._open.append(self._stack.enter_context(connect(self._proxy.address("p"))))
            assert isinstance(is_changed(self._open[-1]), bool)  # by now it has its number

    def leave(self, number: int) -> None:
        """A client is gone, and the proxy knows."""
        self._open[number - 1].close()
        self._proxy.wait_for("connection.closed", connection=f"p#{number}")

    def edit(self, *rules: Mapping[str, Any], seed: int = 1) -> str:
        """Other rules; what became of them."""
        return str(edit(self._proxy, self._server.address, *rules, seed=seed)["event"])

    def changed(self) -> list[int]:
        """The numbers of the connections that are shaped now."""
        return [number for number, client in enumerate(self._open, 1) if client.fileno() >= 0 and is_changed(client)]


def test_a_new_rule_reaches_open_connections_oldest_first(clients: Clients) -> None:
    """The first two of five that are open; the third who comes later is spared."""
    clients.come(5)
    assert clients.edit(rule(when={"first": 2}, corrupt=CHANGES)) == "config.loaded"
    clients.come(1)
    assert clients.changed() == [1, 2]


def test_ordinals_go_on_after_the_open_ones(clients: Clients) -> None:
    """Every second one, those that were open counted as they came, those that come later after them."""
    clients.come(5)
    clients.leave(1)
    clients.edit(rule(when={"every": 2}, corrupt=CHANGES))
    assert clients.changed() == [3, 5]
    clients.come(4)
    assert clients.changed() == [3, 5, 7, 9]


def test_a_limit_counts_open_connections(clients: Clients) -> None:
    """A rule that matches twice takes the two oldest."""
    clients.come(4)
    clients.edit(rule(limit=2, corrupt=CHANGES))
    clients.come(1)
    assert clients.changed() == [1, 2]


@pytest.mark.parametrize("when", [{"every": 2}, {"probability": "50%"}, {"nth": [1, 4]}, {"first": 3}])
def test_a_rule_that_was_judged_keeps_its_answer(clients: Clients, when: Mapping[str, Any]) -> None:
    """However often it is edited, moved, removed in between others, it shapes the connections that it chose."""
    clients.come(8)
    clients.edit(rule(when=when, corrupt=CHANGES))
    chosen = clients.changed()
    assert 0 < len(chosen) < 8
    for rules in (
        [rule(when=when, corrupt=CHANGES, slow_close={"delay": "1ms"})],
        [rule("above", latency={"delay": "1ms"}), rule(when=when, corrupt=CHANGES)],
        [rule(when=when, corrupt={**CHANGES, "probability": "99.99%"}), rule("below", slice={"size": "3B"})],
    ):
        assert clients.edit(*rules) == "config.loaded"
        if "99.99%" not in str(rules):
            assert clients.changed() == chosen
    clients.edit()
    assert clients.changed() == []


def test_a_rule_is_removed_and_open_connections_are_free(clients: Clients) -> None:
    """The next byte passes unchanged; when the rule comes back, so does the change."""
    clients.come(2)
    clients.edit(rule(corrupt=CHANGES))
    assert clients.changed() == [1, 2]
    clients.edit()
    assert clients.changed() == []
    clients.edit(rule(corrupt=CHANGES))
    assert clients.changed() == [1, 2]


def test_a_bad_edit_changes_nothing(clients: Clients) -> None:
    """Connections that are shaped stay so."""
    clients.come(2)
    clients.edit(rule(when={"first": 1}, corrupt=CHANGES))
    assert clients.edit(rule(when={"first": 0}, corrupt=CHANGES)) == "config.rejected"
    assert clients.changed() == [1]


def test_conditions_hold_for_open_connections_too(clients: Clients) -> None:
    """A rule for some connections shapes those; one with dry_run none; one below a verdict none."""
    clients.come(3)
    clients.edit(rule(when={"connection": [2]}, corrupt=CHANGES))
    assert clients.changed() == [2]
    clients.edit(rule("all", dry_run=True, corrupt=CHANGES))
    assert clients.changed() == []
    clients.edit(rule("elsewhere", when={"client": "10.0.0.0/8"}, corrupt=CHANGES))
    assert clients.changed() == []


def test_triggered_faults_of_an_edit_spare_open_connections(clients: Clients) -> None:
    """A triggered fault in a rule that also shapes: the shape reaches those that are open, the fault only those that come."""
    clients.come(2)
    clients.edit(rule(corrupt=CHANGES, reset={"after": "24B"}))
    for _ in range(5):
        assert clients.changed() == [1, 2]


def test_connections_share_a_line(tmp_path: Path) -> None:
    """Four downloads at once take four times as long as one would, end together, and an edit widens their line."""
    size, shared = 150_000, {"per": "proxy", "direction": "downstream"}
    with (
        Upstream() as upstream,
        Faultproxy(tmp_path, one(upstream.address, rule(bandwidth={"rate": "400kB/s", **shared}))) as proxy,
        ExitStack() as stack,
    ):
        pairs = []
        for _ in range(4):
            client = stack.enter_context(connect(proxy.address("p")))
            pairs.append((client, stack.enter_context(upstream.accept())))
        began, ends = monotonic(), dict.fromkeys(range(4), 0.0)

        def download(number: int) -> None:
            assert read_exactly(pairs[number][0], size) == pattern(size)
            ends[number] = monotonic() - began

        for _, server in pairs:
            server.sendall(pattern(size))
        with ExitStack() as downloads:
            for number in ends:
                downloads.enter_context(Background(partial(download, number)))
        assert min(ends.values()) > 0.8, "all but the last piece had to wait for the others"
        edit(proxy, upstream.address, rule(bandwidth={"rate": "400MB/s", **shared}))
        began = monotonic()
        for _, server in pairs:
            server.sendall(pattern(size))
        for number in ends:
            download(number)
        assert max(ends.values()) < 1.2
        assert {line["connection"] for line in proxy.seen("fault.injected")} == {"p#1", "p#2", "p#3", "p#4"}
