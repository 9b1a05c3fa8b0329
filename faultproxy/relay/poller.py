"""One trio task serves all sockets: an epoll of its own, whose events become plain calls.

trio waits for the epoll's descriptor; when it wakes, every ready socket is served at once. There is no task switch, no
timeout and no allocation an event. Each socket gets one call a batch of events, so that no connection starves another,
and a batch that has woken a trio task is the last before trio has its turn.

A way through trio costs more than a batch, and bytes seldom come alone: after a batch the task waits in epoll_wait(2)
for up to a millisecond, the least there is, before it goes back to trio. What else must be prompt (accepting,
connecting) therefore waits here too. While bytes flow it stays for 3 ms, or until trio's next timer, which may so be a
millisecond late.

After a batch of one event it asks again for 50 us first: to sleep and be woken takes as long, and one connection gains
80 % in round trips. After others it does not: with 50 connections on two cores the time was the peers', and the 99th
percentile a tenth higher.
"""

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from heapq import heappop, heappush
from time import monotonic

import trio

from faultproxy.kernel.forks import on_fork
from faultproxy.kernel.timerfd import Timer
from faultproxy.relay.memory import BUFFER_SIZE, Memory

_WAIT_S = 0.001
_STAY_S = 0.003
_SPIN_S = 0.00005
_EARLY_S = 0.00015  # the timerfd wakes the task so much before a timer is due, as waking takes about that long
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_FAILED = select.EPOLLERR | select.EPOLLHUP


def _nothing(_events: int = 0) -> None:
    """The callback of an endpoint that needs none."""


