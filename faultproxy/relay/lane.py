"""One direction of one connection.

A lane reads its source and sends to its sink. What cannot leave at once is kept in its queue: what the
sink did not take, and what shapes hold back until it is due. A lane without shapes keeps at most one
buffer, one with shapes what they allow; its source is not read until there is room, so that a slow
reader holds its sender back. EOF and reset go through the queue like data.
"""

import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from time import monotonic
from typing import Protocol

from faultproxy.kernel import sockets

BUFFER_SIZE = 256 * 1024
UNLIMITED = 1 << 62
_MOST_PIECES = 16384  # of whatever size: each costs some 250 bytes beside its own
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class End(Enum):
    """How a source ends: with FIN, or with RST."""

    FIN = "fin"
    RST = "rst"


Bytes = bytes | memoryview
Piece = tuple[float, Bytes | End, bool]
"""What may leave at a moment of time.monotonic(); whether it does so in a segment of its own."""


class Shaper(Protocol):
    """What delays, cuts up or changes the bytes of one lane; times are of time.monotonic().

    ``bite`` is how many bytes it takes at once, ``hold`` how many of them the lane may keep for it.
    """

    @property
    def bite(self) -> int: ...

    @property
    def hold(self) -> int: ...

    def shape(self, now: float, data: bytes) -> Sequence[tuple[float, bytes, bool]]:
        """Pieces in the order in which they leave: due, bytes, and whether in a segment of their own."""

    def end(self, now: float, *, fin: bool) -> float:
        """When the end of the stream, FIN or RST, is due."""


Scan = Callable[[bytes], int | None]
"""Is shown the stream piece by piece, and says at which offset of it something ends, once."""


class Board(Protocol):
    """What lanes need of the switchboard."""

    buffer: memoryview
    woken: bool

    def watch(self, jack: "Jack", events: int) -> None:
        """Be told of these events at this socket from now on."""

    def ignore(self, jack: "Jack") -> None:
        """Be told of nothing, not even of errors, until the next watch."""

    def drop(self, jack: "Jack") -> None:
        """Forget the socket for good: it is about to be closed, or has nothing more to say."""

    def alarm(self, lane: "Lane", at_s: float) -> None:
        """Have the lane flushed at this moment."""


class Circuit(Protocol):
    """What a lane needs of the circuit that it is one half of."""

    client: "Jack"
    started: bool
    is_hung: bool

    def wake(self) -> None:
        """Tell the owner that a limit was reached."""

    def lane_ended(self, lane: "Lane") -> None:
        """The lane's source sent FIN, and it was passed on."""

    def broke(self, jack: "Jack") -> None:
        """The jack's peer has reset, and all that it sent before was passed on."""


class Jack:
    """One peer's socket in the switchboard, the lane that reads it and the lane that sends to it."""

    __slots__ = ("broken", "fd", "incoming", "is_watched", "outgoing", "sock", "wants")

    incoming: "Lane"
    outgoing: "Lane"

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.wants = 0
        self.is_watched = False
        self.broken = False


