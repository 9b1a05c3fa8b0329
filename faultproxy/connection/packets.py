"""What a socket filter keeps from a connection's two sockets: some packets (loss), or all of them (a partition)."""

import errno
import os
import socket
from collections.abc import Sequence

from faultproxy.kernel import socket_filter, sockets


class PacketFilter:
    """The filters on one connection's sockets. The client's comes first; the server's once there is one.

    Sockets that are closed are passed over; so is the server's if it is a Unix socket, which knows no packets. For a
    client's the kernel drops none: OSError (EAFNOSUPPORT).
    """

    __slots__ = ("_client", "_dropped_before", "_had_lost", "_loss", "is_partition")

    def __init__(self, client: socket.socket) -> None:
        self.is_partition = False
        self._client = client
        self._loss = 0.0
        self._dropped_before = sockets.dropped(client)
        self._had_lost = False

    def lose(self, fraction: float, server: socket.socket | None) -> None:
        """Drop this fraction of the client's packets from now on. Raises OSError where that is not possible."""
        self._check_packets()
        self._dropped_before = sockets.dropped(self._client)
        self._had_lost = False
        self._loss = fraction
        try:
            self.apply(server)
        except OSError:
            self._loss = 0.0
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
        if self._client.family == socket.AF_UNIX:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    def heal(self, server: socket.socket | None) -> None:
        """End the partition. Raises OSError."""
        self.is_partition = False
        self._dropped_before = sockets.dropped(self._client)
        self.apply(server)

    def apply(self, server: socket.socket | None) -> None:
        """Put on each socket the filter that it is to have. Raises OSError."""
        for sock in _open_tcp([self._client, server]):
            if self.is_partition:
                socket_filter.attach(sock, socket_filter.drop_all_but_resets())
            elif sock is self._client and self._loss:
                socket_filter.attach(sock, socket_filter.drop_some(self._loss))
            else:
                socket_filter.detach(sock)

    def has_lost(self) -> bool:
        """Whether a packet of the client's has been lost since lose() was called."""
        if not self._had_lost and not self.is_partition and self._client.fileno() >= 0:
            self._had_lost = sockets.dropped(self._client) > self._dropped_before
        return self._had_lost


def _open_tcp(socks: Sequence[socket.socket | None]) -> list[socket.socket]:
    return [sock for sock in socks if sock is not None and sock.fileno() >= 0 and sock.family != socket.AF_UNIX]
