"""The link: what endings can do to a connection's two sockets, and what its polite end is."""

import socket
from collections.abc import Callable

import trio

from faultproxy import host
from faultproxy.faults.base import Direction, Side
from faultproxy.kernel import sock_diag, socket_filter, sockets
from faultproxy.relay import Pipe, Poller, Relay

_NO_RST = "a Unix socket cannot be reset: its peer may see EOF"
_READ_OUT_S = 1.0
_NO_PROGRESS_S = 5.0
# libuv reports a clean EOF when it finds data and RST in one wake-up. With the other core busy that was so in 12 of 300
# resets a millisecond after the data, and in none five milliseconds after.
_SETTLE_S = 0.005
_LOOK_AGAIN_S = 0.0005
_LOOK_AGAIN_MOST_S = 0.01


class Link:
    """The sockets of one connection; implements faults.base.Link.

    Owns both sockets from the moment it is given them: whatever happens, abandon() closes them.
    ``on_effect`` is called once an ending, at the moment it takes effect, with the reason if that is less than exact.
    ``drains`` says whether an ending first has everything delivered: so it is when bytes triggered it. One that others
    may follow does not wait for that after ``drains_until``, when the next of them is due.
    """

    def __init__(self, client: socket.socket, poller: Poller) -> None:
        self.client = client
        self.server: socket.socket | None = None
        self.relay: Relay | None = None
        self.is_open = True
        self.drains = False
        self.drains_until = float("inf")
        self.frozen_until: float | None = None
        self.on_effect: Callable[[str | None], None] = _nobody
        self._poller = poller
        self._shut: set[Direction] = set()
        self._news = trio.Event()
        self._is_isolated = False
        self._loss = 0.0
        self._dropped_before = 0
        self._had_lost = False

    @property
    def client_has_eof(self) -> bool:
        """Whether the client was already sent FIN."""
        return Direction.DOWNSTREAM in self._shut or (self.relay is not None and self.relay.downstream.is_done)

    def pipe(self, direction: Direction) -> Pipe | None:
        """The pipe of a direction, once the server has been reached."""
        if self.relay is None:
            return None
        return self.relay.upstream if direction is Direction.UPSTREAM else self.relay.downstream

    def delivered(self, direction: Direction) -> int:
        """Bytes delivered so far."""
        pipe = self.pipe(direction)
        return pipe.bytes_written if pipe is not None else 0

    def join(self, server: socket.socket) -> Relay:
        """Connect the two peers; the caller starts the relay."""
        self.server = server
        self.relay = Relay(self._poller, self.client, server, self._relay_changed)
        for direction in self._shut:
            self._pipe_of(direction).shut_down()
        if self.frozen_until is not None:
            self.relay.freeze(for_ever=self.frozen_until == float("inf"))
        if self._is_isolated:
            self._filter()
        return self.relay

    async def reset(self, *sides: Side) -> None:
        """RST to these sides, each after its data if the trigger counted bytes; FIN to the other."""
        self._stop()
        struck = [sock for side, sock in self._sockets() if side in sides]
        spared = [sock for side, sock in self._sockets() if side not in sides]
        no_rst = _NO_RST if any(sock.family == socket.AF_UNIX for sock in struck) else None
        for sock in struck:
            undelivered = await self._drain(sock) if self.drains else None
            self._take_effect(undelivered or no_rst)
            sockets.reset(sock)
        self._take_effect(None)
        await self._end_politely(*spared)

    async def abort(self) -> None:
        """ECONNABORTED to the client, after its data if the trigger counted bytes; or else RST. FIN to the server."""
        self._stop()
        undelivered = await self._drain(self.client) if self.drains else None
        try:
            sock_diag.destroy_peer(self.client)
            self._take_effect(undelivered)
        except OSError as error:
            self._take_effect(f"the connection is reset: {host.no_abort(error)}")
        sockets.reset(self.client)
        await self._end_politely(*(sock for side, sock in self._sockets() if side is Side.SERVER))

    def shut(self, direction: Direction) -> None:
        """FIN to the direction's receiver; its sender is read and ignored. A second time it has no effect."""
        if direction in self._shut:
            return
        self._take_effect(None)
        if self.relay is not None:
            self._pipe_of(direction).shut_down()
        elif direction is Direction.DOWNSTREAM:
            sockets.shut_write(self.client)
        self._shut.add(direction)

    async def break_pipe(self) -> None:
        """FIN to the client, and RST as soon as that has left; FIN to the server."""
        self._stop()
        if self.drains:
            undelivered = await self._drain(self.client)
        else:
            undelivered = None
            await trio.sleep(_SETTLE_S)  # or a connect() that is still under way fails with EPIPE itself
        sockets.shut_write(self.client)
        give_up = trio.current_time() + _NO_PROGRESS_S
        while sockets.unsent(self.client) and trio.current_time() < give_up:  # noqa: ASYNC110  # no event tells
            await trio.sleep(_LOOK_AGAIN_S)
        sockets.reset(self.client)  # first of all: every microsecond is one in which a write still succeeds
        self._take_effect(undelivered)
        await self._end_politely(*(sock for side, sock in self._sockets() if side is Side.SERVER))

    def freeze(self, for_s: float | None) -> None:
        """Move nothing for so long; for ever, until the client resets or keepalive finds it gone."""
        self._take_effect(None)
        self.frozen_until = float("inf") if for_s is None else trio.current_time() + for_s
        if for_s is None:
            sockets.keep_alive(self.client, 30)
        if self.relay is not None:
            self.relay.freeze(for_ever=for_s is None)

    async def isolate(self, for_s: float | None) -> None:
        """As freeze; and once all that was to be delivered is acknowledged, acknowledge nothing any more."""
        tell, self.on_effect = self.on_effect, _nobody
        self.freeze(for_s)
        undelivered: str | None = None
        if self.drains:
            with trio.move_on_at(self.drains_until) as patience:
                undelivered = await self._drain(self.client)
            if patience.cancelled_caught:
                undelivered = "another ending was due before all was acknowledged"
        if not self.is_open:
            return
        if for_s is not None:  # a slow reader must find the silence too, and it begins only now
            self.frozen_until = trio.current_time() + for_s
        self._is_isolated = True
        try:
            self._filter()
            if for_s is None:
                sockets.set_user_timeout(self.client, for_ever=True)  # only a reset comes through the filter
        except OSError as error:
            self._is_isolated = False
            undelivered = f"what is sent is acknowledged: {host.no_filter(error)}"
        tell(undelivered)

    def lose(self, fraction: float) -> str | None:
        """Let this fraction of the client's packets be lost from now on; if that is not possible, why."""
        self._dropped_before = sockets.dropped(self.client)
        self._had_lost = False
        self._loss = fraction
        try:
            self._filter()
        except OSError as error:
            return f"nothing is lost: {host.no_filter(error)}"
        return None

    @property
    def has_lost(self) -> bool:
        """Whether a packet of the client's has been lost."""
        if self._had_lost or self._is_isolated or self.client.fileno() < 0:
            return self._had_lost
        return sockets.dropped(self.client) > self._dropped_before

    def thaw(self) -> None:
        """Every byte goes on its way."""
        if self._is_isolated:
            self._is_isolated = False
            self._dropped_before = sockets.dropped(self.client)
            self._filter()
        self.frozen_until = None
        if self.relay is not None:
            self.relay.thaw()

    async def close(self) -> None:
        """FIN both ways, reading what still comes for up to a second, or until all has been delivered."""
        self._stop()
        self._take_effect(None)
        await self._end_politely(*(sock for _, sock in self._sockets()))

    async def carry_reset(self, broken: Side) -> None:
        """One side was reset: so is the other, after all that had arrived for it."""
        self._stop()
        for side, sock in self._sockets():
            if side is not broken and sockets.unacknowledged(sock):
                await self._drain(sock)
            sockets.reset(sock)

    def finish(self) -> None:
        """Both directions have ended in peace."""
        self._stop()
        for _, sock in self._sockets():
            sock.close()

    def abandon(self) -> None:
        """Reset whatever is still open: a truncated stream must not look like a whole one."""
        self._stop()
        for _, sock in self._sockets():
            sockets.reset(sock)

    async def changed(self) -> None:
        """Wait until a peer reset, a limit was reached, or both directions have ended. One task at a time."""
        await self._news.wait()
        self._news = trio.Event()

    def _relay_changed(self) -> None:
        self._news.set()
        self._poller.yield_soon = True

    def _stop(self) -> None:
        self.is_open = False
        if self.relay is not None:
            self.relay.stop()
        if self._is_isolated and self.client.fileno() >= 0:
            sockets.set_user_timeout(self.client, for_ever=False)  # or the kernel would keep it as long after its close

    def _filter(self) -> None:
        for side, sock in self._sockets():
            if sock.family == socket.AF_UNIX:
                continue
            if self._is_isolated:
                socket_filter.attach(sock, socket_filter.drop_all_but_resets())
            elif side is Side.CLIENT and self._loss:
                socket_filter.attach(sock, socket_filter.drop_some(self._loss))
            else:
                socket_filter.detach(sock)

    def _take_effect(self, degraded: str | None) -> None:
        tell, self.on_effect = self.on_effect, _nobody
        tell(degraded)

    def _sockets(self) -> list[tuple[Side, socket.socket]]:
        pairs = ((Side.CLIENT, self.client), (Side.SERVER, self.server))
        return [(side, sock) for side, sock in pairs if sock is not None and sock.fileno() >= 0]

    def _pipe_of(self, direction: Direction) -> Pipe:
        pipe = self.pipe(direction)
        assert pipe is not None
        return pipe

    async def _drain(self, sock: socket.socket) -> str | None:
        undelivered = await _delivered(sock)
        self._had_lost = self.has_lost  # soon the socket cannot be asked any more
        return undelivered

    async def _end_politely(self, *socks: socket.socket) -> None:
        for sock in socks:
            sockets.shut_write(sock)
        async with trio.open_nursery() as nursery:
            for sock in socks:
                nursery.start_soon(_see_off, sock)
        self._had_lost = self.has_lost
        for sock in socks:
            sockets.end(sock)


