"""Rules that look at the client's first bytes: decided as soon as can be, and every byte still reaches the server."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any

import pytest

from tests.peers import (
    Background,
    pattern,
    read_exactly,
    read_to_the_end,
    reset,
    wait_until_broken,
)
from tests.rules.test_client_hello import client_hello, in_records
from tests.running import Scene, Stage

NEVER = {"peek_timeout": "1h"}
"""Whoever waits for the timeout waits in vain."""
SOON_S = 0.3
SOON = {"peek_timeout": "300ms"}
LARGEST_OPENING = 4096


def cut(name: str = "cut", **when: Any) -> dict[str, Any]:
    return {"name": name, "when": when, "reset": {"to": "client"}}


GET = cut(starts_with="GET /admin")
SCENES = {
    "text": Scene([GET], NEVER),
    "hex": Scene([cut(starts_with={"hex": "16 03"})], NEVER),
    "matches": Scene([cut(matches="(?i)drop +table")], NEVER),
    "sni": Scene([cut(sni=["*.example.com", "db"])], NEVER),
    "both": Scene([cut(starts_with="GET", matches="admin")], NEVER),
    "two": Scene([cut("get", starts_with="GET"), cut("put", starts_with="PUT")], NEVER),
    "silent": Scene([cut(starts_with="GET"), cut("tls", sni="*"), cut("any", matches=".")], SOON),
    "hesitant": Scene([cut(starts_with="GET /admin")], SOON),
    "not_at_all": Scene([cut(starts_with="GET")], {"peek_timeout": "0s"}),
    "eof": Scene([cut(starts_with="GET"), cut("tls", sni="*"), cut("any", matches="[^GE]")], NEVER),
    "reset": Scene([GET], NEVER),
    "nth": Scene([cut(starts_with="GET", nth=2)], NEVER),
    "first": Scene([cut(starts_with="GET", first=1)], NEVER),
    "limit": Scene([{**cut(starts_with="GET"), "limit": 1}], NEVER),
    "below_a_pass": Scene([{"name": "all", "pass": None}, GET], NEVER),
    "below_a_first": Scene([{"name": "one", "when": {"first": 1}, "pass": None}, GET], NEVER),
    "below_a_close": Scene([{"name": "all", "close": None}, GET], NEVER),
    "elsewhere": Scene([cut(starts_with="GET", client="10.0.0.0/8")], NEVER),
    "below_a_dry_run": Scene([{**GET, "name": "dry_run", "dry_run": True}, GET], NEVER),
    "pass": Scene([{"name": "health", "when": {"starts_with": "PING"}, "pass": None}, {"name": "all", "close": None}], NEVER),
    "shape": Scene([{"name": "spoil", "when": {"starts_with": "GET"}, "corrupt": {"at": [0], "direction": "upstream"}}], NEVER),
}  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("peek"), SCENES) as stage:
        yield stage


def say(client: socket.socket, pieces: Sequence[bytes]) -> None:
    """Send each piece in a segment of its own."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        client.sendall(piece)


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def is_cut(stage: Stage, name: str, *pieces: bytes) -> None:
    """A client that says this is reset, though it neither says more nor ends."""
    with stage.connect(name) as client:
        try:
            say(client, pieces)
        except ConnectionResetError:
            return  # reset before it had said all
        wait_until_broken(client)
        assert read_to_the_end(client) == (b"", "ECONNRESET")


def is_served(stage: Stage, name: str, *pieces: bytes) -> None:
    """A client that says this, and nothing more until it is answered, reaches the server with just that."""
    said = b"".join(pieces)
    with stage.connect(name) as client:
        say(client, pieces)
        with stage.upstreams[name].accept() as server:
            assert read_exactly(server, len(said)) == said
            server.sendall(b"welcome")
            assert read_exactly(client, 7) == b"welcome"
            say(client, [b"!"])
            assert read_exactly(server, 1) == b"!"
            client.shutdown(socket.SHUT_WR)
            assert read_to_the_end(server) == (b"", "EOF")


