"""HTTP/1.1 with h11 on trio: reads requests, has them answered, writes the answers.

It shares the loop with the connections that are carried, so nothing here is without a bound: how many clients there
are and how many of them have a stream of events, how long a head, a body and all bodies together may be, and how long
a client may take to send a request, to take an answer, or to do nothing. What h11 says of an error repeats the
client's bytes: neither is it sent nor logged.
"""

import errno
import math
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qsl

import h11
import trio

from faultproxy.control.http.messages import EventStream, Handler, HttpProblem, Request, Response
from faultproxy.control.http.security import HEADERS
from faultproxy.events.types import ApiCrashed, ApiPaused, ApiResumed, Event
from faultproxy.version import __version__

MOST_CLIENTS = 64
MOST_STREAMS = 16
LONGEST_HEAD = 2**16
LONGEST_BODY = 2**23
LONGEST_BODIES = 4 * LONGEST_BODY
"""All bodies that are being read or answered at a time."""

_IDLE_S = 60.0  # between requests
_REQUEST_S = 30.0  # from the first byte of a request to its last
_SEND_S = 30.0  # for an answer, or a chunk of a stream, to be taken
_LAST_SEND_S = 1.0  # the same, at the drain
_LINGER_S = 5.0  # what is sent behind the last answer is read so long, or the client would see a reset instead
_HEARTBEAT_S = 15.0
_ACCEPT_AGAIN_S = 0.1
_SPARED_S = 1.0  # who has said nothing for so long makes room for another client

_READ = 2**16
_PIECES = 100  # of a body that comes in tiny pieces so many are taken at once
_HEARTBEAT = b": \n\n"
_ABORTED = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})
_RESET = struct.pack("ii", 1, 0)
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
_EMPTY = frozenset({204, 304})