class Endpoint:
    """A socket in the poller, and the functions that are called with what happens there. They must not raise.

    ``on_readable`` is called when the endpoint is watched for EPOLLIN and there is something to read, an end or an
    error included; ``on_writable`` when it is watched for EPOLLOUT and there is room. ``on_error`` is called with the
    events when there is an error, or both directions have ended, and the endpoint is not watched for EPOLLIN.
    """

    __slots__ = ("fd", "interest", "is_watched", "on_error", "on_readable", "on_writable", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.interest = 0
        self.is_watched = False
        self.on_readable: Callable[[], None] = _nothing
        self.on_writable: Callable[[], None] = _nothing
        self.on_error: Callable[[int], None] = _nothing


class Poller:
    """Calls endpoints and timers. Use as a context manager; run() is its one task.

    ``buffer`` is what every endpoint may read into while it is called. Whoever makes a trio task runnable while it is
    called sets ``yield_soon``, so that trio has its turn after this batch of events. ``memory_limit`` is how many bytes
    may be held for all endpoints together, see Memory.
    """

    def __init__(self, memory_limit: int | None = None) -> None:
        self.memory = Memory(memory_limit)
        self.buffer = memoryview(bytearray(BUFFER_SIZE))
        self.yield_soon = False
        self._spin_s = _SPIN_S if len(os.sched_getaffinity(0)) > 1 else 0.0  # a lone processor has others to run
        self._epoll = select.epoll()
        self._timer = Timer()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._soon: list[Callable[[], None]] = []
        self._is_serving = False
        self._epoll.register(self._timer.fd, _IN)
        self._endpoints: dict[int, Endpoint] = {}
        self._has_forked = False
        on_fork(self, Poller._before_fork, Poller._close_in_child)

    def __enter__(self) -> "Poller":
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.close()
        self._epoll.close()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Serve until cancelled. A KeyboardInterrupt goes to trio's main task, not to what is being called."""
        poll, get, soon = self._epoll.poll, self._endpoints.get, self._soon
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self._is_serving = True
            self.yield_soon = False
            spare_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
            leave_at = monotonic() + min(_STAY_S, spare_s)
            spin_s = self._spin_s
            while True:
                ready = self._spin(spin_s) if spin_s else poll(_WAIT_S)
                spin_s = self._spin_s if len(ready) == 1 else 0.0
                for fd, events in ready:
                    endpoint = get(fd)
                    if endpoint is None:
                        self._serve_other(fd)
                        continue
                    if events == _IN == endpoint.interest:  # as nearly always
                        endpoint.on_readable()
                        continue
                    if endpoint.interest & _IN and events & ~_OUT:
                        endpoint.on_readable()
                    elif events & _FAILED:
                        endpoint.on_error(events)
                    if events & endpoint.interest & _OUT:
                        endpoint.on_writable()
                if soon:
                    for callback in soon:  # which may add others
                        callback()
                    soon.clear()
                if not ready or self.yield_soon or monotonic() > leave_at:
                    break
            self._is_serving = False

    async def wait(self, sock: socket.socket, events: int) -> None:
        """Wait for EPOLLIN or EPOLLOUT, or an error, at a socket that is not watched."""
        task = trio.lowlevel.current_task()
        endpoint = Endpoint(sock)

        def wake(_events: int = 0) -> None:
            self.ignore(endpoint)
            self.yield_soon = True
            trio.lowlevel.reschedule(task)

        def give_up(_raise_cancel: object) -> trio.lowlevel.Abort:
            self.ignore(endpoint)
            return trio.lowlevel.Abort.SUCCEEDED

        endpoint.on_readable = endpoint.on_writable = endpoint.on_error = wake
        self.watch(endpoint, events)
        await trio.lowlevel.wait_task_rescheduled(give_up)

    def listen(self, sock: socket.socket, on_readable: Callable[[], None]) -> Endpoint:
        """Call a function when there is something to read at a socket, or an error, until the endpoint is ignored."""
        endpoint = Endpoint(sock)
        endpoint.on_readable = on_readable
        self.watch(endpoint, _IN)
        return endpoint

    def watch(self, endpoint: Endpoint, events: int) -> None:
        """Call the endpoint for these events from now on; for errors too, always."""
        if not endpoint.is_watched:
            endpoint.is_watched = True
            self._endpoints[endpoint.fd] = endpoint
            self._epoll.register(endpoint.fd, events)
        elif endpoint.interest != events:
            self._epoll.modify(endpoint.fd, events)
        endpoint.interest = events

    def ignore(self, endpoint: Endpoint) -> None:
        """Call it for nothing, not even for errors, until the next watch."""
        if self._endpoints.get(endpoint.fd) is endpoint:
            del self._endpoints[endpoint.fd]
            self._unregister(endpoint.fd)
            endpoint.is_watched = False
            endpoint.interest = 0

    def forget(self, endpoint: Endpoint) -> None:
        """Call it never again, and let go of its functions.

        Its socket is soon to be closed, which takes it out of the epoll, unless a child of this process may hold the
        socket too (epoll(7), Q6).
        """
        if endpoint.on_readable is _nothing:  # it was forgotten already
            return
        if self._has_forked:
            self.ignore(endpoint)
        elif self._endpoints.get(endpoint.fd) is endpoint:  # a second time the number may be another connection's
            del self._endpoints[endpoint.fd]
        endpoint.interest = 0
        endpoint.on_readable = endpoint.on_writable = endpoint.on_error = _nothing

    def call_at(self, at_s: float, callback: Callable[[], None]) -> None:
        """Call a function, which must not raise, at this moment of time.monotonic(), never before."""
        if not self._timers or at_s < self._timers[0][0]:
            self._timer.set(at_s - _EARLY_S)
        self._timer_count += 1
        heappush(self._timers, (at_s, self._timer_count, callback))

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call a function, which must not raise, after this batch of events and before the next; never from here.

        So it may close sockets: no event that was found before can reach a new socket of the same number. May be called
        by a trio task too: the poller then wakes for it.
        """
        if self._is_serving:
            self._soon.append(callback)
        else:
            self.call_at(0.0, partial(self.call_soon, callback))

    def _spin(self, spin_s: float) -> list[tuple[int, int]]:
        """What comes within a moment, the answer to what was just passed on as a rule; asked for so long first."""
        poll = self._epoll.poll
        spin_until = monotonic() + spin_s
        while not (ready := poll(0)) and monotonic() < spin_until:
            pass
        return ready or poll(_WAIT_S)

    def _serve_other(self, fd: int) -> None:
        if fd != self._timer.fd:
            self._unregister(fd)  # forgotten, and not closed yet
            return
        self._timer.acknowledge()
        leave_at = monotonic() + _EARLY_S
        while self._timers and self._timers[0][0] <= leave_at:
            at_s, _, callback = heappop(self._timers)
            while monotonic() < at_s:
                pass
            callback()
        if self._timers:
            self._timer.set(self._timers[0][0] - _EARLY_S)

    def _before_fork(self) -> None:
        self._has_forked = True

    def _close_in_child(self) -> None:
        """Nothing of this is the child's, which another thread may have made, as in a test."""
        for endpoint in self._endpoints.values():
            endpoint.sock.close()
        self.__exit__()

    def _unregister(self, fd: int) -> None:
        # An event of this batch may speak of what the batch has ended, and a listener may be closed while waited for.
        with suppress(OSError):
            self._epoll.unregister(fd)
