"""The two lanes of one connection, and the task that owns them."""

import select
import socket

import trio

from faultproxy.relay.lane import Board, Jack, Lane


class Circuit:
    """Two lanes between a client and a server, and the task that owns them.

    ``broken`` is the jack whose peer reset first. ``first_ended`` is the lane whose source sent FIN first.
    """

    __slots__ = (
        "_board",
        "_news",
        "_task",
        "broken",
        "client",
        "downstream",
        "first_ended",
        "is_hung",
        "server",
        "started",
        "upstream",
    )

    def __init__(self, board: Board, client: socket.socket, server: socket.socket) -> None:
        self._board = board
        self._task: trio.lowlevel.Task | None = None
        self._news = False
        self.started = False
        self.is_hung = False
        self.client = Jack(client)
        self.server = Jack(server)
        self.broken: Jack | None = None
        self.first_ended: Lane | None = None
        self.upstream = self.client.incoming = self.server.outgoing = Lane(board, self, self.client, self.server)
        self.downstream = self.server.incoming = self.client.outgoing = Lane(board, self, self.server, self.client)

    def start(self) -> None:
        """Let the bytes flow, as far as the lanes' limits allow. Once started, nothing more."""
        if not self.started:
            self.started = True
            for lane in (self.upstream, self.downstream):
                self._board.watch(lane.source, select.EPOLLIN if lane.has_room() else 0)

    def freeze(self, *, for_ever: bool) -> None:
        """Move nothing. If it is for ever, only a reset of the client's ends it."""
        self.is_hung = for_ever
        self.upstream.freeze()
        self.downstream.freeze()

    def thaw(self) -> None:
        """Move again, from where it stopped."""
        self.upstream.thaw()
        self.downstream.thaw()

    def disconnect(self) -> None:
        """Stop for good. The sockets stay open: their owner ends them as it sees fit."""
        for jack in (self.client, self.server):
            self._board.drop(jack)
            jack.outgoing.clear()
            jack.outgoing.frozen = True  # an alarm may still be set; the descriptor may soon be another's

    @property
    def finished(self) -> bool:
        """Whether both directions have come to their end in peace."""
        return self.upstream.ended and self.downstream.ended

    async def changed(self) -> None:
        """Sleep until a peer reset, a limit was reached, or both lanes have ended. One task at a time."""
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
        """A lane's source sent FIN, and it was passed on."""
        if self.first_ended is None:
            self.first_ended = lane
        if self.finished:
            self.wake()

    def broke(self, jack: Jack) -> None:
        """A peer has reset, and all that it sent before was passed on."""
        if self.broken is None:
            self.broken = jack
        self.wake()

    def _forget_task(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
