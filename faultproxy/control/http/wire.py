"""HTTP/1.1 on one connection: bytes to requests, with h11, and responses to bytes.

h11 reads only, a connection of it for each request: to check and write an answer takes it 50 us, and us 4. What it says
of an error repeats the client's bytes: neither is it sent nor logged.
"""

import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time_ns
from typing import Self
from urllib.parse import parse_qsl

import h11
import trio

from faultproxy.control.http.byte_stream import ByteStream
from faultproxy.control.http.messages import HttpProblem, Request, Response
from faultproxy.control.http.security import HEADERS
from faultproxy.version import __version__

LONGEST_HEAD = 2**16
LONGEST_BODY = 2**21  # every connection waits while the parser has one: one of 8 MiB took 0.4 s
LONGEST_BODIES = 4 * LONGEST_BODY
"""All bodies that are being read or answered at a time."""

_ABSOLUTE = re.compile(r"https?://([^/]*)(/.*)?", re.IGNORECASE)
_LINE_ENDS = b"\r\n"
_PIECES = 100  # of a body that comes in tiny pieces so many are taken at once
_EMPTY = frozenset({204, 304})
_LAST_CHUNK = b"0\r\n\r\n"


class Unanswerable(Exception):
    """The request cannot be understood, or is too large: ``response`` is the last answer."""

    def __init__(self, problem: HttpProblem) -> None:
        super().__init__(problem.title)
        self.response = problem.response()

    @classmethod
    def because(cls, status: int, detail: str) -> Self:
        """With this status."""
        return cls(HttpProblem(status, HTTPStatus(status).phrase, detail))


class Bodies:
    """How many bytes of bodies all connections hold."""

    def __init__(self) -> None:
        self.held = 0


class Wire:
    """One connection."""

    def __init__(self, stream: ByteStream, bodies: Bodies) -> None:
        self._stream = stream
        self._bodies = bodies
        self._http = _reader(b"")
        self._is_head = False  # the request wants no body in its answer
        self._is_last = False  # no request is read after this one
        self._is_chunked = True  # a stream's parts have their lengths, and it has an end
        self._held = 0
        self._turn = trio.Lock()

    def hurry(self) -> None:
        """What is being sent has a second left, and the next answer is the last."""
        self._is_last = True
        self._stream.hurry()

    # ---- reading ----------------------------------------------------------------------------------------------------

    def next_request(self) -> bool:
        """Get ready for another request, if both sides want one; whether they do."""
        self._is_head = False
        if self._http.their_state is not h11.IDLE:
            self._http = _reader(self._http.trailing_data[0])
        return not self._is_last

    async def receive(self, on_begin: Callable[[], object]) -> Request | None:
        """The next request; None if the client has gone. ``on_begin`` is called when a part of it is there.

        Raises Unanswerable. Its body is counted until release().
        """
        if self._http.trailing_data[0]:
            await trio.lowlevel.checkpoint()  # connections do not wait for all that is pipelined
        else:
            self._http.receive_data(await self._first_bytes())
        head: h11.Request | None = None
        body = bytearray()
        pieces = 0
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise _unanswerable(error, head) from None
            if isinstance(event, h11.Request):
                head = event
                self._is_head = head.method == b"HEAD"
                _check(head)
                self._is_chunked = head.http_version != b"1.0"
            elif isinstance(event, h11.Data):
                self._hold(len(event.data))
                body += event.data
                pieces += 1
                if pieces % _PIECES == 0:
                    on_begin()
                    await trio.lowlevel.checkpoint()
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                request = _request(head, bytes(body))
                self._is_last |= not self._is_chunked or _asks_to_close(request)
                return request
            elif event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._stream.send(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
                on_begin()
                self._http.receive_data(await self._stream.receive())
            else:
                return None

    async def _first_bytes(self) -> bytes:
        """What a request begins with. Old clients send an empty line behind a body (RFC 9112, section 2.2)."""
        while data := await self._stream.receive():
            if begun := data.lstrip(_LINE_ENDS):
                return begun
        return data

    def release(self) -> None:
        """The body is not needed any more."""
        self._bodies.held -= self._held
        self._held = 0

    def _hold(self, size: int) -> None:
        self._held += size
        self._bodies.held += size
        if self._held > LONGEST_BODY:
            raise _too_large()
        if self._bodies.held > LONGEST_BODIES:
            raise Unanswerable.because(503, "too much is being sent at the same time; try again")

    # ---- sending: it raises TooSlow, and Gone if the client has gone ------------------------------------------------

    async def refuse(self, response: Response) -> None:
        """Send the last answer, if there may still be one."""
        self.hurry()
        if not self._stream.is_torn:
            await self.respond(response)

    async def respond(self, response: Response) -> None:
        """Send a whole answer; to HEAD, what comes before its body."""
        headers = dict(response.headers)
        if response.status not in _EMPTY:
            headers["content-length"] = str(len(response.body))
        if self._is_last:
            headers["connection"] = "close"
        head = _head(response.status, headers)
        await self._stream.send(head if self._is_head or response.status in _EMPTY else head + response.body)

    async def start_stream(self) -> bool:
        """Send what comes before a stream of events; whether it is to follow: not to HEAD."""
        self._is_last = True
        headers = {"content-type": "text/event-stream", "connection": "close"}
        if self._is_chunked:
            headers["transfer-encoding"] = "chunked"
        await self._stream.send(_head(200, headers))
        return not self._is_head

    async def send_chunk(self, chunk: bytes) -> None:
        """Send a part of a stream; those of several tasks one after the other."""
        async with self._turn:
            if chunk:  # an empty one would be the last
                await self._stream.send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._is_chunked else chunk)

    async def end_stream(self) -> None:
        """Say that it is whole."""
        if self._is_chunked and not self._stream.is_torn:
            await self._stream.send(_LAST_CHUNK)


