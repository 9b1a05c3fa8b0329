"""One direction of one connection, and the circuit that two of them make.

A lane reads its source and sends to its sink. What the sink does not take at once is kept, and the
source is not read until it is gone: at most one buffer a lane, and a slow reader holds its sender back.
EOF is passed on as FIN, and a reset is left to the circuit's owner, who may want the data delivered first.
"""

import select
import socket
from typing import Protocol

import trio

from faultproxy.kernel import sockets

BUFFER_SIZE = 256 * 1024
UNLIMITED = 1 << 62
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Board(Protocol):
    """What lanes need of the switchboard."""

    buffer: memoryview
    woken: bool

    def watch(self, end: "End", events: int) -> None:
        """Be told of these events at this end from now on."""

    def ignore(self, end: "End") -> None:
        """Be told of nothing, not even of errors, until the next watch."""

    def drop(self, end: "End") -> None:
        """Forget the end."""


class End:
    """One peer's socket, the lane that reads it and the lane that sends to it."""

    __slots__ = ("broken", "fd", "incoming", "is_watched", "outgoing", "recv_into", "send", "sock", "wants")

    incoming: "Lane"
    outgoing: "Lane"

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.recv_into = sock.recv_into
        self.send = sock.send
        self.wants = 0
        self.is_watched = False
        self.broken = False


class Lane:
    """Carries bytes from its source to its sink.

    ``delivered`` counts the bytes that the sink's kernel has taken. ``limit`` is how many it may take
    before the owner is woken: nothing beyond is read, so that a byte trigger is exact.
    """

    __slots__ = ("backlog", "board", "circuit", "delivered", "ended", "limit", "shut", "sink", "source", "taken")

    def __init__(self, board: Board, circuit: "Circuit", source: End, sink: End) -> None:
        self.board = board
        self.circuit = circuit
        self.source = source
        self.sink = sink
        self.backlog: memoryview | None = None
        self.taken = 0
        self.delivered = 0
        self.limit = UNLIMITED
        self.ended = False
        self.shut = False

    def pump(self) -> None:
        """Read once from the source and send it on."""
        room = self.limit - self.taken
        if room > BUFFER_SIZE:
            room = BUFFER_SIZE
        board = self.board
        try:
            count = self.source.recv_into(board.buffer, room)
        except BlockingIOError:
            return
        except OSError:
            self._source_reset()
            return
        if not count:
            self._source_ended()
            return
        if self.shut:
            return
        self.taken += count
        try:
            sent = self.sink.send(board.buffer[:count])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._sink_broke()
            return
        self.delivered += sent
        if sent != count:
            self.backlog = memoryview(bytes(board.buffer[sent:count]))
            self._pause()
            board.watch(self.sink, self.sink.wants | _OUT)
        elif self.taken == self.limit:
            self._pause()
            self.circuit.wake()

    def flush(self) -> None:
        """Send what was kept; when all of it is gone, read on."""
        assert self.backlog is not None
        try:
            sent = self.sink.send(self.backlog)
        except BlockingIOError:
            return
        except OSError:
            self._sink_broke()
            return
        self.delivered += sent
        if sent < len(self.backlog):
            self.backlog = self.backlog[sent:]
            return
        self._drop_backlog()
        if self.taken == self.limit:
            self.circuit.wake()
        elif not self.ended:
            self._resume()

    def set_limit(self, limit: int) -> None:
        """Wake the owner once ``limit`` bytes in all have been delivered; beyond what is delivered already."""
        self.limit = max(limit, self.taken)
        if self.backlog is None and not self.ended and self.circuit.started:
            if self.taken < self.limit:
                self._resume()
            else:
                self._pause()

    def shut_down(self) -> None:
        """Send FIN to the sink, drop what is kept, and throw away what the source still sends."""
        if self.backlog is not None:
            self._drop_backlog()
        sockets.shut_write(self.sink.sock)
        self.shut = True
        self.limit = UNLIMITED
        if not self.ended and self.circuit.started:
            self._resume()

    def source_failed(self, events: int) -> None:
        """The source has an error or has hung up while this lane does not read it."""
        if self.ended and events & select.EPOLLERR and sockets.take_error(self.source.sock):
            self._source_reset()
        else:
            self.board.ignore(self.source)  # reported for ever; reading on, if it comes to that, finds it again

    def _source_ended(self) -> None:
        if self.source.broken:
            self._source_reset()
            return
        self.ended = True
        self._pause()
        if not self.shut:
            sockets.shut_write(self.sink.sock)
        self.circuit.lane_ended(self)

    def _source_reset(self) -> None:
        self.ended = True
        self.board.ignore(self.source)
        self.circuit.end_broke(self.source)

    def _sink_broke(self) -> None:
        # The sink may have sent data before it broke: its own lane reads that out, then finds the end.
        self.sink.broken = True
        if self.backlog is not None:
            self._drop_backlog()
        self._pause()
        if self.sink.incoming.ended:
            self.circuit.end_broke(self.sink)

    def _drop_backlog(self) -> None:
        self.backlog = None
        self.board.watch(self.sink, self.sink.wants & ~_OUT)

    def _pause(self) -> None:
        self.board.watch(self.source, self.source.wants & ~_IN)

    def _resume(self) -> None:
        self.board.watch(self.source, self.source.wants | _IN)


class Circuit:
    """Two lanes between a client and a server, and the task that owns them.

    ``broken`` is the end that was reset first. ``first_ended`` is the lane whose source sent EOF first.
    """

    __slots__ = ("_board", "_news", "_task", "broken", "client", "downstream", "first_ended", "server", "started", "upstream")

    def __init__(self, board: Board, client: socket.socket, server: socket.socket) -> None:
        self._board = board
        self._task: trio.lowlevel.Task | None = None
        self._news = False
        self.started = False
        self.client = End(client)
        self.server = End(server)
        self.broken: End | None = None
        self.first_ended: Lane | None = None
        self.upstream = self.client.incoming = self.server.outgoing = Lane(board, self, self.client, self.server)
        self.downstream = self.server.incoming = self.client.outgoing = Lane(board, self, self.server, self.client)

    def start(self) -> None:
        """Let the bytes flow, as far as the lanes' limits allow. Once started, nothing more."""
        if self.started:
            return
        self.started = True
        for lane in (self.upstream, self.downstream):
            self._board.watch(lane.source, _IN if lane.taken < lane.limit else 0)

    def disconnect(self) -> None:
        """Stop for good. The sockets stay open: their owner ends them as it sees fit."""
        self._board.drop(self.client)
        self._board.drop(self.server)

    @property
    def finished(self) -> bool:
        """Whether both directions have come to their end in peace."""
        return self.upstream.ended and self.downstream.ended

    async def changed(self) -> None:
        """Sleep until an end broke, a limit was reached, or both lanes have ended. One task at a time."""
        if not self._news:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._forget_task)
        self._news = False

    def wake(self) -> None:
        """Make changed() return."""
        self._news = True
        self._board.woken = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def lane_ended(self, lane: Lane) -> None:
        """A lane's source sent EOF, and it was passed on."""
        if self.first_ended is None:
            self.first_ended = lane
        if self.finished:
            self.wake()

    def end_broke(self, end: End) -> None:
        """An end was reset."""
        if self.broken is None:
            self.broken = end
        self.wake()

    def _forget_task(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
