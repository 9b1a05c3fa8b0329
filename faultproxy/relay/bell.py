"""A task that waits, through the switchboard, for a socket that no circuit has."""

import socket
from typing import Protocol

import trio


class Board(Protocol):
    """What a bell needs of the switchboard."""

    woken: bool

    def ignore(self, jack: "Bell") -> None:
        """Be told of nothing more."""


class Bell:
    """Rings once, whatever happens at the socket; the switchboard takes it for a jack."""

    __slots__ = ("_board", "_task", "fd", "is_watched", "wants")

    def __init__(self, board: Board, sock: socket.socket) -> None:
        self._board = board
        self._task = trio.lowlevel.current_task()
        self.fd = sock.fileno()
        self.wants = 0
        self.is_watched = False

    @property
    def incoming(self) -> "Bell":
        """Who is told that there is something to read."""
        return self

    @property
    def outgoing(self) -> "Bell":
        """Who is told that there is room to write."""
        return self

    def pump(self) -> None:
        """Wake the task."""
        self._board.ignore(self)
        self._board.woken = True
        trio.lowlevel.reschedule(self._task)

    def flush(self) -> None:
        """Wake the task."""
        self.pump()

    def source_failed(self, _events: int) -> None:
        """Wake the task."""
        self.pump()

    def forget(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        """The task no longer waits."""
        self._board.ignore(self)
        return trio.lowlevel.Abort.SUCCEEDED
