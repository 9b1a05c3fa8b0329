"""Where the API is, and what becomes of answers that are none."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from faultproxy.ctl.client import ApiAddress, ApiClient, ApiRefused, BadAddress, CannotReach, parse_address, segment
from tests.peers import Server, SilentUpstream, Upstream, nobody


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8474", ApiAddress("127.0.0.1", 8474)),
        ("http://127.0.0.1:8474/", ApiAddress("127.0.0.1", 8474)),
        ("localhost:1", ApiAddress("localhost", 1)),
        ("toxiproxy", ApiAddress("toxiproxy", 8474)),
        (":80", ApiAddress("127.0.0.1", 80)),
        ("[::1]:80", ApiAddress("::1", 80)),
        ("http://[::1]", ApiAddress("::1", 8474)),
        ("unix:/run/api.sock", ApiAddress("localhost", path="/run/api.sock")),
    ],
)
def test_addresses_are_read(text: str, address: ApiAddress) -> None:
    """As people write them."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "http://", ":", "a b", "https://a", "a:99999", "unix:run", "http://a/b", "a:b", "::1"]
)
def test_what_is_no_address_is_told(text: str) -> None:
    """And what would be right."""
    with pytest.raises(BadAddress, match="write http://HOST:PORT, HOST:PORT or unix:/path"):
        parse_address(text)


def test_an_address_is_written_as_it_is_read() -> None:
    """For what is said of it."""
    assert [str(parse_address(text)) for text in ("a:1", "[::1]:2", "unix:/x")] == ["a:1", "[::1]:2", "unix:/x"]


def test_a_name_is_one_segment() -> None:
    """Whatever stands in it."""
    assert segment("redis#17 a/b?é") == "redis%2317%20a%2Fb%3F%C3%A9"
    assert segment(os.fsdecode(b"\xff")) == "%FF"


