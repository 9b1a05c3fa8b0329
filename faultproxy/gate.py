"""The gate: what happens before a connection exists. Open, it accepts; shut, the kernel refuses."""

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import suppress

from faultproxy.addresses import TcpAddress
from faultproxy.capacity import OutOfResources
from faultproxy.kernel import socket_filter, sockets
from faultproxy.relay import Poller
from faultproxy.syn_gate import Knock, Memory, NotAllowed, SynGate

_BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Newcomer = tuple[socket.socket, str, int]


class Gate:
    """A listening socket that can be shut and opened again while its connections live on.

    Bound when made, shut at first. Raises OSError if the address cannot be had; close() ends it. ``syns`` is the SYN
    gate while it is screened; ``why_unscreened`` why it could not be.
    """

    def __init__(self, listen: TcpAddress) -> None:
        self.listen = listen
        self._sock = sockets.bind(listen.host, listen.port)
        self.is_open = False
        self.syns: SynGate | None = None
        self.why_unscreened: str | None = None
        self._memory = Memory()
        self._was_filtered = False
        self.is_silent = False

    @property
    def address(self) -> TcpAddress:
        """The real address: the kernel's choice of port, if the configuration left it open."""
        host, port = self._sock.getsockname()[:2]
        return TcpAddress(self.listen.host and host, port)

    @property
    def descriptors(self) -> int:
        """How many it takes: the listener's own, and those of the SYN gate."""
        return 1 + (self.syns.descriptors if self.syns is not None else 0)

    def open(self) -> None:
        """Listen. Raises OSError (EADDRINUSE) when another process took the port while the gate was shut."""
        if self.is_open:
            return
        if self.syns is not None:
            self.syns.forget_waiting()
        elif not self.is_silent:
            self._unfilter(self._sock)
        try:
            self._sock.listen(_BACKLOG)
        except OSError:
            self._close_syns()  # those SYNs are another's
            raise
        self.is_open = True

    def screen(self) -> bool:
        """Have each SYN judged before the kernel answers it; whether that is allowed here."""
        if self.syns is None:
            try:
                self.syns = SynGate(self._sock, self._memory)
            except NotAllowed as error:
                self.why_unscreened = str(error)
                return False
            self.why_unscreened = None
            self._was_filtered = True
        return True

    def unscreen(self) -> SynGate | None:
        """Leave SYNs to the kernel from now on. The SYN gate may still tell what it has heard: the caller closes it."""
        syns, self.syns = self.syns, None
        if syns is not None:
            self._unfilter(self._sock)
        return syns

    def silence(self) -> list[Newcomer]:
        """From now on leave every SYN without an answer, if a filter on the listener is allowed here; see is_silent.

        What waited in the queue is returned, as it had an answer.
        """
        if not self.is_silent:
            with suppress(OSError):
                socket_filter.attach(self._sock, socket_filter.drop_syns())
                self.is_silent = self._was_filtered = True
        waiting: list[Newcomer] = []
        if self.is_silent:
            with suppress(OutOfResources):
                waiting += self.take(_BACKLOG)
        return waiting

    def speak(self) -> None:
        """Answer again."""
        if self.is_silent:
            self.is_silent = False
            self._unfilter(self._sock)

    def shut(self) -> list[Newcomer]:
        """From now on the kernel refuses (ECONNREFUSED); what waited in the queue is returned, as it was not refused.

        Where filters are allowed no SYN comes in while the queue is emptied, or its client would be reset. shutdown(2)
        on a listener leaves established connections alone, and listen(2) revives it.
        """
        if not self.is_open:
            return []
        with suppress(OSError):
            socket_filter.attach(self._sock, socket_filter.drop_syns())
            self._was_filtered = True
        waiting: list[Newcomer] = []
        with suppress(OutOfResources):
            waiting += self._waiting(_BACKLOG)
        self._sock.shutdown(socket.SHUT_RD)
        self.is_open = self.is_silent = False
        self._close_syns()
        return waiting

    def close(self) -> list[Newcomer]:
        """Give the address back; what waited in the queue is returned, as it was not refused."""
        waiting = self.shut()
        self._close_syns()
        self._sock.close()
        return waiting

    async def knock(self, poller: Poller) -> None:
        """Wait until clients may be waiting, or the gate is shut."""
        await poller.wait(self._sock, select.EPOLLIN)

    def take(self, most: int) -> list[Newcomer]:
        """Accept those who wait; none if the gate was shut meanwhile. Raises OutOfResources: they wait on."""
        return list(self._waiting(most)) if self.is_open else []

    def recall(self, newcomer: Newcomer, now: float) -> Knock | None:
        """The SYN with which a newcomer came, if the gate was screened then."""
        if not len(self._memory):
            return None
        client, host, port = newcomer
        return self._memory.join((host, port, sockets.local_host(client)), now)

    def on_the_way(self, now: float) -> int:
        """How many were let in by their SYN just now, and are yet to be taken."""
        return self._memory.on_the_way(now)

    def _close_syns(self) -> None:
        if self.syns is not None:
            self.syns.close()
            self.syns = None

    def _waiting(self, most: int) -> Iterator[Newcomer]:
        accepted = 0
        try:
            for newcomer in sockets.accept_waiting(self._sock, most):
                accepted += 1
                self._unfilter(newcomer[0])
                yield newcomer
        except OSError as error:
            if error.errno not in _OUT_OF_RESOURCES:
                raise
            if not accepted:
                raise OutOfResources(errno.errorcode[error.errno]) from None

    def _unfilter(self, sock: socket.socket) -> None:
        if self._was_filtered:  # accepted sockets inherit their listener's filter
            socket_filter.detach(sock)
