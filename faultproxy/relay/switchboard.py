"""One task for all bytes: an epoll of its own, served with plain calls.

trio waits for the epoll's descriptor; when it wakes, every ready socket is served at once. There is no
task switch, no timeout and no allocation an event. Each socket gets one read a round, so that no
connection starves another, and a round that has woken a task is the last before trio has its turn.

A way through trio costs more than a round, and bytes seldom come alone: after a round the task lingers in
epoll_wait(2) for up to a millisecond, the least there is, before it goes back to trio. What else must be
prompt (accepting, connecting) therefore waits here too. While bytes flow it stays for 3 ms, or until trio's
next timer, which may so be a millisecond late.

After a round that had one socket to serve it asks again for 50 us first: to sleep and be woken takes as long,
and one connection gains 80 % in round trips. After others it does not: with 50 connections on two cores the
time was the peers', and the 99th percentile a tenth higher.
"""

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from time import monotonic

import trio

from faultproxy.kernel.timerfd import Timer
from faultproxy.relay.bell import Bell
from faultproxy.relay.circuit import Circuit
from faultproxy.relay.lane import BUFFER_SIZE, Jack, Lane

_LINGER_S = 0.001
_STAY_S = 0.003
_SPIN_S = 0.00005
_EARLY_S = 0.00015  # a timer wakes the task so much before an alarm, as waking takes about that long
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_FAILED = select.EPOLLERR | select.EPOLLHUP


class Switchboard:
    """Moves the bytes of all circuits. Use as a context manager; run() is its one task."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(BUFFER_SIZE))
        self.woken = False
        self._spin_s = _SPIN_S if len(os.sched_getaffinity(0)) > 1 else 0.0  # a lone processor has others to run
        self._epoll = select.epoll()
        self._timer = Timer()
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._alarm_count = 0
        self._epoll.register(self._timer.fd, _IN)
        self._jacks: dict[int, Jack | Bell] = {}

    def __enter__(self) -> "Switchboard":
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.close()
        self._epoll.close()

    def connect(self, client: socket.socket, server: socket.socket) -> Circuit:
        """Join two non-blocking sockets. The caller starts the circuit, disconnects it, and closes the sockets."""
        return Circuit(self, client, server)

    async def run(self) -> None:
        """Serve until cancelled."""
        poll, get = self._epoll.poll, self._jacks.get
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self.woken = False
            spare_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
            leave_at = monotonic() + min(_STAY_S, spare_s)
            spin_s = self._spin_s
            while True:
                ready = poll(0) or self._linger(spin_s)
                spin_s = self._spin_s if len(ready) == 1 else 0.0
                for fd, events in ready:
                    jack = get(fd)
                    if jack is None:
                        self._serve_other(fd)
                        continue
                    if events == _IN == jack.wants:  # as nearly always
                        jack.incoming.pump()
                        continue
                    if jack.wants & _IN and events & ~_OUT:
                        jack.incoming.pump()
                    elif events & _FAILED:
                        jack.incoming.source_failed(events)
                    if events & jack.wants & _OUT:
                        jack.outgoing.flush()
                if not ready or self.woken or monotonic() > leave_at:
                    break

    async def wait(self, sock: socket.socket, events: int) -> None:
        """Wait for EPOLLIN or EPOLLOUT at a socket that is no circuit's, as promptly as circuits are served."""
        task = trio.lowlevel.current_task()

        def ring() -> None:
            self.ignore(bell)
            self.woken = True
            trio.lowlevel.reschedule(task)

        def forget(_raise_cancel: object) -> trio.lowlevel.Abort:
            self.ignore(bell)
            return trio.lowlevel.Abort.SUCCEEDED

        bell = Bell(sock, ring)
        self.watch(bell, events)
        await trio.lowlevel.wait_task_rescheduled(forget)

    def listen(self, sock: socket.socket, hear: Callable[[], None]) -> Bell:
        """Call a function, which must not raise, whenever there is something to read at a socket that is no circuit's.

        Until the bell is ignored. If it starts a task, it says ``woken``, so that trio soon has its turn.
        """
        bell = Bell(sock, hear)
        self.watch(bell, _IN)
        return bell

    def watch(self, jack: Jack | Bell, events: int) -> None:
        """Be told of these events at this end from now on; of errors too, always."""
        if not jack.is_watched:
            jack.is_watched = True
            self._jacks[jack.fd] = jack
            self._epoll.register(jack.fd, events)
        elif jack.wants != events:
            self._epoll.modify(jack.fd, events)
        jack.wants = events

    def ignore(self, jack: Jack | Bell) -> None:
        """Be told of nothing, not even of errors, until the next watch."""
        if self._jacks.get(jack.fd) is jack:
            del self._jacks[jack.fd]
            self._unregister(jack.fd)
            jack.is_watched = False
            jack.wants = 0

    def drop(self, jack: Jack | Bell) -> None:
        """Forget the jack for good. Closing its socket is what takes it out of the epoll."""
        if self._jacks.get(jack.fd) is jack:  # a second time the number may be another connection's
            del self._jacks[jack.fd]
        jack.wants = 0

    def alarm(self, lane: Lane, at_s: float) -> None:
        """Have the lane flushed at this moment of time.monotonic()."""
        self.call_at(at_s, lane.flush)

    def call_at(self, at_s: float, callback: Callable[[], None]) -> None:
        """Call a function, which must not raise, at this moment of time.monotonic(), never before."""
        if not self._alarms or at_s < self._alarms[0][0]:
            self._timer.set(at_s - _EARLY_S)
        self._alarm_count += 1
        heappush(self._alarms, (at_s, self._alarm_count, callback))

    def _linger(self, spin_s: float) -> list[tuple[int, int]]:
        """What comes within a moment, the answer to what was just passed on as a rule."""
        poll = self._epoll.poll
        spin_until = monotonic() + spin_s
        while monotonic() < spin_until:
            ready = poll(0)
            if ready:
                return ready
        return poll(_LINGER_S)

    def _serve_other(self, fd: int) -> None:
        if fd != self._timer.fd:
            self._unregister(fd)  # disconnected, and not closed yet
            return
        self._timer.acknowledge()
        leave_at = monotonic() + _EARLY_S
        while self._alarms and self._alarms[0][0] <= leave_at:
            at_s, _, callback = heappop(self._alarms)
            while monotonic() < at_s:
                pass
            callback()
        if self._alarms:
            self._timer.set(self._alarms[0][0] - _EARLY_S)

    def _unregister(self, fd: int) -> None:
        # An event of this round may speak of what the round has ended, and a listener may be closed while waited for.
        with suppress(OSError):
            self._epoll.unregister(fd)