def answering(status: str, body: bytes, *headers: str) -> Callable[[socket.socket], None]:
    """A server that reads a request and answers so."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]

    def answer(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall("\r\n".join(lines).encode() + body)

    return answer


def client_of(address: str) -> ApiClient:
    return ApiClient(parse_address(address))


class TestAnswers:
    """What comes back."""

    def test_json_is_read_and_text_is_kept(self) -> None:
        """And nothing is nothing."""
        with Server(answering("200 OK", b'{"a": 1}', "Content-Type: application/json")) as server:
            assert client_of(server.address).ask("GET", "/") == {"a": 1}
        with Server(answering("200 OK", b"a: 1\n", "Content-Type: application/yaml")) as server:
            assert client_of(server.address).ask("GET", "/") == "a: 1\n"
        with Server(answering("204 No Content", b"")) as server:
            assert client_of(server.address).ask("DELETE", "/") is None

    def test_the_token_and_the_query_are_sent(self) -> None:
        """What is not given is not."""
        with Upstream() as upstream:
            seen = []

            def note(sock: socket.socket) -> None:
                seen.append(sock.recv(65536))
                sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

            with Server(note, upstream) as server:
                client = ApiClient(parse_address(server.address), "s3cret")
                client.ask("PUT", "/x", b"{}", query={"before": os.fsdecode(b"a b\xff"), "none": None})
        assert seen[0].startswith(b"PUT /x?before=a+b%FF HTTP/1.1\r\n")
        assert b"authorization: Bearer s3cret\r\n" in seen[0]
        assert b"content-type: application/json\r\n" in seen[0]

    @pytest.mark.parametrize(
        ("status", "is_ours"), [("422 No", True), ("400 No", True), ("404 No", False), ("503 No", False)]
    )
    def test_a_problem_is_told_in_its_own_words(self, status: str, *, is_ours: bool) -> None:
        """Its errors if it has any; a place in the body is one in the file."""
        body = json.dumps({"title": "No", "detail": "not so", "errors": ["body:1:2: a: wrong", "other"]}).encode()
        with Server(answering(status, body)) as server, pytest.raises(ApiRefused) as refused:
            client_of(server.address).ask("PUT", "/", b"", name="my.yaml")
        assert refused.value.lines == ["my.yaml:1:2: a: wrong", "other"]
        assert refused.value.is_ours is is_ours

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (b'{"title": "No", "detail": "not so"}', "not so"),
            (b'{"error": "proxy not found", "status": 404}', "proxy not found"),
            (b"<html>", ""),
            (b"[]", ""),
            (b'{"errors": 1}', ""),
            (b"[" * 100_000, ""),
        ],
        ids=range(6),
    )
    def test_what_tells_less_is_told_too(self, body: bytes, text: str) -> None:
        """A proxy in between may answer in its own way."""
        with Server(answering("404 Not Found", body)) as server, pytest.raises(ApiRefused) as refused:
            client_of(server.address).ask("GET", "/")
        assert refused.value.lines == [text or f"{server.address} answers 404, and not as the API of faultproxy does"]


class TestNoAnswer:
    """Nobody, or somebody else."""

    def test_nobody_listens(self, tmp_path: Path) -> None:
        """At a port or a path; the text says what to do."""
        with nobody() as address, pytest.raises(CannotReach) as error:
            client_of(address).ask("GET", "/")
        right = "run faultproxy with --api, or say where it is with --api"
        assert str(error.value) == f"cannot reach the API at {address}: Connection refused; {right}"
        with pytest.raises(CannotReach, match="No such file or directory"):
            client_of(f"unix:{tmp_path}/none").ask("GET", "/")
        with pytest.raises(CannotReach, match=r"cannot reach the API at no-such-host\.invalid:8474"):
            client_of("no-such-host.invalid").ask("GET", "/")

    def test_somebody_says_nothing(self) -> None:
        """It is not waited for for ever, neither while it is connected nor for an answer."""
        with Upstream() as upstream, pytest.raises(CannotReach, match="does not answer"):
            client_of(upstream.address).ask("GET", "/", timeout_s=0.1)
        with SilentUpstream() as silent, pytest.raises(CannotReach, match="does not answer"):
            client_of(silent.address).ask("GET", "/", timeout_s=0.1)

    @pytest.mark.parametrize("said", [b"", b"-ERR unknown command\r\n", b"HTTP/1.1 200\r\n\r\n<html>", b"\x00" * 100])
    def test_somebody_else_listens(self, said: bytes) -> None:
        """Redis, a web server, or what says nothing and goes."""

        def answer(sock: socket.socket) -> None:
            sock.recv(65536)
            sock.sendall(said.replace(b"200\r\n", b"200\r\nContent-Type: application/json\r\n"))

        with Server(answer) as server, pytest.raises(CannotReach, match="is not the API of faultproxy"):
            client_of(server.address).ask("GET", "/")

    def test_an_answer_that_is_cut_off_is_none(self) -> None:
        """Half a table would be a lie."""

        def answer(sock: socket.socket) -> None:
            sock.recv(65536)
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a": ')

        with Server(answer) as server, pytest.raises(CannotReach):
            client_of(server.address).ask("GET", "/")


def test_events_are_read_as_they_are_framed() -> None:
    """Comments, ids and retries are passed over; data of several lines is one."""
    stream = (
        b': \n\nretry: 1000\nid: 1\n\nid: 2\nevent: a.b\ndata: {"x":\ndata: 1}\n\ndata:plain\n\nevent: cut\ndata: 1\n'
    )
    with Server(answering("200 OK", stream, "Content-Type: text/event-stream")) as server:
        assert list(client_of(server.address).events({})) == [("a.b", '{"x":\n1}'), ("message", "plain")]


@pytest.mark.parametrize("end", [b"", b"5", b"5\r\nda"])
def test_events_that_break_off_are_no_end(end: bytes) -> None:
    """Who waits for an event of an API that was killed is told; of one that stops, they just end."""

    def answer(sock: socket.socket) -> None:
        sock.recv(65536)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        sock.sendall(head + b"9\r\ndata: 1\n\n\r\n" + end)

    with Server(answer) as server:
        events = client_of(server.address).events({})
        assert next(events) == ("message", "1")
        with pytest.raises(CannotReach, match=f"the API at {server.address} has gone"):
            next(events)


def test_events_that_end_end() -> None:
    """With the last chunk."""

    def answer(sock: socket.socket) -> None:
        sock.recv(65536)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        sock.sendall(head + b"9\r\ndata: 1\n\n\r\n0\r\n\r\n")

    with Server(answer) as server:
        assert list(client_of(server.address).events({})) == [("message", "1")]


def test_who_needs_a_token_is_told_how_to_give_it() -> None:
    """The option of ctl, beside what the API says."""
    body = json.dumps({"title": "Unauthorized", "detail": "a token is due"}).encode()
    with Server(answering("401 Unauthorized", body)) as server, pytest.raises(ApiRefused) as refused:
        client_of(server.address).ask("GET", "/")
    assert refused.value.lines == ["a token is due; say where it is with --token-file"]
