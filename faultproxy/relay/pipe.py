"""One direction of one connection.

A pipe reads its source and writes to its sink. What cannot leave at once is kept in its queue: what the sink did not
take, and what a shaper holds back until it is due. A pipe without a shaper keeps at most one buffer, one with a shaper
what that allows; its source is not read until there is room, so that a slow reader holds its sender back. FIN and RST
go through the queue like data.
"""

import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from time import monotonic
from typing import Protocol

from faultproxy.kernel import sockets
from faultproxy.relay.memory import BUFFER_SIZE
from faultproxy.relay.poller import Endpoint, Poller

UNLIMITED = 1 << 62
_MOST_PIECES = 16384
_PIECE_SIZE = 250  # what a piece takes beside its bytes, about
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class End(Enum):
    """How a source ends: with FIN, or with RST."""

    FIN = "fin"
    RST = "rst"


FIN, RST = End  # a member that is looked up in its class costs as much as a call

Bytes = bytes | memoryview
Piece = tuple[float, Bytes | End, bool]
"""When it may leave (time.monotonic()), what, and whether it does so in a segment of its own."""

Change = End | MemoryError | None
"""What has happened to a pipe: its source's end was passed on, there was no memory, or its limit was reached."""


class PipeMatcher(Protocol):
    """Is shown the stream piece by piece, at most ``max_read`` bytes at once, and says where its match ends."""

    @property
    def max_read(self) -> int: ...

    def __call__(self, data: bytes) -> int | None:
        """The offset in the stream, once."""


class PipeShaper(Protocol):
    """What delays, cuts up or changes the bytes of one pipe; times are of time.monotonic().

    ``max_read`` is how many bytes it takes at once, ``max_buffered`` how many of them the pipe may keep for it, and
    ``not_before`` when it takes more, if the pipe keeps any. One that ``stalls`` never takes any.
    """

    @property
    def max_read(self) -> int: ...

    @property
    def max_buffered(self) -> int: ...

    @property
    def not_before(self) -> float: ...

    @property
    def stalls(self) -> bool: ...

    def shape(self, now: float, data: bytes) -> Sequence[tuple[float, bytes, bool]]:
        """Pieces in the order in which they leave: due, bytes, and whether in a segment of their own."""

    def end(self, now: float, *, fin: bool) -> float:
        """When the end of the stream, FIN or RST, is due."""


def _nothing(_pipe: "Pipe", _change: Change) -> None:
    """The callback of a pipe without an owner."""