class Server:
    """Answers the clients of some listeners.

    ``answer`` has the answer to each request; what it raises is a bug, but for HttpProblem. ``why_not`` says why a
    client that has just been accepted may ask nothing at all. Events are published, bugs among them.
    """

    def __init__(
        self,
        answer: Handler,
        publish: Callable[[Event], object] = lambda _: None,
        why_not: Callable[[trio.SocketStream], HttpProblem | None] = lambda _: None,
    ) -> None:
        self.answer = answer
        self.publish = publish
        self.streams = 0
        self.held = 0
        self._why_not = why_not
        self._clients: dict[_Client, None] = {}
        self._changed = trio.lowlevel.ParkingLot()
        self._is_short = False

    async def serve(self, listeners: Sequence[trio.SocketListener], clients: trio.Nursery) -> None:
        """Accept clients until cancelled, each a task of the nursery ``clients``; then end them. Closes the listeners.

        At the end streams and whoever says nothing end at once, and who is being answered has his answer, if he takes
        it within a second.
        """
        try:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(self._accept, listener, clients)
        finally:
            for listener in listeners:
                listener.socket.close()
            for client in self._clients:
                client.drain()

    async def _accept(self, listener: trio.SocketListener, clients: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                await self._wait_out(error)
                continue
            if self._is_short:
                self._is_short = False
                self.publish(ApiResumed(open=len(self._clients)))
            try:
                while len(self._clients) >= MOST_CLIENTS:
                    self._end_an_idle_client()
                    with trio.move_on_after(_ACCEPT_AGAIN_S):
                        await self._changed.park()
            except trio.Cancelled:
                stream.socket.close()
                raise
            clients.start_soon(self._serve_client, stream)

    async def _wait_out(self, error: OSError) -> None:
        if error.errno in _ABORTED:
            return
        if not self._is_short:
            self._is_short = True
            self.publish(ApiPaused(error=errno.errorcode.get(error.errno or 0, "error"), open=len(self._clients)))
        await trio.sleep(_ACCEPT_AGAIN_S)

    def _end_an_idle_client(self) -> None:
        idle = min(self._clients, key=lambda client: client.idle_since)
        if idle.idle_since < trio.current_time() - _SPARED_S:
            idle.drain()

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        client = _Client(self, stream)
        self._clients[client] = None
        try:
            await client.run(self._why_not(stream))
        except Exception as error:  # noqa: BLE001  # a bug ends this client, and nobody else
            if not _is_gone(error):
                self.publish(ApiCrashed.because_of(error, request=client.doing))
        finally:
            if client.is_torn:  # what the client does not take is not kept for it
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            stream.socket.close()
            del self._clients[client]
            self._changed.unpark_all()


class _Refused(Exception):
    """The request cannot be understood, or is too large: this is the last answer."""

    def __init__(self, problem: HttpProblem) -> None:
        super().__init__(problem.title)
        self.response = problem.response()

    @classmethod
    def because(cls, status: int, detail: str) -> Self:
        """With this status."""
        return cls(HttpProblem(status, HTTPStatus(status).phrase, detail))


class _TooSlow(Exception):
    """The client does not take what is sent."""


class _Client:
    """One client, from its first request to its end. Whoever made it closes the stream.

    ``idle_since`` is when it was last answered; infinite while a request comes or is answered.
    ``is_torn``: something was sent in part.
    """

    def __init__(self, server: Server, stream: trio.SocketStream) -> None:
        self.doing = "no request yet"
        self.idle_since = trio.current_time()
        self._server = server
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        self._is_draining = False
        self._waiting = trio.CancelScope()
        self._sending = trio.CancelScope()
        self._turn = trio.Lock()
        self._held = 0
        self._is_head = False  # the request wants no body in its answer
        self.is_torn = False

    def drain(self) -> None:
        """End at once, or as soon as the request that is being answered has its answer."""
        self._is_draining = True
        self._waiting.cancel()
        self._sending.deadline = min(self._sending.deadline, trio.current_time() + _LAST_SEND_S)

    async def run(self, why_not: HttpProblem | None = None) -> None:
        """Answer its requests, until it goes, errs or is drained; or tell it why none is answered."""
        try:
            if why_not is not None:
                raise _Refused(why_not)
            while (request := await self._read_request()) is not None:
                await self._answer(request)
                if self._is_draining or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    break
                self._http.start_next_cycle()
        except _Refused as refused:
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self._send_response(refused.response, is_last=True)
        except _TooSlow:
            return
        finally:
            self._release()
        await self._linger()

    async def _linger(self) -> None:
        """Read on until the client has seen the last answer: a close with unread bytes would reset the connection."""
        if self._is_draining or self.is_torn:
            return
        with trio.move_on_after(_LINGER_S) as self._waiting:
            await self._stream.send_eof()
            while await self._stream.receive_some(_READ):
                pass

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def _read_request(self) -> Request | None:
        """The next request; None if there is none any more. Raises _Refused."""
        if self._is_draining:
            return None
        self.idle_since = trio.current_time()
        self._is_head = False
        request: Request | None = None
        with trio.move_on_after(_IDLE_S) as self._waiting:
            request = await self._receive_request()
        has_begun, self.idle_since = self.idle_since == math.inf, math.inf
        if self._waiting.cancelled_caught and has_begun and not self._is_draining:
            raise _Refused.because(408, f"the request was not complete within {_REQUEST_S:g} s")
        return request

    async def _receive_request(self) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        pieces = 0
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise _refusal(error, head) from None
            if isinstance(event, h11.Request):
                head = event
                self._is_head = head.method == b"HEAD"
                self._begin()
                self._check_head(head)
            elif isinstance(event, h11.Data):
                self._hold(len(event.data))
                body += event.data
                pieces += 1
                if pieces % _PIECES == 0:
                    await trio.lowlevel.checkpoint()
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _request(head, bytes(body))
            elif event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(self._encode(h11.InformationalResponse(status_code=100, headers=[])))
                data = bytes(await self._stream.receive_some(_READ))
                if data:
                    self._begin()
                self._http.receive_data(data)
            else:
                return None

    def _begin(self) -> None:
        """A request has begun to come."""
        if self.idle_since < math.inf:
            self.idle_since = math.inf
            self._waiting.deadline = trio.current_time() + _REQUEST_S

    def _check_head(self, head: h11.Request) -> None:
        if not head.http_version.startswith(b"1."):
            raise _Refused.because(505, "this is HTTP/1.1")
        length = next((int(value) for name, value in head.headers if name == b"content-length"), 0)
        if length > LONGEST_BODY:
            raise _too_large()

    def _hold(self, size: int) -> None:
        """Count bytes of a body that are kept."""
        self._held += size
        self._server.held += size
        if self._held > LONGEST_BODY:
            raise _too_large()
        if self._server.held > LONGEST_BODIES:
            raise _Refused.because(503, "too much is being sent at the same time; try again")

    def _release(self) -> None:
        self._server.held -= self._held
        self._held = 0

    # ---- answering --------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> None:
        self.doing = f"{request.method} {request.path}"[:200]
        try:
            answer = await self._server.answer(request)
        except HttpProblem as problem:
            answer = problem.response()
        except Exception as error:  # noqa: BLE001  # a bug of ours: the client is told, and the log has the rest
            self._server.publish(ApiCrashed.because_of(error, request=self.doing))
            answer = HttpProblem(
                500, "Internal Server Error", "a bug in faultproxy, which its log describes"
            ).response()
        self._release()
        if isinstance(answer, EventStream):
            await self._answer_with_stream(answer)
        else:
            await self._send_response(answer)

    async def _answer_with_stream(self, events: EventStream) -> None:
        async with aclosing(events.chunks) as chunks:
            if self._server.streams >= MOST_STREAMS and not self._is_head:
                detail = f"{MOST_STREAMS} clients have a stream of events already; close one"
                await self._send_response(HttpProblem(503, "Service Unavailable", detail).response())
                return
            headers = {"content-type": "text/event-stream", "connection": "close"}
            head = self._encode(_head(200, headers))
            if self._is_head:
                await self._send(head + self._encode(h11.EndOfMessage()))
                return
            self._server.streams += 1
            try:
                await self._send(head)
                await self._send_stream(chunks)
            finally:
                self._server.streams -= 1

    async def _send_stream(self, chunks: AsyncGenerator[bytes, None]) -> None:
        with trio.CancelScope() as self._waiting:
            if self._is_draining:
                self._waiting.cancel()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wait_until_gone, nursery.cancel_scope)
                nursery.start_soon(self._send_heartbeats)
                async for chunk in chunks:
                    await self._send_chunk(chunk)
                nursery.cancel_scope.cancel()
        if not self.is_torn:
            await self._send(self._encode(h11.EndOfMessage()))

    async def _wait_until_gone(self, stream: trio.CancelScope) -> None:
        with suppress(*_GONE):
            while await self._stream.receive_some(_READ):
                pass
        stream.cancel()

    async def _send_heartbeats(self) -> None:
        while True:
            await trio.sleep(_HEARTBEAT_S)
            await self._send_chunk(_HEARTBEAT)

    async def _send_chunk(self, chunk: bytes) -> None:
        async with self._turn:
            await self._send(self._encode(h11.Data(data=chunk)))

    async def _send_response(self, response: Response, *, is_last: bool = False) -> None:
        headers = dict(response.headers)
        if response.status not in _EMPTY:
            headers["content-length"] = str(len(response.body))
        if is_last or self._is_draining:
            headers["connection"] = "close"
        data = self._encode(_head(response.status, headers))
        if not self._is_head and response.status not in _EMPTY:
            data += self._encode(h11.Data(data=response.body))
        await self._send(data + self._encode(h11.EndOfMessage()))

    def _encode(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    async def _send(self, data: bytes) -> None:
        with trio.move_on_after(_LAST_SEND_S if self._is_draining else _SEND_S) as self._sending:
            self.is_torn = True
            await self._stream.send_all(data)
            self.is_torn = False
        if self._sending.cancelled_caught:
            raise _TooSlow


def _refusal(error: h11.RemoteProtocolError, head: h11.Request | None) -> _Refused:
    if error.error_status_hint == 431:
        if head is not None:
            return _Refused.because(400, "the body is not sent as HTTP has it")
        return _Refused.because(431, f"the request line and headers are longer than {LONGEST_HEAD // 1024} KiB")
    return _Refused.because(400, "this is not a request as HTTP/1.1 has it")


def _too_large() -> _Refused:
    return _Refused.because(413, f"the body is larger than {LONGEST_BODY >> 20} MiB")


def _request(head: h11.Request, body: bytes) -> Request:
    target, _, query = head.target.decode("ascii").partition("?")
    headers: dict[str, str] = {}
    for name, value in head.headers:
        key, text = name.decode("ascii"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    return Request(head.method.decode("ascii"), target, {}, pairs, headers, body)


def _head(status: int, headers: Mapping[str, str]) -> h11.Response:
    own = {"date": formatdate(usegmt=True), "server": f"faultproxy/{__version__}", **HEADERS}
    return h11.Response(status_code=status, reason=HTTPStatus(status).phrase, headers=[*own.items(), *headers.items()])


def _is_gone(error: Exception) -> bool:
    """Whether nothing is wrong but that the client has gone, or does not read."""
    if isinstance(error, ExceptionGroup):
        return all(map(_is_gone, error.exceptions))
    return isinstance(error, (*_GONE, _TooSlow))
