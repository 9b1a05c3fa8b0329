"""One task for all bytes: an epoll of its own, served with plain calls.

trio waits for the epoll's descriptor; when it wakes, every ready socket is served at once. There is no
task switch, no timeout and no allocation an event. Each socket gets one read a round, so that no
connection starves another, and tasks that a round has woken run before the next.

A way through trio costs more than a round, and bytes seldom come alone: after a round the task lingers
in epoll_wait(2) for up to a millisecond, the least there is, before it goes back to trio. What else
must be prompt (accepting, connecting) therefore waits here too; trio's own timers may be 1.5 ms late
while bytes flow.
"""

import select
import socket
from contextlib import suppress
from time import monotonic

import trio

from faultproxy.relay.bell import Bell
from faultproxy.relay.lane import BUFFER_SIZE, Circuit, End

_LINGER_S = 0.001
_STAY_S = 0.0005
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_FAILED = select.EPOLLERR | select.EPOLLHUP


class Switchboard:
    """Moves the bytes of all circuits. Use as a context manager; run() is its one task."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(BUFFER_SIZE))
        self.woken = False
        self._epoll = select.epoll()
        self._ends: dict[int, End | Bell] = {}

    def __enter__(self) -> "Switchboard":
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()

    def connect(self, client: socket.socket, server: socket.socket) -> Circuit:
        """Join two non-blocking sockets. The caller starts the circuit, disconnects it, and closes the sockets."""
        return Circuit(self, client, server)

    async def run(self) -> None:
        """Serve until cancelled."""
        poll, ends = self._epoll.poll, self._ends
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self.woken = False
            leave_at = monotonic() + _STAY_S
            while True:
                ready = poll(_LINGER_S)
                for fd, events in ready:
                    end = ends.get(fd)
                    if end is None:
                        self._unregister(fd)
                        continue
                    if end.wants & _IN and events & ~_OUT:
                        end.incoming.pump()
                    elif events & _FAILED:
                        end.incoming.source_failed(events)
                    if events & end.wants & _OUT:
                        end.outgoing.flush()
                if not ready or self.woken or monotonic() > leave_at:
                    break

    async def wait(self, sock: socket.socket, events: int) -> None:
        """Wait for EPOLLIN or EPOLLOUT at a socket that is no circuit's, as promptly as circuits are served."""
        bell = Bell(self, sock)
        self.watch(bell, events)
        await trio.lowlevel.wait_task_rescheduled(bell.forget)

    def watch(self, end: End | Bell, events: int) -> None:
        """Be told of these events at this end from now on; of errors too, always."""
        if not end.is_watched:
            end.is_watched = True
            self._ends[end.fd] = end
            self._epoll.register(end.fd, events)
        elif end.wants != events:
            self._epoll.modify(end.fd, events)
        end.wants = events

    def ignore(self, end: End | Bell) -> None:
        """Be told of nothing, not even of errors, until the next watch."""
        if self._ends.pop(end.fd, None) is not None:
            self._unregister(end.fd)
            end.is_watched = False
            end.wants = 0

    def drop(self, end: End | Bell) -> None:
        """Forget the end. Closing its socket is what takes it out of the epoll."""
        self._ends.pop(end.fd, None)

    def _unregister(self, fd: int) -> None:
        with suppress(FileNotFoundError):  # an event of this round may speak of what the round has ended
            self._epoll.unregister(fd)
