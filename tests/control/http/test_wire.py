"""Requests are read and answered as HTTP has it, over real sockets; what is malformed or too large is told so."""

import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from faultproxy.control.http import wire
from faultproxy.control.http.byte_stream import ByteStream
from faultproxy.control.http.messages import HttpProblem, Request, Response
from faultproxy.control.http.security import HEADERS
from faultproxy.events.types import ApiCrashed
from tests.control.http.serving import GET, LAST, problem, rest, serving, status, talk, until
from tests.managing import connect

POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


async def echo(request: Request) -> Response:
    return Response(200, request.body, {"x-method": request.method, "x-query": request.query.get("q", "")})


async def test_a_body_in_tiny_pieces_has_begun() -> None:
    """Before the loop turns, so that nobody takes the client for an idle one; a request that is there at once has not."""
    ours, client = socket.socketpair()
    ours.setblocking(False)
    with ours, client:
        reader, begun = wire.Wire(ByteStream(ours), wire.Bodies()), []
        client.sendall(GET)
        assert await reader.receive(lambda: begun.append("GET")) is not None
        assert reader.next_request()
        client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 150 + b"0\r\n\r\n")
        request = await reader.receive(lambda: begun.append("POST"))
        assert request is not None
        assert (request.body, begun) == (b"x" * 150, ["POST"])