class Pipe:
    """Passes bytes from its source to its sink.

    ``bytes_written`` counts what the sink's kernel has taken. ``limit`` is how many bytes it may pass on before
    ``on_change`` is called: so a byte trigger is exact. ``has_ended`` says that the source has ended, ``is_done`` that
    this was passed on. ``was_reset`` says that the source is known to be reset: its end, when it comes, is RST,
    whatever the kernel says. ``discards`` says that what is read is thrown away. ``reverse`` is the pipe of the other
    direction. ``written_at_s`` is when the last byte left the queue, or was thrown away (time.monotonic()): the last of
    all, where a matcher or a shaper has all of them pass through it.
    """

    __slots__ = (
        "_flush_at", "_held", "_is_started", "_is_transformed", "_matchers", "_max_read", "_memory", "_on_change",
        "_poller", "_queue", "_recv_into", "_report_reset", "_send", "_shaper", "bytes_read", "bytes_written",
        "discards", "has_ended", "is_done", "is_frozen", "is_shut", "limit", "reverse", "sink", "source", "was_reset",
        "written_at_s",
    )  # fmt: skip

    reverse: "Pipe"

    def __init__(
        self, poller: Poller, source: Endpoint, sink: Endpoint, on_change: Callable[["Pipe", Change], None]
    ) -> None:
        self._poller = poller
        self._memory = poller.memory
        self.source = source
        self.sink = sink
        self._on_change = on_change
        self._recv_into = source.sock.recv_into
        self._send = sink.sock.send
        self._shaper: PipeShaper | None = None
        self._matchers: Sequence[PipeMatcher] = ()
        self._is_transformed = False
        self._max_read = BUFFER_SIZE
        self._queue: deque[Piece] | None = None
        self._held = 0
        self._flush_at = 0.0
        self._report_reset = False
        self._is_started = False
        self.bytes_read = 0
        self.bytes_written = 0
        self.written_at_s = 0.0
        self.limit = UNLIMITED
        self.discards = False
        self.has_ended = False
        self.is_done = False
        self.is_shut = False
        self.is_frozen = False
        self.was_reset = False
        source.on_readable = self._read
        source.on_error = self._source_failed
        sink.on_writable = self.flush

    def start(self) -> None:
        """Read the source from now on. Once started, nothing more."""
        if not self._is_started:
            self._is_started = True
            self._poller.watch(self.source, _IN if self.has_room() else 0)

    def flush(self) -> None:
        """Send what is due, as far as the sink takes it and the limit allows."""
        is_blocked = False
        queue, now = self._queue, monotonic()
        if self.is_frozen:
            return
        try:
            while queue and self.bytes_written < self.limit:
                due, data, own_segment = queue[0]
                if due > now:
                    if self._flush_at != due:
                        self._flush_at = due
                        self._poller.call_at(due, self.flush)
                    break
                if isinstance(data, End):
                    queue.popleft()
                    self._pass_on(data)
                    continue
                sent = self._send(data[: self.limit - self.bytes_written], socket.MSG_EOR if own_segment else 0)
                self.bytes_written += sent
                self.written_at_s = now
                if sent == len(data):
                    queue.popleft()
                else:
                    queue[0] = (due, memoryview(data)[sent:], own_segment)
        except BlockingIOError:
            is_blocked = True
        except OSError:
            self._sink_broke()
            return
        except MemoryError as error:
            self._on_change(self, error)
            return
        if not queue:
            self._queue = None
        if self.bytes_written == self.limit:
            self._on_change(self, None)
        self._settle(is_blocked=is_blocked)

    def set_limit(self, limit: int) -> None:
        """Call ``on_change`` once ``limit`` bytes in all are written; never less than are written already."""
        self.limit = max(limit, self.bytes_written)
        self.flush()

    def set_matchers(self, matchers: Sequence[PipeMatcher]) -> None:
        """Show these every byte that is read from now on, as it will be written; an end they find is a limit."""
        self._transform(self._shaper, matchers)

    def set_shaper(self, shaper: PipeShaper | None) -> None:
        """Shape what is read from now on; what is held already leaves when it is due, in order."""
        self._transform(shaper, self._matchers)
        self._settle()

    def freeze(self, *, report_reset: bool = False) -> None:
        """Read nothing and send nothing; ``report_reset``: but call ``on_change`` if the source is reset meanwhile."""
        self.is_frozen = True
        self._report_reset = report_reset
        self._settle(is_blocked=False)

    def thaw(self) -> None:
        """Go on where it was frozen."""
        self.is_frozen = False
        self.flush()

    def shut_down(self) -> None:
        """Send FIN to the sink, drop what is held, and throw away what the source still sends."""
        self.clear()
        sockets.shut_write(self.sink.sock)
        self.is_shut = self.discards = True
        self.limit = UNLIMITED
        if self.has_ended:
            self._pass_on(FIN)
        else:
            self._settle()

    def discard(self) -> None:
        """Throw away what is held and what the source still sends; its end is passed on when it would be."""
        self.discards = True
        self.bytes_read = self.bytes_written
        self._queue = deque(piece for piece in self._queue or () if isinstance(piece[1], End)) or None
        self._settle()
        self.flush()

    def hurry(self, by_s: float) -> None:
        """Let what is held leave so much earlier than it would, though not before now."""
        if self._queue:
            now = monotonic()
            self._queue = deque((min(due, max(now, due - by_s)), data, own) for due, data, own in self._queue)
            self.flush()

    def clear(self) -> None:
        """Drop what is held, the shaper and the matchers."""
        self._queue = None
        self._transform(None, ())
        self._settle(is_blocked=False)

    def stop(self) -> None:
        """Move nothing any more, once and for all, and drop what is held.

        Refers to nobody who refers to it either: what is left of a connection is freed at once, not searched for.
        """
        self._poller.forget(self.source)
        self.is_frozen = True  # a timer may still be set; the descriptor may soon be another's
        if self._is_transformed or self._queue:
            self.clear()
        self._on_change = _nothing
        del self.reverse

    def has_room(self) -> bool:
        """Whether there is a point in reading the source."""
        if not self._is_started or self.has_ended or self.is_frozen or self.reverse.was_reset:
            return False
        shaper = self._shaper
        if shaper is None or not self._queue:
            return not self._queue and self.bytes_read < self.limit and (shaper is None or not shaper.stalls)
        held = self.bytes_read - self.bytes_written
        if held >= shaper.max_buffered or len(self._queue) >= _MOST_PIECES or self._memory.is_full:
            return False
        return not shaper.not_before or shaper.not_before <= monotonic()

    def _transform(self, shaper: PipeShaper | None, matchers: Sequence[PipeMatcher]) -> None:
        self._shaper = shaper
        self._matchers = matchers
        self._is_transformed = shaper is not None or bool(matchers)
        self._max_read = min([matcher.max_read for matcher in matchers], default=BUFFER_SIZE)

    def _read(self) -> None:
        """Read once from the source and send it on."""
        try:
            if self._is_transformed:
                self._read_transformed()
                return
            room = self._memory.max_read
            if room > self.limit - self.bytes_read:
                room = self.limit - self.bytes_read
            buffer = self._poller.buffer
            try:
                count = self._recv_into(buffer, room)
            except BlockingIOError:
                return
            except OSError:
                count = -1
            if count <= 0:
                self._source_ended(RST if count else FIN)
                return
            if self.discards:
                return
            self.bytes_read += count
            try:
                sent = self._send(buffer[:count])
            except BlockingIOError:
                sent = 0
            except OSError:
                self._sink_broke()
                return
            self.bytes_written += sent
            if sent != count:
                self._queue = deque([(0.0, memoryview(bytes(buffer[sent:count])), False)])
                self._settle(is_blocked=True)
            elif self.bytes_read == self.limit:
                self._settle()
                self._on_change(self, None)
        except MemoryError as error:
            self._on_change(self, error)

    def _read_transformed(self) -> None:
        shaper = self._shaper
        if shaper is not None and not self.has_room():  # memory has become full since
            self._settle()
            return
        try:
            most = self._max_read if shaper is None else min(self._max_read, shaper.max_read)
            count = self._recv_into(self._poller.buffer, min(most, self._memory.max_read))
        except BlockingIOError:
            return
        except OSError:
            count = -1
        if count <= 0:
            self._source_ended(RST if count else FIN)
            return
        if self.discards:
            self.written_at_s = monotonic()
            return
        self.bytes_read += count
        data = bytes(self._poller.buffer[:count])
        now = monotonic()
        pieces = [(0.0, data, False)] if shaper is None else shaper.shape(now, data)
        if self._matchers:
            written = data if shaper is None else b"".join(piece for _, piece, _ in pieces)
            for matcher in self._matchers:
                end = matcher(written)
                if end is not None:
                    self.limit = min(self.limit, end)
        self._enqueue(pieces)
        if shaper is not None and self._queue and shaper.not_before > now and shaper.not_before != self._queue[0][0]:
            self._poller.call_at(shaper.not_before, self._settle)  # no piece leaves just then, which would settle too

    def _enqueue(self, pieces: Sequence[Piece]) -> None:
        if self._queue is None:
            self._queue = deque(pieces)
            self.flush()
        else:  # what is before them is waited for already
            self._queue += pieces
            self._settle()

    def _settle(self, *, is_blocked: bool | None = None) -> None:
        """Count what is held, and watch for just what this pipe can go on with; None: the sink is as it was."""
        source, sink = self.source, self.sink
        held = self.bytes_read - self.bytes_written + _PIECE_SIZE * len(self._queue) if self._queue else 0
        if held != self._held:
            more, self._held = held - self._held, held
            self._memory.add(more)
        if self._memory.is_full and self._queue and self._shaper is not None:
            self._memory.wait(self._settle)
        if is_blocked is not None and bool(sink.interest & _OUT) != is_blocked:
            self._poller.watch(sink, sink.interest ^ _OUT)
        if bool(source.interest & _IN) != self.has_room():
            self._poller.watch(source, source.interest ^ _IN)

    def _source_failed(self, events: int) -> None:
        """The source has an error, or both its directions have ended, while it is not read."""
        stalls = self._shaper is not None and self._shaper.stalls and events & select.EPOLLERR
        if (self.is_frozen and self._report_reset) or stalls:
            self._on_change(self, RST)
        elif self.has_ended and events & select.EPOLLERR and sockets.take_error(self.source.sock):
            self._source_ended(RST)
        else:
            self._poller.ignore(self.source)  # reported for ever; reading on, if it comes to that, finds it again

    def _source_ended(self, how: End) -> None:
        if self.was_reset:
            how = RST
        self.has_ended = True
        if how is RST:  # perhaps after its FIN, which may still be held
            self._poller.forget(self.source)
        if self._shaper is None and not self._queue:
            self._pass_on(how)
        else:
            now = monotonic()
            due = self._shaper.end(now, fin=how is FIN) if self._shaper is not None else now
            self._enqueue([(due, how, False)])

    def _pass_on(self, how: End) -> None:
        if how is RST:
            self.is_done = True
            self._on_change(self, how)
        elif not self.is_done:
            self.is_done = True
            self._settle()
            if not self.is_shut:
                sockets.shut_write(self.sink.sock)
            self._on_change(self, how)

    def _sink_broke(self) -> None:
        # The sink may have sent data before it broke: the other pipe reads that, then finds the end.
        self.reverse.was_reset = True
        self.clear()
        if self.reverse.has_ended:
            self.reverse._source_ended(RST)  # noqa: SLF001  # it does not read its source any more
