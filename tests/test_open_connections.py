"""What an edit does to connections that are open: a live rule reaches them, a hang is revoked, other faults pass by."""

import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.peers import Server, Upstream, connect, echo, pattern, read_exactly, read_to_the_end, wait_until_broken
from tests.running import Faultproxy, Line, Settings, one


class Edited:
    """A proxy before an echo server, whose rules are edited while its clients are connected."""

    def __init__(self, proxy: Faultproxy, upstream: str) -> None:
        self.proxy = proxy
        self._upstream = upstream
        self._clients: list[socket.socket] = []

    def edit(self, *rules: Settings, **settings: Any) -> Line:
        """Write these rules, and have them loaded at once."""
        self.proxy.address("p")  # by now it runs
        loaded = self.proxy.edit(one(self._upstream, *rules, **settings))
        assert loaded["event"] == "config.loaded"
        return loaded

    def client(self) -> socket.socket:
        """A client that has been served once: its connection is open on all sides."""
        client = connect(self.proxy.address("p"))
        self._clients.append(client)
        ask(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture
def edited(tmp_path: Path) -> Iterator[Edited]:
    with Server(echo) as server, Faultproxy(tmp_path, one(server.address)) as proxy:
        edited = Edited(proxy, server.address)
        try:
            yield edited
        finally:
            edited.close()


def ask(client: socket.socket, data: bytes = b"ping") -> None:
    client.sendall(data)
    assert read_exactly(client, len(data)) == data


def rule(name: str = "r", **keys: Any) -> Settings:
    return {"name": name, **keys}


def live(name: str = "r", **keys: Any) -> Settings:
    return rule(name, live=True, **keys)


# ---- live rules without a window


def test_a_live_rule_reaches_what_is_open(edited: Edited) -> None:
    """The edit that brings it resets the clients that are connected, and those who come later."""
    clients = [edited.client() for _ in range(3)]
    loaded = edited.edit(live(reset={}))
    for client in clients:
        assert read_to_the_end(client) == (b"", "ECONNRESET")
    assert loaded["unaffected"] == 0
    reported = [edited.proxy.wait_for("fault.injected", connection=f"p#{number}") for number in (1, 2, 3)]
    assert [line["ordinal"] for line in reported] == [1, 2, 3]
    late = connect(edited.proxy.address("p"))
    with late:
        assert read_to_the_end(late) == (b"", "ECONNRESET")


def test_a_rule_that_is_not_live_passes_them_by(edited: Edited) -> None:
    """The log says how many open connections it does not reach; a rule that only shapes reaches all."""
    first, second = edited.client(), edited.client()
    assert edited.edit(rule(reset={}))["unaffected"] == 2
    ask(first)
    ask(second)
    assert edited.edit(rule(reset={}), rule("slow", latency={"delay": "1ms"}))["unaffected"] == 0
    assert edited.edit()["unaffected"] == 0
    assert edited.edit(rule(reset={}), live("other", close={"after": "1GiB"}))["unaffected"] == 2
    ask(first)


def test_a_rule_becomes_live(edited: Edited) -> None:
    """What it has waiting in open connections is replaced by what the edit says."""
    edited.edit(rule(reset={"after": "1GiB"}))
    client = edited.client()
    assert edited.edit(live(reset={"after": "8B"}))["unaffected"] == 0
    client.sendall(b"123456789")
    assert read_to_the_end(client) == (b"1234", "ECONNRESET")


def test_a_live_rule_is_edited_and_removed(edited: Edited) -> None:
    """Whatever it has waiting follows the edit; one that did not change is not injected again."""
    edited.edit(live(close={"after": "1GiB"}))
    client = edited.client()
    edited.edit(live(close={"after": "8B"}))
    edited.edit()
    ask(client, b"more than eight bytes")
    edited.edit(live("other", half_close={"after": "1s"}, limit=5))
    edited.edit(live("other", half_close={"after": "1s"}, limit=5), rule("beside", latency={"delay": "1ms"}))
    assert read_to_the_end(client) == (b"", "EOF")
    client.sendall(b"heard")
    edited.edit(rule("beside", latency={"delay": "1ms"}))
    assert edited.proxy.wait_for("fault.injected", fault="half_close")["injected"] == 1


def test_a_live_rule_chooses(edited: Edited) -> None:
    """By all its conditions, oldest first; a verdict above it holds."""
    first, second = edited.client(), edited.client()
    edited.edit(live(reset={}, when={"nth": 2}))
    wait_until_broken(second)
    ask(first)
    edited.edit(rule("exempt", **{"pass": {}}))
    spared = edited.client()
    edited.edit(rule("exempt", **{"pass": {}}), live(reset={}))
    wait_until_broken(first)
    ask(spared)


# ---- a hang that an edit revokes


@pytest.mark.parametrize("hang", [{}, {"for": "1h"}, {"acks": False}])
@pytest.mark.parametrize("is_removed", [True, False])
def test_a_hang_is_revoked(tmp_path: Path, hang: Settings, *, is_removed: bool) -> None:
    """By the edit that removes or changes its rule, live or not: every byte goes on, none twice, both ways."""
    up, down = pattern(300_000, 1), pattern(300_000, 2)
    with Upstream() as upstream, Faultproxy(tmp_path, one(upstream.address, rule(hang=hang))) as proxy:
        edited = Edited(proxy, upstream.address)
        with connect(proxy.address("p")) as client, upstream.accept() as server:
            proxy.wait_for("fault.injected", fault="hang")
            client.settimeout(0.1)
            client.sendall(up[:1000])
            server.sendall(down[:1000])
            with pytest.raises(TimeoutError):
                client.recv(1)
            edited.edit(*([] if is_removed else [rule(reset={"after": "1GiB"})]))
            client.settimeout(20)
            client.sendall(up[1000:])
            server.sendall(down[1000:])
            assert read_exactly(server, len(up)) == up
            assert read_exactly(client, len(down)) == down
            client.shutdown(socket.SHUT_WR)
            assert read_to_the_end(server) == (b"", "EOF")


def test_other_edits_leave_a_hang(edited: Edited) -> None:
    """What another rule says is another matter."""
    client = edited.client()
    edited.edit(live("stuck", hang={}))
    edited.proxy.wait_for("fault.injected", fault="hang")
    edited.edit(live("stuck", hang={}), rule("other", latency={"delay": "1ms"}))
    client.sendall(b"ping")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    edited.edit(rule("other", latency={"delay": "1ms"}))
    client.settimeout(20)
    assert read_exactly(client, 4) == b"ping"


# ---- idle, the nth match, stop: false


def test_idle(edited: Edited) -> None:
    """So long after the last byte, either way, and not before; a client that keeps talking is spared."""
    edited.edit(rule(close={"after": {"idle": "1s"}}))
    client, last = edited.client(), 0.0
    for _ in range(12):
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(20)
        last = monotonic()  # the answer comes later; it may be read later still
        ask(client)
    assert read_to_the_end(client) == (b"", "EOF")
    assert 1 <= monotonic() - last < 10
    assert edited.proxy.wait_for("fault.injected")["trigger"] == "1s idle"


def test_idle_counts_from_the_edit_that_brought_it(edited: Edited) -> None:
    """An open connection that was idle before has its time none the less."""
    client = edited.client()
    client.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(20)
    before = monotonic()
    edited.edit(live(reset={"after": {"idle": "300ms"}}))
    assert read_to_the_end(client) == (b"", "ECONNRESET")
    assert monotonic() - before >= 0.3


def test_the_third_reply(edited: Edited) -> None:
    """On a connection that is kept alive: just behind its last byte, though more was sent at once."""
    edited.edit(rule(reset={"after": {"match": "OK\n", "nth": 3}}))
    client = connect(edited.proxy.address("p"))
    with client:
        ask(client, b"OK\n")
        client.sendall(b"no OK\nOK\nOK\n")
        assert read_to_the_end(client) == (b"no OK\nOK\n", "ECONNRESET")
    assert edited.proxy.wait_for("fault.injected")["trigger"] == 'match 3 of "OK\\n" downstream'


def test_triggered_faults_that_do_not_stop_the_reading(edited: Edited) -> None:
    """Several wait in one connection, each for its trigger; the first that stops keeps those below away."""
    edited.edit(
        rule("a pause", hang={"after": "4B", "for": "50ms"}, stop=False),
        rule("the end", close={"after": "8B"}),
        rule("too late", reset={"after": "2B"}),
    )
    client = connect(edited.proxy.address("p"))
    with client:
        client.sendall(b"0123456789")
        assert read_to_the_end(client) == (b"01234567", "EOF")
    edited.proxy.wait_for("fault.injected", fault="close")
    assert [line["rule"] for line in edited.proxy.seen("fault.injected")] == ["a pause", "the end"]