def _nobody(_degraded: str | None) -> None:
    """Nobody listens."""


async def _delivered(sock: socket.socket) -> str | None:
    """Wait until the peer's kernel has acknowledged everything, and a moment more; why not, if it did not.

    The kernel offers no event for it, so it is polled, from 0.5 ms on up to 10 ms (an
    acknowledgement may be delayed by 43 ms).
    """
    pause = _LOOK_AGAIN_S
    give_up = trio.current_time() + _NO_PROGRESS_S
    left = sockets.unacknowledged(sock)
    while left and trio.current_time() < give_up:
        await trio.sleep(pause)
        pause = min(pause * 2, _LOOK_AGAIN_MOST_S)
        before, left = left, sockets.unacknowledged(sock)
        if left < before:
            give_up = trio.current_time() + _NO_PROGRESS_S
    await trio.sleep(_SETTLE_S)
    return f"{left} bytes were not acknowledged within {_NO_PROGRESS_S:.0f} s" if left else None


async def _see_off(sock: socket.socket) -> None:
    """Read and throw away for up to a second, and on for as long as the peer still takes what was sent to it.

    Were the socket closed before, the next byte of the peer's would be answered with RST, and the rest be lost.
    """
    left = sockets.unacknowledged(sock)
    give_up = trio.current_time() + _NO_PROGRESS_S
    while True:
        with trio.move_on_after(_READ_OUT_S):
            await _read_out(sock)
            return
        before, left = left, sockets.unacknowledged(sock)
        if left < before:
            give_up = trio.current_time() + _NO_PROGRESS_S
        if not left or trio.current_time() > give_up:
            return


async def _read_out(sock: socket.socket) -> None:
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            if not sock.recv(65536):
                return
        except BlockingIOError:
            continue
        except OSError:
            return