class TestHttp:
    """Well-formed requests of every kind."""

    async def test_pipelined_requests_are_answered_in_their_order(self) -> None:
        """Three in one write, on one connection that stays open between them."""
        bodies = [b"one", b"two", b"three"]
        requests = [POST + b"Content-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies]
        async with serving(echo) as served:
            answer = await talk(served.address, b"".join(requests) + LAST)
        assert [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:4]] == bodies

    async def test_between_pipelined_requests_the_loop_turns(self) -> None:
        """Whoever sends many in one write does not hold up what else the loop serves."""
        turns, seen = 0, []

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async def note(_: Request) -> Response:
            seen.append(turns)
            return Response()

        async with serving(note) as served, trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await talk(served.address, GET * 20 + LAST)
            nursery.cancel_scope.cancel()
        assert len(seen) == 21
        assert seen[-1] - seen[0] >= 19  # of two tasks that are both ready either may be first

    async def test_a_request_may_come_byte_by_byte(self) -> None:
        """Wherever TCP cuts it."""
        async with serving(echo) as served:
            data = POST + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi"
            answer = await talk(served.address, *(bytes([byte]) for byte in data))
        assert answer.endswith(b"\r\n\r\nhi")

    async def test_a_chunked_body_is_put_together(self) -> None:
        """With an extension and a trailer, in many small pieces."""
        chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in range(97, 123))
        data = POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks + b"0\r\nT: 1\r\n\r\n"
        async with serving(echo) as served:
            assert (await talk(served.address, data)).endswith(b"\r\n\r\n" + bytes(range(97, 123)))

    async def test_who_expects_100_continue_gets_it(self) -> None:
        """The body comes only then."""
        async with serving(echo) as served, await connect(served.address) as client:
            await client.send_all(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert await until(client, b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
            await client.send_all(b"hi")
            assert status(await until(client, b"hi")) == 200

    @pytest.mark.parametrize("line", [b"\r\n", b"\n", b"\r\n\r\n"])
    async def test_an_empty_line_before_a_request_is_passed_over(self, line: bytes) -> None:
        """As old clients send one behind a body: in the same write, or in one of its own."""
        post = POST + b"Content-Length: 2\r\n\r\nhi"
        async with serving(echo) as served:
            assert (await talk(served.address, post + line + LAST)).count(b"200 OK") == 2
            async with await connect(served.address) as client:
                await client.send_all(line)
                await wait_all_tasks_blocked()
                await client.send_all(post)
                await until(client, b"hi")
                await client.send_all(line)
                await wait_all_tasks_blocked()
                await client.send_all(LAST)
                assert status(await rest(client)) == 200

    @pytest.mark.parametrize(
        ("target", "path", "host"),
        [
            (b"http://here.example:1/a?q=b", "/a", "here.example:1"),
            (b"HTTPS://here/", "/", "here"),
            (b"http://here", "/", "here"),
            (b"/http://here/", "/http://here/", "localhost"),
            (b"*", "*", "localhost"),
        ],
    )
    async def test_a_whole_url_is_its_path_and_its_host(self, target: bytes, path: str, host: str) -> None:
        """Whatever Host says: so says RFC 9112, section 3.2.2."""
        seen: list[Request] = []

        async def note(request: Request) -> Response:
            seen.append(request)
            return Response.text("")

        async with serving(note) as served:
            assert status(await talk(served.address, LAST.replace(b"/ ", target + b" ", 1))) == 200
        assert [(request.path, request.headers["host"]) for request in seen] == [(path, host)]

    async def test_head_has_the_length_and_no_body(self) -> None:
        """And the connection can be used again."""
        head = b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        async with serving() as served:
            answer = await talk(served.address, head + LAST)
        first, second = answer.split(b"HTTP/1.1 200 OK")[1:]
        assert b"content-length: 5\r\n" in first
        assert first.endswith(b"\r\n\r\n")
        assert second.endswith(b"hello")

    @pytest.mark.parametrize("options", [b"close", b"Keep-Alive, CLOSE", b"x\r\nConnection: close"])
    async def test_who_asks_for_the_end_gets_it(self, options: bytes) -> None:
        """As one of several options too; the answer says so, and what follows is not answered."""
        async with serving() as served:
            answer = await talk(served.address, GET[:-2] + b"Connection: " + options + b"\r\n\r\n" + GET)
        assert answer.count(b"HTTP/1.1 200 OK") == answer.count(b"connection: close") == 1

    async def test_http_1_0_is_closed_after_its_answer(self) -> None:
        """As it asks for nothing else."""
        async with serving() as served:
            answer = await talk(served.address, GET.replace(b"1.1", b"1.0"))
        assert b"connection: close\r\n" in answer
        assert answer.endswith(b"hello")

    async def test_no_body_where_there_may_be_none(self) -> None:
        """204 has neither body nor length."""

        async def nothing(_: Request) -> Response:
            return Response(204)

        async with serving(nothing) as served:
            answer = await talk(served.address, LAST)
        assert status(answer) == 204
        assert b"content-length" not in answer
        assert answer.endswith(b"\r\n\r\n")

    async def test_the_query_is_decoded(self) -> None:
        """Of a name that stands twice, the last."""
        async with serving(echo) as served:
            answer = await talk(served.address, LAST.replace(b"/ ", b"/?q=1&q=a%20%23+b ", 1))
        assert b"x-query: a # b\r\n" in answer

    async def test_an_upgrade_is_not_made(self) -> None:
        """A WebSocket's handshake with bytes behind it is answered as a plain request, and nothing breaks."""
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n\x81\x00"
        async with serving() as served:
            async with await connect(served.address) as client:
                await client.send_all(GET[:-2] + upgrade)
                assert status(await until(client, b"hello")) == 200
            assert status(await talk(served.address, LAST)) == 200

    async def test_every_answer_has_the_headers_of_security(self) -> None:
        """Also that to garbage."""
        async with serving() as served:
            for data in (LAST, b"garbage\r\n\r\n"):
                answer = await talk(served.address, data)
                for name, value in HEADERS.items():
                    assert f"\r\n{name}: {value}\r\n".encode() in answer
                assert b"access-control" not in answer


class TestRefusals:
    """What is malformed or too large."""

    @pytest.mark.parametrize(
        "data",
        [
            b"secret\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03secret",
            b"GET / HTTP/1.1\r\nsecret\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\nsecret",
            b"GET /secret\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: secret\r\n\r\n",
            POST + b"Content-Length: -1\r\n\r\nsecret",
            POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nsecret",
            POST + b"Transfer-Encoding: chunked\r\n\r\nsecret\r\n",
            POST + b"Transfer-Encoding: secret\r\n\r\n",
            POST
            + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /secret HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    async def test_what_is_no_request_is_told_so(self, data: bytes) -> None:
        """With 400, 501 or 505, and without the client's own bytes; then the connection ends."""
        async with serving() as served, await connect(served.address) as client:
            await client.send_all(data)
            await client.send_eof()
            answer = await rest(client)
        assert status(answer) in {400, 501, 505}
        assert b"secret" not in answer
        assert not served.events

    async def test_a_long_head_is_refused(self) -> None:
        """431, read to its end by a client that sends more."""
        async with serving() as served:
            answer = await talk(served.address, GET[:-2] + b"x: " + b"y" * 10 * wire.LONGEST_HEAD)
        assert status(answer) == 431

    async def test_a_long_body_is_refused_before_it_is_read(self) -> None:
        """By its length; a client that sends all of it before it reads sees 413 and no reset."""
        size = wire.LONGEST_BODY + 2**20
        async with serving(echo) as served:
            answer = await talk(served.address, POST + b"Content-Length: %d\r\n\r\n" % size, bytes(size))
        assert problem(answer)["detail"] == "the body is larger than 2 MiB"
        assert status(answer) == 413

    async def test_head_is_refused_without_a_body(self) -> None:
        """As its answers never have one; what follows it and is refused has one."""
        head = b"HEAD / HTTP/1.1\r\nHost: localhost\r\n"
        async with serving() as served:
            answer = await talk(served.address, head + b"Content-Length: 99999999\r\n\r\n")
            assert status(answer) == 413
            assert answer.endswith(b"\r\n\r\n")
            answer = await talk(served.address, head + b"\r\ngarbage\r\n\r\n")
            assert problem(answer[answer.rindex(b"HTTP/1.1 4") :])["status"] == 400

    async def test_a_long_chunked_body_is_refused_when_it_is_too_long(self) -> None:
        """413, and no reset."""
        chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
        head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        async with serving(echo) as served:
            answer = await talk(served.address, head, *[chunk] * 10, b"0\r\n\r\n")
        assert status(answer) == 413

    async def test_all_bodies_together_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """503 for whom there is no room; what a client held is given back when it goes."""
        monkeypatch.setattr(wire, "LONGEST_BODIES", 2**21)
        part = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % 2**21 + bytes(2**20 + 1)
        async with serving(echo) as served:
            async with await connect(served.address) as client:
                await client.send_all(part)
                while served.server.bodies.held <= 2**20:
                    await trio.testing.wait_all_tasks_blocked()
                assert status(await talk(served.address, part)) == 503
            while served.server.bodies.held:
                await trio.testing.wait_all_tasks_blocked()
            assert status(await talk(served.address, part, bytes(2**20 - 1))) == 200

    async def test_no_header_can_add_a_line(self) -> None:
        """A handler that would is a bug: the client sees nothing of it."""

        async def split(request: Request) -> Response:
            return Response(headers={"x": f"{request.query['x']}"})

        async with serving(split) as served:
            for sign in ("%0D", "%0A", "%00", "%C3%A9"):
                assert await talk(served.address, LAST.replace(b"/ ", f"/?x=a{sign}b ".encode(), 1)) == b""
        assert [type(event) for event in served.events] == [ApiCrashed] * 4

    async def test_a_problem_is_told_as_such(self) -> None:
        """RFC 9457, with its status; the connection goes on."""

        async def refuse(_: Request) -> Response:
            raise HttpProblem(409, "Conflict", "it changed", ["p: one", "p: two"])

        async with serving(refuse) as served:
            answer = await talk(served.address, GET + LAST)
        assert answer.count(b"HTTP/1.1 409 Conflict") == 2
        assert problem(answer[answer.rindex(b"HTTP/") :]) == {
            "title": "Conflict",
            "status": 409,
            "detail": "it changed",
            "errors": ["p: one", "p: two"],
        }
