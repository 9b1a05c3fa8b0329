"""What a socket filter keeps from a connection's two sockets: some packets (loss), or all of them (a partition)."""

import errno
import os
import socket
from collections.abc import Collection, Iterator

from faultproxy.faults.base import Direction
from faultproxy.kernel import socket_filter, sockets


class _Filtered:
    """One of the two sockets: which fraction of its packets is dropped, and whether any was since that was set."""

    __slots__ = ("_dropped_before", "fraction", "had_lost", "sock")

    def __init__(self, sock: socket.socket, fraction: float) -> None:
        self.sock = sock
        self.lose(fraction)

    def lose(self, fraction: float) -> None:
        self.fraction = fraction
        self.had_lost = False
        self.forget()

    def forget(self) -> None:
        """Count from now on."""
        self._dropped_before = sockets.dropped(self.sock)

    def look(self) -> bool:
        self.had_lost = self.had_lost or sockets.dropped(self.sock) > self._dropped_before
        return self.had_lost


class PacketFilter:
    """The filters on one connection's sockets. The client's comes first; the server's once there is one.

    The client's packets go ``upstream``, the server's ``downstream``. Sockets that are closed are passed over; so is
    the server's if it is a Unix socket, which knows no packets. For a client's the kernel drops none: OSError
    (EAFNOSUPPORT).
    """

    __slots__ = ("_fractions", "_sockets", "is_partition")

    def __init__(self, client: socket.socket) -> None:
        self.is_partition = False
        self._fractions = dict.fromkeys(Direction, 0.0)
        self._sockets = {Direction.UPSTREAM: _Filtered(client, 0.0)}

    def lose(self, upstream: float, downstream: float, server: socket.socket | None) -> None:
        """Drop these fractions of the peers' packets from now on. Raises OSError where that is not possible."""
        self._check_packets()
        self._set_fractions(upstream, downstream)
        try:
            if downstream and server is None:
                socket_filter.check()  # it must be known now: when the server is reached it is too late to say so
            self.apply(server)
        except OSError:
            self._set_fractions(0.0, 0.0)
            raise

    def partition(self, server: socket.socket | None) -> None:
        """Drop every packet from now on but resets. Raises OSError where that is not possible."""
        self._check_packets()
        self.is_partition = True
        try:
            self.apply(server)
        except OSError:
            self.is_partition = False
            raise

    def _check_packets(self) -> None:
        if self._sockets[Direction.UPSTREAM].sock.family == socket.AF_UNIX:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    def heal(self, server: socket.socket | None) -> None:
        """End the partition. Raises OSError."""
        self.is_partition = False
        for _, filtered in self._open():
            filtered.forget()
        self.apply(server)

    def apply(self, server: socket.socket | None) -> None:
        """Put on each socket the filter that it is to have. Raises OSError."""
        if server is not None and server.fileno() >= 0 and server.family != socket.AF_UNIX:
            fraction = self._fractions[Direction.DOWNSTREAM]
            self._sockets.setdefault(Direction.DOWNSTREAM, _Filtered(server, fraction))
        for _, filtered in self._open():
            if self.is_partition:
                socket_filter.attach(filtered.sock, socket_filter.drop_all_but_resets())
            elif filtered.fraction:
                socket_filter.attach(filtered.sock, socket_filter.drop_some(filtered.fraction))
            else:
                socket_filter.detach(filtered.sock)

    def lost(self) -> Collection[Direction]:
        """The directions of which a packet has been lost since lose() was called."""
        if not self.is_partition:
            for _, filtered in self._open():
                filtered.look()
        return [direction for direction, filtered in self._sockets.items() if filtered.had_lost]

    def _set_fractions(self, upstream: float, downstream: float) -> None:
        self._fractions = {Direction.UPSTREAM: upstream, Direction.DOWNSTREAM: downstream}
        for direction, filtered in self._open():
            filtered.lose(self._fractions[direction])

    def _open(self) -> Iterator[tuple[Direction, _Filtered]]:
        return ((direction, one) for direction, one in self._sockets.items() if one.sock.fileno() >= 0)