CUT: list[tuple[str, list[bytes]]] = [
    ("text", [b"GET /admin"]),
    ("text", [b"GET /admin/users HTTP/1.1\r\n"]),
    ("text", bytewise(b"GET /admin")),
    ("text", [b"GET ", b"/admin?"]),
    ("hex", [b"\x16\x03"]),
    ("hex", bytewise(b"\x16\x03\x01")),
    ("matches", [b"begin; DROP  TABLE"]),
    ("matches", bytewise(b"xx drop table")),
    ("matches", [b"n" * (LARGEST_OPENING - 10) + b"drop table"]),
    ("sni", [client_hello("a.Example.com")]),
    ("sni", bytewise(client_hello("db"))),
    ("sni", [in_records(client_hello("a.example.com"), 50)]),
    ("both", [b"GET /", b"admin"]),
    ("two", bytewise(b"PUT")),
    ("below_a_dry_run", [b"GET /admin"]),
]
SERVED: list[tuple[str, list[bytes]]] = [
    ("text", [b"P"]),
    ("text", [b"GET /adm", b"I"]),
    ("text", bytewise(b"GET /adx")),
    ("hex", [b"\x16\x04"]),
    ("hex", [b"1"]),
    ("matches", [b"n" * LARGEST_OPENING]),
    ("matches", [b"n" * 4000, b"n" * 200]),
    ("matches", [b"n" * (LARGEST_OPENING - 9) + b"drop table"]),
    ("sni", [client_hello("example.com")]),
    ("sni", bytewise(client_hello("db.example.org"))),
    ("sni", [client_hello(None)]),
    ("sni", [b"S"]),
    ("both", [b"PUT"]),
    ("two", [b"PO"]),
    ("elsewhere", [b"GE"]),
]


@pytest.mark.parametrize(("name", "pieces"), CUT, ids=range(len(CUT)))
def test_holds(stage: Stage, name: str, pieces: Sequence[bytes]) -> None:
    """The fault is injected with the byte that makes its condition hold, in however many segments it comes."""
    is_cut(stage, name, *pieces)
    assert stage.upstreams[name].is_left_alone()


@pytest.mark.parametrize(("name", "pieces"), SERVED, ids=range(len(SERVED)))
def test_does_not_hold(stage: Stage, name: str, pieces: Sequence[bytes]) -> None:
    """The byte that makes a condition impossible ends the waiting, and nothing of it is lost, repeated or held."""
    is_served(stage, name, *pieces)


def test_a_real_tls_client(stage: Stage) -> None:
    """A client that shakes hands with a server of that name catches ConnectionResetError."""
    context = ssl.create_default_context()
    with (
        stage.connect("sni") as client,
        pytest.raises(ConnectionResetError),
        context.wrap_socket(client, server_hostname="db.example.com"),
    ):
        pass


def test_a_silent_client_waits_once(stage: Stage) -> None:
    """One that says nothing costs peek_timeout, no more, and matches nothing; a server may then speak first."""
    start = monotonic()
    with stage.connect("silent") as client, stage.upstreams["silent"].accept() as server:
        assert SOON_S <= monotonic() - start < 10 * SOON_S
        server.sendall(b"220 ready")
        assert read_exactly(client, 9) == b"220 ready"
        client.sendall(b"GET /")
        assert read_exactly(server, 5) == b"GET /"
    reported = stage.proxy.wait_for("peek.timed_out", proxy="silent", bytes=0)
    assert reported["connection"] == "silent#1"
    assert 1000 * SOON_S <= reported["elapsed_ms"] < 10_000 * SOON_S


def test_a_client_that_falls_silent(stage: Stage) -> None:
    """What it has said by then reaches the server, and its further bytes do one by one."""
    start = monotonic()
    with stage.connect("hesitant") as client:
        client.sendall(b"GE")
        with stage.upstreams["hesitant"].accept() as server:
            assert SOON_S <= monotonic() - start < 10 * SOON_S
            assert read_exactly(server, 2) == b"GE"
            for byte in bytewise(b"T /admin"):
                client.sendall(byte)
                assert read_exactly(server, 1) == byte
    stage.proxy.wait_for("peek.timed_out", proxy="hesitant", bytes=2)
    for decided in ("text", "eof", "not_at_all"):
        assert not stage.proxy.seen("peek.timed_out", proxy=decided)


def test_what_was_said_until_then_is_judged(stage: Stage) -> None:
    """When the time is up, every rule judges by what has come."""
    start = monotonic()
    is_cut(stage, "silent", b"GE")
    assert SOON_S <= monotonic() - start < 10 * SOON_S
    stage.proxy.wait_for("fault.injected", proxy="silent", rule="any")


def test_a_timeout_of_nothing(stage: Stage) -> None:
    """With a peek_timeout of 0s nobody is waited for."""
    is_served(stage, "not_at_all", b"")


