"""The clients of the API: how many there are, what each may take, and how each ends.

The server shares the loop with the connections that are carried, so nothing is without a bound: how many clients there
are and how many of them have a stream of events, how long a head, a body and all bodies together may be, and how long
a client may take to send a request, to take an answer, or to do nothing.
"""

import errno
import math
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress

import trio

from faultproxy.control.http.byte_stream import ByteStream, Gone, TooSlow
from faultproxy.control.http.messages import EventStream, Handler, HttpProblem, Request
from faultproxy.control.http.wire import Bodies, Unanswerable, Wire
from faultproxy.events.types import ApiCrashed, ApiPaused, ApiResumed, Event

MOST_CLIENTS = 64
MOST_STREAMS = 16

_IDLE_S = 60.0  # between requests
_REQUEST_S = 30.0  # from the first byte of a request to its last
_LINGER_S = 5.0  # what is sent behind the last answer is read so long, or the client would see a reset instead
_HEARTBEAT_S = 15.0
_ACCEPT_AGAIN_S = 0.1
_SPARED_S = 1.0  # who has said nothing for so long makes room for another client
_SLOW_S = 5.0  # and if there is nobody like that, who has not ended a request, or taken an answer, for so long

_HEARTBEAT = b": \n\n"
_ABORTED = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})
_RESET = struct.pack("ii", 1, 0)


class Server:
    """Answers the clients of some listeners.

    ``answer`` has the answer to each request; what it raises is a bug, but for HttpProblem. ``why_not`` says why a
    client that has just been accepted may ask nothing at all. Events are published, bugs among them.
    """

    def __init__(
        self,
        answer: Handler,
        publish: Callable[[Event], object] = lambda _: None,
        why_not: Callable[[socket.socket], HttpProblem | None] = lambda _: None,
    ) -> None:
        self.answer = answer
        self.publish = publish
        self.streams = 0
        self.bodies = Bodies()
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
                    self._make_room()
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
        self._make_room()
        await trio.sleep(_ACCEPT_AGAIN_S)

    def _make_room(self) -> None:
        now = trio.current_time()
        idle = min(self._clients, key=lambda client: client.idle_since, default=None)
        if idle is not None and idle.idle_since < now - _SPARED_S:
            idle.drain()
            return
        slow = min(self._clients, key=lambda client: client.slow_since, default=None)
        if slow is not None and slow.slow_since < now - _SLOW_S and not any(each.is_over for each in self._clients):
            slow.give_up()

    async def _serve_client(self, accepted: trio.SocketStream) -> None:
        sock = socket.socket(fileno=accepted.socket.detach())
        sock.setblocking(False)
        stream = ByteStream(sock)
        client = _Client(self, stream)
        self._clients[client] = None
        try:
            await client.run(self._why_not(sock))
        except Exception as error:  # noqa: BLE001  # a bug ends this client, and nobody else
            if not _is_gone(error):
                self.publish(ApiCrashed.because_of(error, request=client.doing))
        finally:
            if stream.is_torn:  # what the client does not take is not kept for it
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()
            del self._clients[client]
            self._changed.unpark_all()


