"""No client holds the others up, and no bug ends the server, over real sockets."""

import errno
import math
from collections.abc import AsyncGenerator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from faultproxy.control.http import server
from faultproxy.control.http.messages import EventStream, Request, Response
from faultproxy.events.types import ApiCrashed, ApiPaused, ApiResumed
from tests.control.http.serving import GET, LAST, hello, rest, serving, status, talk, until
from tests.managing import connect


class TestBugs:
    """Handlers that raise."""

    async def test_a_bug_is_a_500_and_a_line_in_the_log(self) -> None:
        """The client sees no traceback, the log has it; the connection goes on."""

        async def bug(request: Request) -> Response:
            if request.query:
                raise ZeroDivisionError("secret")
            return Response.text("fine")

        async with serving(bug) as served:
            answer = await talk(served.address, GET.replace(b"/ ", b"/a?b=hidden ", 1) + LAST)
        assert b"500 Internal Server Error" in answer
        assert b"secret" not in answer
        assert answer.endswith(b"fine")
        (crash,) = served.events
        assert isinstance(crash, ApiCrashed)
        assert crash.request == "GET /a"
        assert "ZeroDivisionError: secret" in crash.traceback


class TestTime:
    """Clients that take their time."""

    async def test_who_goes_without_a_word_is_no_error(self) -> None:
        """A bare connect and close, or half a request."""
        async with serving() as served:
            for data in (b"", b"GET /"):
                async with await connect(served.address) as client:
                    await client.send_all(data)
            assert status(await talk(served.address, LAST)) == 200
        assert not served.events

    async def test_a_request_that_does_not_come_to_its_end(self, autojump_clock: MockClock) -> None:
        """408 after 30 s, however often a byte comes."""
        del autojump_clock
        began = trio.current_time()
        async with serving() as served, await connect(served.address) as client, trio.open_nursery() as nursery:

            async def send_slowly() -> None:
                while True:
                    await client.send_all(b"G")
                    await trio.sleep(7)

            nursery.start_soon(send_slowly)
            answer = await until(client, b"\r\n\r\n{")
            nursery.cancel_scope.cancel()
        assert status(answer) == 408
        assert trio.current_time() - began == pytest.approx(30, abs=1)

    async def test_an_idle_client_is_closed(self, autojump_clock: MockClock) -> None:
        """After 60 s without a request, and without a word."""
        del autojump_clock
        async with serving() as served, await connect(served.address) as client:
            await client.send_all(GET)
            await until(client, b"hello")
            began = trio.current_time()
            assert await rest(client) == b""
        assert trio.current_time() - began == pytest.approx(60, abs=1)

    async def test_who_does_not_take_an_answer_is_closed(self, autojump_clock: MockClock) -> None:
        """After 30 s, and nothing is left of it."""
        del autojump_clock

        async def much(_: Request) -> Response:
            return Response(200, bytes(2**26))

        async with serving(much) as served, await connect(served.address) as client:
            await client.send_all(GET)
            await trio.sleep(31)
            with pytest.raises(trio.BrokenResourceError):
                await rest(client)
        assert not served.events

    async def test_the_65th_client_waits_for_room(self, autojump_clock: MockClock) -> None:
        """Which a client makes that goes, or that has been idle for a second; one that is being answered does not."""
        del autojump_clock
        go = trio.Event()

        async def wait(request: Request) -> Response:
            if request.query:
                await go.wait()
            return Response.text("hello")

        async with serving(wait) as served, trio.open_nursery() as nursery:
            busy = [await connect(served.address) for _ in range(server.MOST_CLIENTS - 1)]
            for client in busy:
                await client.send_all(GET.replace(b"/ ", b"/?wait=1 ", 1))
            idle = await connect(served.address)
            await idle.send_all(GET)
            await until(idle, b"hello")
            began = trio.current_time()
            assert status(await talk(served.address, LAST)) == 200
            assert trio.current_time() - began < 5
            assert await rest(idle) == b""
            go.set()
            for client in busy:
                nursery.start_soon(until, client, b"hello")
        for client in [*busy, idle]:
            await client.aclose()

    async def test_half_requests_keep_nobody_out(self, autojump_clock: MockClock) -> None:
        """The oldest of 64 makes room after 5 s, and is told; the others may go on."""
        del autojump_clock
        async with serving() as served:
            oldest, *others = clients = [await connect(served.address) for _ in range(server.MOST_CLIENTS)]
            for client in clients:
                await client.send_all(GET[:-2])
                await trio.sleep(0.001)
            began = trio.current_time()
            assert status(await talk(served.address, LAST)) == 200
            assert 4 < trio.current_time() - began < 7
            assert status(await rest(oldest)) == 408
            for client in others:
                await client.send_all(GET[-2:])
                assert status(await until(client, b"hello")) == 200
        for client in clients:
            await client.aclose()

    async def test_answers_that_are_not_taken_keep_nobody_out(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They have 30 s, but only while there is room."""
        del autojump_clock
        monkeypatch.setattr(server, "MOST_CLIENTS", 2)

        async def much(request: Request) -> Response:
            return Response(200, bytes(2**26 if request.query else 1))

        async with serving(much) as served:
            clients = [await connect(served.address) for _ in range(server.MOST_CLIENTS)]
            for client in clients:
                await client.send_all(GET.replace(b"/ ", b"/?much=1 ", 1))
                await until(client, b"200 OK")
            began = trio.current_time()
            assert status(await talk(served.address, LAST)) == 200
            assert trio.current_time() - began < 8
        for client in clients:
            await client.aclose()

    async def test_garbage_keeps_nobody_out(self, autojump_clock: MockClock) -> None:
        """Who has had its last answer, and does not go, makes room after a second."""
        del autojump_clock
        async with serving() as served:
            clients = [await connect(served.address) for _ in range(server.MOST_CLIENTS)]
            for client in clients:
                await client.send_all(b"GET / HTTP/1.1\r\n")
                await wait_all_tasks_blocked()
                await client.send_all(b"\0\r\n\r\n")
                await until(client, b"400")
            began = trio.current_time()
            assert status(await talk(served.address, LAST)) == 200
            assert trio.current_time() - began < 2
        for client in clients:
            await client.aclose()

    async def test_too_few_descriptors_are_waited_out(self) -> None:
        """EMFILE is reported once, and once that it is over."""
        failures = iter([24, 24, 103])

        async with serving() as served:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            (listener,) = listeners
            accept = listener.accept

            async def fail_at_first() -> trio.SocketStream:
                number = next(failures, None)
                if number is not None:
                    raise OSError(number, "no")
                return await accept()

            listener.accept = fail_at_first  # type: ignore[method-assign]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(served.server.serve, listeners, nursery)
                assert status(await talk(listener.socket.getsockname()[:2], LAST)) == 200
                nursery.cancel_scope.cancel()
        assert served.events == [ApiPaused(error="EMFILE", open=0), ApiResumed(open=0)]

    async def test_too_few_descriptors_end_who_is_idle(self) -> None:
        """Who says nothing keeps a descriptor that somebody else waits for."""
        async with serving() as served, await connect(served.address) as idle:
            (listener,) = listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            accept = listener.accept

            async def fail_while_somebody_is_there() -> trio.SocketStream:
                if served.server._clients:
                    raise OSError(errno.EMFILE, "no")
                return await accept()

            listener.accept = fail_while_somebody_is_there  # type: ignore[method-assign]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(served.server.serve, listeners, nursery)
                with trio.fail_after(20):  # by itself it has a minute
                    assert await idle.receive_some() == b""
                nursery.cancel_scope.cancel()


class Stream:
    """A handler whose stream sends what it is told to, and knows when it was closed."""

    def __init__(self) -> None:
        self.send, self._chunks = trio.open_memory_channel[bytes](math.inf)
        self.is_over = trio.Event()

    async def __call__(self, _: Request) -> EventStream:
        return EventStream(self._chunks_to_send())

    async def _chunks_to_send(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._chunks:
                yield chunk
        finally:
            self.is_over.set()


class TestStreams:
    """Server-Sent Events."""

    async def test_frames_arrive_as_they_come(self) -> None:
        """Each at once, and the end as an end."""
        stream = Stream()
        async with serving(stream) as served, await connect(served.address) as client:
            await client.send_all(GET)
            assert b"content-type: text/event-stream" in await until(client, b"\r\n\r\n")
            for frame in (b"data: 1\n\n", b"data: 2\n\n"):
                stream.send.send_nowait(frame)
                assert frame in await until(client, frame + b"\r\n")
            stream.send.close()
            assert await rest(client) == b"0\r\n\r\n"
            assert served.server.streams == 0

    async def test_an_empty_chunk_is_no_end(self) -> None:
        """A stream that has nothing to say for a while goes on."""
        stream = Stream()
        async with serving(stream) as served:
            for frame in (b"", b"data: 1\n\n"):
                stream.send.send_nowait(frame)
            stream.send.close()
            answer = await talk(served.address, GET)
        assert answer.partition(b"\r\n\r\n")[2] == b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"

    async def test_http_1_0_gets_frames_alone(self) -> None:
        """It knows no chunks: the end of the connection is that of the stream."""
        stream = Stream()
        async with serving(stream) as served:
            stream.send.send_nowait(b"data: 1\n\n")
            stream.send.close()
            answer = await talk(served.address, GET.replace(b"1.1", b"1.0"))
        assert b"transfer-encoding" not in answer.lower()
        assert answer.endswith(b"\r\n\r\ndata: 1\n\n")

    async def test_head_gets_no_frames(self) -> None:
        """Nor an end of them."""
        async with serving(Stream()) as served:
            answer = await talk(served.address, GET.replace(b"GET", b"HEAD"))
        assert b"transfer-encoding: chunked\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")

    async def test_a_comment_comes_every_15_seconds(self, autojump_clock: MockClock) -> None:
        """So that what stands between does not take the connection for dead."""
        del autojump_clock
        async with serving(Stream()) as served, await connect(served.address) as client:
            await client.send_all(GET)
            await until(client, b"\r\n\r\n")
            for _ in range(3):
                began = trio.current_time()
                await until(client, b": \n\n\r\n")
                assert trio.current_time() - began == pytest.approx(15, abs=1)

    async def test_a_client_that_goes_ends_its_stream(self) -> None:
        """Although nothing is sent to it: the generator is closed at once."""
        stream = Stream()
        async with serving(stream) as served:
            async with await connect(served.address) as client:
                await client.send_all(GET)
                await until(client, b"\r\n\r\n")
            with trio.fail_after(10):
                await stream.is_over.wait()
        assert not served.events

    async def test_the_17th_stream_is_refused(self) -> None:
        """503; those that there are go on."""
        async with serving(Stream()) as served:
            clients = [await connect(served.address) for _ in range(server.MOST_STREAMS)]
            for client in clients:
                await client.send_all(GET)
                await until(client, b"\r\n\r\n")
            assert status(await talk(served.address, LAST)) == 503
            for client in clients:
                await client.aclose()

    async def test_a_bug_in_a_stream_ends_it_and_is_logged(self) -> None:
        """The client sees that it is not whole."""

        async def bug() -> AsyncGenerator[bytes, None]:
            yield b"data: 1\n\n"
            raise ZeroDivisionError

        async def answer(_: Request) -> EventStream:
            return EventStream(bug())

        async with serving(answer) as served:
            assert (await talk(served.address, GET)).endswith(b"data: 1\n\n\r\n")
        (crash,) = served.events
        assert isinstance(crash, ApiCrashed)
        assert "ZeroDivisionError" in crash.traceback


class TestDrain:
    """The end of the program."""

    async def test_streams_end_first(self) -> None:
        """As a whole, and at once; an idle client too, and half a request."""
        stream = Stream()
        async with serving(stream) as served:
            clients = [await connect(served.address) for _ in range(3)]
            await clients[0].send_all(GET)
            await until(clients[0], b"\r\n\r\n")
            await clients[1].send_all(b"GET /")
            await wait_all_tasks_blocked()
            served.drain()
            with trio.fail_after(10):
                assert await rest(clients[0]) == b"0\r\n\r\n"
                assert await rest(clients[2]) == b""
            for client in clients:
                await client.aclose()
        assert stream.is_over.is_set()

    async def test_who_is_being_answered_has_the_answer(self) -> None:
        """And is told that it is the last."""
        go, asked = trio.Event(), trio.Event()

        async def wait(_: Request) -> Response:
            asked.set()
            await go.wait()
            return await hello(_)

        async with serving(wait) as served, await connect(served.address) as client:
            await client.send_all(GET)
            await asked.wait()
            served.drain()
            await wait_all_tasks_blocked()
            go.set()
            answer = await rest(client)
        assert b"connection: close" in answer
        assert answer.endswith(b"hello")

    async def test_who_does_not_read_does_not_hold_it_up(self, autojump_clock: MockClock) -> None:
        """A second, and the connection is gone, in the middle of a stream's frame or of an answer."""
        del autojump_clock
        stream = Stream()
        stream.send.send_nowait(bytes(2**26))
        async with serving(stream) as served, await connect(served.address) as client:
            await client.send_all(GET)
            await trio.sleep(1)
            began = trio.current_time()
            served.drain()
            await stream.is_over.wait()
        assert trio.current_time() - began < 3
        assert not served.events