def _reader(received: bytes) -> h11.Connection:
    """What reads one request, of which so much has come."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
    if begun := received.lstrip(_LINE_ENDS):
        reader.receive_data(begun)
    return reader


def _check(head: h11.Request) -> None:
    if not head.http_version.startswith(b"1."):
        raise Unanswerable.because(505, "this is HTTP/1.1")
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in head.headers}:  # RFC 9112, section 6.1
        raise Unanswerable.because(400, "Content-Length and Transfer-Encoding differ about the body; send one of them")
    length = next((int(value) for name, value in head.headers if name == b"content-length"), 0)
    if length > LONGEST_BODY:
        raise _too_large()


def _unanswerable(error: h11.RemoteProtocolError, head: h11.Request | None) -> Unanswerable:
    if error.error_status_hint == 431:
        if head is not None:
            return Unanswerable.because(400, "the body is not sent as HTTP has it")
        return Unanswerable.because(431, f"the request line and headers are longer than {LONGEST_HEAD // 1024} KiB")
    return Unanswerable.because(400, "this is not a request as HTTP/1.1 has it")


def _too_large() -> Unanswerable:
    return Unanswerable.because(413, f"the body is larger than {LONGEST_BODY >> 20} MiB")


def _request(head: h11.Request, body: bytes) -> Request:
    target, _, query = head.target.decode("ascii").partition("?")
    headers: dict[str, str] = {}
    for name, value in head.headers:
        key, text = name.decode("ascii"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    if absolute := _ABSOLUTE.fullmatch(target):  # as proxies are asked: it is the host that counts
        headers["host"], target = absolute[1], absolute[2] or "/"
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    return Request(head.method.decode("ascii"), target, {}, pairs, headers, body)


def _asks_to_close(request: Request) -> bool:
    return "close" in (option.strip() for option in request.headers.get("connection", "").lower().split(","))


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    """What comes before a body. Raises ValueError if a header would not be one line of ASCII."""
    if not all(map(str.isprintable, headers.values())):
        raise ValueError("a header of the answer has control characters")
    own = {"date": _date(time_ns() // 10**9), "server": f"faultproxy/{__version__}", **HEADERS, **headers}
    lines = "".join([f"{name}: {value}\r\n" for name, value in own.items()])
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n".encode("ascii")


@lru_cache(maxsize=1)
def _date(at_s: int) -> str:
    return formatdate(at_s, usegmt=True)