class _Client:
    """One client, from its first request to its end. Whoever made it closes the socket.

    ``idle_since`` is when it was last answered; infinite while a request comes or is answered. ``is_over``: it has had
    its last answer. ``doing`` is what it asks for.
    """

    def __init__(self, server: Server, stream: ByteStream) -> None:
        self.doing = "no request yet"
        self.idle_since = trio.current_time()
        self.is_over = False
        self.wire = Wire(stream, server.bodies)
        self._server = server
        self._stream = stream
        self._begun_at = math.inf
        self._is_draining = False
        self._waiting = trio.CancelScope()

    @property
    def slow_since(self) -> float:
        """When the request began that is not complete, or the answer that is not taken; else infinite."""
        return min(self._begun_at, self._stream.blocked_since)

    def give_up(self) -> None:
        """Wait no longer for its request, which it is told; or for it to take an answer, as drain() does."""
        if self._begun_at < math.inf:
            self._waiting.cancel()
        else:
            self.drain()

    def drain(self) -> None:
        """End at once, or as soon as the request that is being answered has its answer."""
        self._is_draining = True
        self._waiting.cancel()
        self.wire.hurry()

    async def run(self, why_not: HttpProblem | None = None) -> None:
        """Answer its requests, until it goes, errs or is drained; or tell it why none is answered."""
        wire = self.wire
        try:
            if why_not is not None:
                raise Unanswerable(why_not)
            while not self._is_draining and wire.next_request():
                request = await self._read_request()
                if request is None:
                    break
                await self._answer(request)
        except Unanswerable as refused:
            await wire.refuse(refused.response)
        finally:
            wire.release()
        await self._linger()

    async def _read_request(self) -> Request | None:
        """The next request; None if there is none any more. Raises Unanswerable."""
        self.idle_since = trio.current_time()
        request: Request | None = None
        with trio.CancelScope(deadline=self.idle_since + _IDLE_S) as self._waiting:
            request = await self.wire.receive(self._begin)
        began_at, self.idle_since, self._begun_at = self._begun_at, math.inf, math.inf
        if self._waiting.cancelled_caught and began_at < math.inf and not self._is_draining:
            took_s = trio.current_time() - began_at
            raise Unanswerable.because(408, f"the request was not complete within {took_s:.0f} s")
        return request

    def _begin(self) -> None:
        if self._begun_at == math.inf:
            self.idle_since, self._begun_at = math.inf, trio.current_time()
            self._waiting.deadline = self._begun_at + _REQUEST_S

    async def _answer(self, request: Request) -> None:
        self.doing = f"{request.method} {request.path}"[:200]
        try:
            answer = await self._server.answer(request)
        except HttpProblem as problem:
            answer = problem.response()
        except Exception as error:  # noqa: BLE001  # a bug of ours: the client is told, and the log has the rest
            self._server.publish(ApiCrashed.because_of(error, request=self.doing))
            answer = HttpProblem(500, "Internal Server Error", "a bug in faultproxy; its log has it").response()
        self.wire.release()
        if isinstance(answer, EventStream):
            await self._answer_with_stream(answer)
        else:
            await self.wire.respond(answer)

    async def _answer_with_stream(self, events: EventStream) -> None:
        server = self._server
        async with aclosing(events.chunks) as chunks:
            if server.streams >= MOST_STREAMS:
                detail = f"{MOST_STREAMS} clients have a stream of events already; close one"
                await self.wire.respond(HttpProblem(503, "Service Unavailable", detail).response())
                return
            server.streams += 1
            try:
                if await self.wire.start_stream():
                    await self._stream_out(chunks)
            finally:
                server.streams -= 1

    async def _stream_out(self, chunks: AsyncGenerator[bytes, None]) -> None:
        with trio.CancelScope() as self._waiting:
            if self._is_draining:
                self._waiting.cancel()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_when_gone, nursery.cancel_scope)
                nursery.start_soon(self._send_heartbeats)
                async for chunk in chunks:
                    await self.wire.send_chunk(chunk)
                nursery.cancel_scope.cancel()
        await self.wire.end_stream()

    async def _end_when_gone(self, stream: trio.CancelScope) -> None:
        with suppress(Gone):
            await self._stream.wait_until_gone()
        stream.cancel()

    async def _send_heartbeats(self) -> None:
        while True:
            await trio.sleep(_HEARTBEAT_S)
            await self.wire.send_chunk(_HEARTBEAT)

    async def _linger(self) -> None:
        """Read on until the client has seen the last answer: a close with unread bytes would reset the connection."""
        if not self._is_draining and not self._stream.is_torn:
            self.idle_since, self._begun_at, self.is_over = trio.current_time(), math.inf, True
            with trio.move_on_after(_LINGER_S) as self._waiting:
                self._stream.send_fin()
                await self._stream.wait_until_gone()


def _is_gone(error: Exception) -> bool:
    """Whether nothing is wrong but that the client has gone, or does not read."""
    if isinstance(error, ExceptionGroup):
        return all(map(_is_gone, error.exceptions))
    return isinstance(error, (Gone, TooSlow))
