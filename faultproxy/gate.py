"""The gate: what happens before a connection exists. Open, it accepts; shut, the kernel refuses."""

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import suppress

from faultproxy.capacity import OutOfResources
from faultproxy.config.schema import TcpAddress
from faultproxy.kernel import sockets
from faultproxy.relay import Switchboard

_BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Newcomer = tuple[socket.socket, str, int]


class Gate:
    """A listening socket that can be shut and opened again while its connections live on.

    Bound when made, shut at first. Raises OSError if the address cannot be had; close() ends it.
    """

    def __init__(self, listen: TcpAddress) -> None:
        self.listen = listen
        self._sock = sockets.bind(listen.host, listen.port)
        self.is_open = False

    @property
    def address(self) -> TcpAddress:
        """The real address: the kernel's choice of port, if the configuration left it open."""
        host, port = self._sock.getsockname()[:2]
        return TcpAddress(self.listen.host and host, port)

    def open(self) -> None:
        """Listen. Raises OSError (EADDRINUSE) when another process took the port while the gate was shut."""
        if not self.is_open:
            self._sock.listen(_BACKLOG)
            self.is_open = True

    def shut(self) -> list[Newcomer]:
        """From now on the kernel refuses (ECONNREFUSED); what waited in the queue is returned, as it was not refused.

        shutdown(2) on a listener leaves established connections alone, and listen(2) revives it.
        """
        if not self.is_open:
            return []
        waiting: list[Newcomer] = []
        with suppress(OutOfResources):
            waiting += self._waiting(_BACKLOG)
        self._sock.shutdown(socket.SHUT_RD)
        self.is_open = False
        return waiting

    def close(self) -> list[Newcomer]:
        """Give the address back; what waited in the queue is returned, as it was not refused."""
        waiting = self.shut()
        self._sock.close()
        return waiting

    async def knock(self, board: Switchboard) -> None:
        """Wait until clients may be waiting, or the gate is shut."""
        await board.wait(self._sock, select.EPOLLIN)

    def take(self, most: int) -> list[Newcomer]:
        """Accept those who wait; none if the gate was shut meanwhile. Raises OutOfResources: they wait on."""
        return list(self._waiting(most)) if self.is_open else []

    def _waiting(self, most: int) -> Iterator[Newcomer]:
        accepted = 0
        try:
            for newcomer in sockets.accept_waiting(self._sock, most):
                accepted += 1
                yield newcomer
        except OSError as error:
            if error.errno not in _OUT_OF_RESOURCES:
                raise
            if not accepted:
                raise OutOfResources(errno.errorcode[error.errno]) from None
