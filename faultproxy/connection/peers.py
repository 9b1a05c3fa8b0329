"""The two sockets of a connection, and what faults' steps are made of."""

import math
import socket
from collections.abc import Callable

import trio

from faultproxy.connection import host
from faultproxy.connection.packets import PacketFilter
from faultproxy.connection.record import NOTHING_CARRIED, Carried
from faultproxy.faults.base import ClientSees, Direction, Side
from faultproxy.kernel import sock_diag, sockets
from faultproxy.relay import Pipe, Poller, Relay

_CLIENT, _SERVER = Side  # a member that is looked up in its class costs as much as a call
_UPSTREAM, _DOWNSTREAM = Direction
_NO_RST = "a Unix socket cannot be reset: its peer may see EOF"
_NO_PROGRESS_S = 5.0
# libuv reports a clean EOF when it finds data and RST in one wake-up. With the other core busy that was so in 12 of 300
# resets a millisecond after the data, and in none five milliseconds after.
_SETTLE_S = 0.005
_ASK_AFTER_S = 30.0  # in a hang for ever, only keepalive finds that the client is gone
_NEITHER: frozenset[Direction] = frozenset()  # shared: each would take 216 bytes
_POLL_S = 0.0005
_POLL_MOST_S = 0.01


class Peers:
    """The sockets of one connection, and the relay between them; implements faults.base.Peers.

    Owns both sockets from the moment it is given them. ``is_open`` says that bytes may be carried; ``frozen_until``
    until when none is, infinity for ever.
    """

    __slots__ = (
        "_discards",
        "_ended",
        "_keepalive_s",
        "_poller",
        "client",
        "frozen_until",
        "is_open",
        "packets",
        "relay",
        "server",
    )

    def __init__(self, poller: Poller, client: socket.socket) -> None:
        self.client = client
        self.server: socket.socket | None = None
        self.relay: Relay | None = None
        self.packets: PacketFilter | None = None
        self.is_open = True
        self.frozen_until: float | None = None
        self._poller = poller
        self._ended = _NEITHER
        self._discards = _NEITHER
        self._keepalive_s: float | None = None  # of the client's socket, when a hang for ever is over

    def connect(self, server: socket.socket, on_change: Callable[[], None]) -> Relay:
        """Join the client to the server, which is owned from now on. The caller starts the relay, which calls back."""
        self.server = server
        self.relay = relay = Relay(self._poller, self.client, server, on_change)
        for direction in self._ended:
            self.pipe(direction).shut_down()
        for direction in self._discards:
            self.pipe(direction).discard()
        if self.frozen_until is not None:
            relay.freeze(for_ever=self.frozen_until == math.inf)
        if self.packets is not None:
            self.packets.apply(server)
        return relay

    def pipe(self, direction: Direction) -> Pipe:
        """The pipe of a direction. Only once the server has been reached."""
        assert self.relay is not None
        return self.relay.upstream if direction is _UPSTREAM else self.relay.downstream

    def delivered(self, direction: Direction) -> int:
        """How many bytes were delivered so far."""
        return 0 if self.relay is None else self.pipe(direction).bytes_written

    def carried(self) -> Carried:
        """How many bytes came, and were delivered, so far."""
        relay = self.relay
        if relay is None:
            return NOTHING_CARRIED
        up, down = relay.upstream, relay.downstream
        return Carried(up.bytes_read, up.bytes_written, down.bytes_read, down.bytes_written)

    def open_sockets(self) -> list[tuple[Side, socket.socket]]:
        """The sockets that are not closed."""
        pairs = ((_CLIENT, self.client), (_SERVER, self.server))
        return [(side, sock) for side, sock in pairs if sock is not None and sock.fileno() >= 0]

    # ---- faults.base.Peers ------------------------------------------------------------------------------------------

    @property
    def client_has_eof(self) -> bool:
        return _DOWNSTREAM in self._ended or (self.relay is not None and self.relay.downstream.is_done)

    def stop(self) -> None:
        self.is_open = False
        if self.relay is not None:
            self.relay.stop()
        if self.packets is not None and self.packets.is_partition and self.client.fileno() >= 0:
            sockets.set_user_timeout(self.client, for_ever=False)  # or the kernel would keep it as long after its close

    async def flush(self, side: Side, until: float = math.inf) -> str | None:
        sock = self._open(side)
        undelivered = None
        if sock is not None:
            with trio.CancelScope(deadline=until) as patience:
                undelivered = await _flush(sock)
            if patience.cancelled_caught:
                undelivered = "another fault was due before all was acknowledged"
        return undelivered

    async def settle(self) -> None:
        await trio.sleep(_SETTLE_S)

    def fin(self, side: Side) -> None:
        sock = self._open(side)
        if sock is not None:
            sockets.shut_write(sock)

    async def fin_sent(self, side: Side) -> None:
        give_up_at = trio.current_time() + _NO_PROGRESS_S
        while (sock := self._open(side)) is not None and sockets.unsent(sock) and trio.current_time() < give_up_at:  # noqa: ASYNC110
            await trio.sleep(_POLL_S)

    def rst(self, side: Side) -> None:
        sock = self._open(side)
        if sock is not None:
            if self.packets is not None:
                self.packets.lost()  # soon the socket cannot be asked any more
            sockets.reset(sock)

    def why_no_rst(self, side: Side) -> str | None:
        sock = self._open(side)
        return _NO_RST if sock is not None and sock.family == socket.AF_UNIX else None

    def client_on_rst(self) -> ClientSees:
        if self.client_has_eof:
            return "EPIPE"
        if self.client.family != socket.AF_UNIX or self.client.fileno() < 0:
            return "ECONNRESET"
        try:
            return "ECONNRESET" if sockets.peek(self.client, 1) else "EOF"
        except OSError:  # the client itself has gone
            return "EOF"

    def destroy_client(self) -> str | None:
        try:
            sock_diag.destroy_peer(self.client)
        except OSError as error:
            return host.no_abort(error)
        return None

    def end(self, direction: Direction) -> bool:
        if direction in self._ended:
            return False
        if self.relay is not None:
            self.pipe(direction).shut_down()
        elif direction is _DOWNSTREAM:
            sockets.shut_write(self.client)
        self._ended |= {direction}
        return True

    def discard(self, direction: Direction) -> None:
        self._discards |= {direction}
        if self.relay is not None and not self.pipe(direction).is_shut:
            self.pipe(direction).discard()

    def freeze(self, for_s: float | None) -> None:
        if for_s is None and self.frozen_until != math.inf:
            self._keepalive_s = sockets.keepalive(self.client)
            sockets.keep_alive(self.client, _ASK_AFTER_S)
        self.frozen_until = math.inf if for_s is None else trio.current_time() + for_s
        if self.relay is not None:
            self.relay.freeze(for_ever=for_s is None)

    def partition(self) -> str | None:
        self.packets = self.packets or PacketFilter(self.client)
        try:
            self.packets.partition(self.server)
        except OSError as error:
            return host.no_filter(error)
        if self.frozen_until == math.inf:
            sockets.set_user_timeout(self.client, for_ever=True)  # only a reset comes through the filter
        return None

    # -----------------------------------------------------------------------------------------------------------------

    def thaw(self) -> None:
        """End a freeze or a partition: every byte goes on."""
        if self.packets is not None and self.packets.is_partition:
            self.packets.heal(self.server)
            sockets.set_user_timeout(self.client, for_ever=False)
        if self.frozen_until == math.inf:
            sockets.keep_alive(self.client, self._keepalive_s)
        self.frozen_until = None
        if self.relay is not None:
            self.relay.thaw()

    def _open(self, side: Side) -> socket.socket | None:
        sock = self.client if side is _CLIENT else self.server
        return sock if sock is not None and sock.fileno() >= 0 else None


async def _flush(sock: socket.socket) -> str | None:
    """Wait until the peer's kernel has acknowledged everything, and a moment more; why not, if it did not.

    The kernel offers no event for it, so it is polled, from 0.5 ms on up to 10 ms (an
    acknowledgement may be delayed by 43 ms).
    """
    pause = _POLL_S
    give_up_at = trio.current_time() + _NO_PROGRESS_S
    left = sockets.unacknowledged(sock)
    while left and trio.current_time() < give_up_at:
        await trio.sleep(pause)
        pause = min(pause * 2, _POLL_MOST_S)
        before, left = left, sockets.unacknowledged(sock)
        if left < before:
            give_up_at = trio.current_time() + _NO_PROGRESS_S
    await trio.sleep(_SETTLE_S)
    return f"{left} bytes were not acknowledged within {_NO_PROGRESS_S:.0f} s" if left else None