@pytest.mark.parametrize("said", [b"", b"G", b"GE"])
def test_eof_decides(stage: Stage, said: bytes) -> None:
    """A client that ends before it has said enough matches nothing; the server gets what it said, and the EOF."""
    with stage.connect("eof") as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        with stage.upstreams["eof"].accept() as server:
            assert read_to_the_end(server) == (said, "EOF")
            server.sendall(b"bye")
            assert read_exactly(client, 3) == b"bye"


@pytest.mark.parametrize("said", [b"", b"GET"])
def test_a_client_that_resets_meanwhile(stage: Stage, said: bytes) -> None:
    """A client that is gone is not waited for; the server gets what it said, and the reset."""
    client = stage.connect("reset")
    client.sendall(said)
    reset(client)
    with stage.upstreams["reset"].accept() as server:
        assert read_to_the_end(server) == (said, "ECONNRESET")
    assert not stage.proxy.seen("fault.injected", proxy="reset")


def test_ordinals_count_what_holds(stage: Stage) -> None:
    """A rule counts the connections whose first bytes are as it wants them, and no others."""
    for word in (b"PUT", b"GET", b"PUT"):
        is_served(stage, "nth", word)
    is_cut(stage, "nth", b"GET")
    is_served(stage, "nth", b"GET")
    assert stage.injected("nth", 4)["ordinal"] == 2


def test_a_limit_counts_what_holds(stage: Stage) -> None:
    """So does a limit."""
    is_served(stage, "limit", b"PUT")
    is_cut(stage, "limit", b"GET")
    is_served(stage, "limit", b"GET")


def test_who_speaks_first_is_counted_first(stage: Stage) -> None:
    """Of two clients that wait, the one that says the word first is the rule's first, though it came second."""
    with stage.connect("first") as early, stage.connect("first") as late:
        say(late, [b"GET"])
        assert read_to_the_end(late) == (b"", "ECONNRESET")
        say(early, [b"GET"])
        with stage.upstreams["first"].accept() as server:
            assert read_exactly(server, 3) == b"GET"
    assert stage.injected("first", 2)["ordinal"] == 1


@pytest.mark.parametrize("name", ["below_a_pass", "below_a_first", "elsewhere"])
def test_nothing_to_wait_for(stage: Stage, name: str) -> None:
    """Where a verdict above decides, or another condition fails, a client that says nothing is served at once."""
    with stage.ends(name) as (client, server):
        server.sendall(b"220 ready")
        assert read_exactly(client, 9) == b"220 ready"


def test_a_triggered_fault_above_does_not_wait(stage: Stage) -> None:
    """A client that says nothing gets the fault above the rule that would look at its bytes."""
    with stage.connect("below_a_close") as client:
        assert read_to_the_end(client) == (b"", "EOF")


def test_a_verdict_by_bytes(stage: Stage) -> None:
    """Who says the word is exempt from what stands below; who does not, is not."""
    is_served(stage, "pass", b"PING")
    with stage.connect("pass") as client:
        say(client, [b"PO"])
        assert read_to_the_end(client) == (b"", "EOF")
    assert stage.injected("pass", 2)["rule"] == "all"


def test_a_shape_by_bytes(stage: Stage) -> None:
    """A shape acts from the first byte, though it was chosen by the first three."""
    with stage.connect("shape") as client:
        say(client, [b"G", b"ET /"])
        with stage.upstreams["shape"].accept() as server:
            spoilt = read_exactly(server, 5)
            assert (spoilt[0] != ord("G"), spoilt[1:]) == (True, b"ET /")
    is_served(stage, "shape", b"PUT /")


@pytest.mark.parametrize("opening", [b"PUT ", b"GET /admiX"])
def test_every_byte_arrives(stage: Stage, opening: bytes) -> None:
    """What was looked at is delivered once and in order, with megabytes behind it."""
    data = opening + pattern(3_000_000)
    with (
        stage.connect("text") as client,
        Background(lambda: client.sendall(data)),
        stage.upstreams["text"].accept() as server,
    ):
        assert read_exactly(server, len(data)) == data


def test_a_waiting_client_holds_nobody_up(stage: Stage) -> None:
    """While one client says nothing, others are decided and served."""
    with stage.connect("text") as waiting:
        is_cut(stage, "text", b"GET /admin")
        is_served(stage, "text", b"PUT")
        say(waiting, [b"GET /admin"])
        assert read_to_the_end(waiting) == (b"", "ECONNRESET")