class Lane:
    """Carries bytes from its source to its sink.

    ``taken`` counts the bytes read, ``delivered`` those that the sink's kernel has taken. ``limit`` is
    how many it may take before the owner is woken: so a byte trigger is exact. ``done`` says that the
    source has ended, ``ended`` that this was passed on.
    """

    __slots__ = (
        "_recv_into", "_send", "alarmed_at", "board", "circuit", "delivered", "done", "ended", "frozen", "is_slow",
        "limit", "queue", "scans", "shaper", "shut", "sink", "source", "taken",
    )  # fmt: skip

    def __init__(self, board: Board, circuit: Circuit, source: Jack, sink: Jack) -> None:
        self.board = board
        self.circuit = circuit
        self.source = source
        self.sink = sink
        self._recv_into = source.sock.recv_into
        self._send = sink.sock.send
        self.is_slow = False
        self.shaper: Shaper | None = None
        self.scans: Sequence[Scan] = ()
        self.queue: deque[Piece] | None = None
        self.alarmed_at = 0.0
        self.taken = 0
        self.delivered = 0
        self.limit = UNLIMITED
        self.done = False
        self.ended = False
        self.shut = False
        self.frozen = False

    def pump(self) -> None:
        """Read once from the source and send it on."""
        if self.is_slow:
            self._pump_slowly()
            return
        room = self.limit - self.taken
        if room > BUFFER_SIZE:
            room = BUFFER_SIZE
        buffer = self.board.buffer
        try:
            count = self._recv_into(buffer, room)
        except BlockingIOError:
            return
        except OSError:
            self._source_done(End.RST)
            return
        if not count:
            self._source_done(End.FIN)
            return
        if self.shut:
            return
        self.taken += count
        try:
            sent = self._send(buffer[:count])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._sink_broke()
            return
        self.delivered += sent
        if sent != count:
            self.queue = deque([(0.0, memoryview(bytes(buffer[sent:count])), False)])
            self._settle(is_blocked=True)
        elif self.taken == self.limit:
            self._settle()
            self.circuit.wake()

    def flush(self) -> None:
        """Send what is due, as far as the sink takes it and the limit allows."""
        is_blocked = False
        queue, now = self.queue, monotonic()
        if self.frozen:
            return
        while queue and self.delivered < self.limit:
            due, data, alone = queue[0]
            if due > now:
                if self.alarmed_at != due:
                    self.alarmed_at = due
                    self.board.alarm(self, due)
                break
            if isinstance(data, End):
                queue.popleft()
                self._pass_on(data)
                continue
            try:
                sent = self._send(data[: self.limit - self.delivered], socket.MSG_EOR if alone else 0)
            except BlockingIOError:
                is_blocked = True
                break
            except OSError:
                self._sink_broke()
                return
            self.delivered += sent
            if sent == len(data):
                queue.popleft()
            else:
                queue[0] = (due, memoryview(data)[sent:], alone)
        if not queue:
            self.queue = None
        if self.delivered == self.limit:
            self.circuit.wake()
        self._settle(is_blocked)

    def set_limit(self, limit: int) -> None:
        """Wake the owner once ``limit`` bytes in all have been delivered; never less than are delivered already."""
        self.limit = max(limit, self.delivered)
        if self.circuit.started:
            self.flush()

    def set_scans(self, scans: Sequence[Scan]) -> None:
        """Show these every byte that is read from now on, as it will be delivered; an end they find is a limit."""
        self.scans = scans
        self.is_slow = self.shaper is not None or bool(scans)

    def set_shaper(self, shaper: Shaper | None) -> None:
        """Shape what is read from now on; what is held already leaves when it is due, in order."""
        self.shaper = shaper
        self.is_slow = shaper is not None or bool(self.scans)
        if self.circuit.started:
            self._settle(is_blocked=bool(self.sink.wants & _OUT))

    def freeze(self) -> None:
        """Read nothing and send nothing."""
        self.frozen = True
        self._settle()

    def thaw(self) -> None:
        """Go on where it was frozen."""
        self.frozen = False
        self.flush()

    def shut_down(self) -> None:
        """Send FIN to the sink, drop what is held, and throw away what the source still sends."""
        self.clear()
        sockets.shut_write(self.sink.sock)
        self.shut = True
        self.limit = UNLIMITED
        if self.done:
            self._pass_on(End.FIN)
        elif self.circuit.started:
            self._settle()

    def clear(self) -> None:
        """Drop what is held, and the shapes."""
        self.queue = None
        self.shaper = None
        self.scans = ()
        self.is_slow = False

    def source_failed(self, events: int) -> None:
        """The source has an error or has hung up while this lane does not read it."""
        if self.frozen and self.circuit.is_hung and self.source is self.circuit.client:
            self.circuit.broke(self.source)
        elif self.done and events & select.EPOLLERR and sockets.take_error(self.source.sock):
            self._source_done(End.RST)
        else:
            self.board.ignore(self.source)  # reported for ever; reading on, if it comes to that, finds it again

    def source_reset(self) -> None:
        """The source was found to be reset, by whoever sent to it."""
        self._source_done(End.RST)

    def _pump_slowly(self) -> None:
        shaper = self.shaper
        try:
            count = self._recv_into(self.board.buffer, BUFFER_SIZE if shaper is None else shaper.bite)
        except BlockingIOError:
            return
        except OSError:
            self._source_done(End.RST)
            return
        if not count:
            self._source_done(End.FIN)
            return
        self.taken += count
        data = bytes(self.board.buffer[:count])
        pieces = [(0.0, data, False)] if shaper is None else shaper.shape(monotonic(), data)
        for scan in self.scans:
            for _, piece, _ in pieces:
                end = scan(piece)
                if end is not None:
                    self.limit = min(self.limit, end)
        self._queue_up(pieces)

    def _queue_up(self, pieces: Sequence[Piece]) -> None:
        if self.queue is None:
            self.queue = deque(pieces)
            self.flush()
        else:  # what is before them is waited for already
            self.queue += pieces
            self._settle(is_blocked=bool(self.sink.wants & _OUT))

    def _settle(self, is_blocked: bool = False) -> None:
        """Watch for just what this lane can go on with."""
        board, source, sink = self.board, self.source, self.sink
        if bool(sink.wants & _OUT) != is_blocked:
            board.watch(sink, sink.wants ^ _OUT)
        if bool(source.wants & _IN) != self.has_room():
            board.watch(source, source.wants ^ _IN)

    def has_room(self) -> bool:
        """Whether there is a point in reading the source."""
        if self.done or self.frozen or self.sink.broken:
            return False
        if self.shaper is not None:
            pieces = len(self.queue) if self.queue is not None else 0
            return self.taken - self.delivered < self.shaper.hold and pieces < _MOST_PIECES
        return not self.queue and self.taken < self.limit

    def _source_done(self, how: End) -> None:
        if self.source.broken:
            how = End.RST
        self.done = True
        if how is End.RST:  # perhaps after its FIN, which may still be held
            self.board.drop(self.source)
        if self.shaper is None and not self.queue:
            self._pass_on(how)
        else:
            now = monotonic()
            due = self.shaper.end(now, fin=how is End.FIN) if self.shaper is not None else now
            self._queue_up([(due, how, False)])

    def _pass_on(self, how: End) -> None:
        if how is End.RST:
            self.ended = True
            self.circuit.broke(self.source)
            return
        if not self.ended:
            self.ended = True
            self._settle()
            if not self.shut:
                sockets.shut_write(self.sink.sock)
            self.circuit.lane_ended(self)

    def _sink_broke(self) -> None:
        # The sink may have sent data before it broke: its own lane reads that out, then finds the end.
        self.sink.broken = True
        self.clear()
        self._settle()
        if self.sink.incoming.done:
            self.sink.incoming.source_reset()
