"""A socket at which clients connect, of any family: who waits there, and whom the poller calls then."""

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from faultproxy.listener.limits import OutOfResources
from faultproxy.listener.syn_table import HalfOpen
from faultproxy.relay import Endpoint, Poller

_BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


Accepted = tuple[socket.socket, str, int, HalfOpen | None]
"""A connection that the kernel has accepted: its socket, which whoever takes it closes, and its client's address.

Last the client as it was judged by its SYN; None if its SYN was not heard.
"""


class ListeningSocket:
    """A bound socket, and those who waited there when the listener's mode changed.

    The poller reports clients who wait while it is attached, listens, and is not paused.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.is_listening = False
        self.poller: Poller | None = None
        self._waiting: deque[Accepted] = deque()
        self._is_paused = False
        self._on_acceptable: Callable[[], None] | None = None
        self._endpoint: Endpoint | None = None

    def listen(self) -> None:
        """Have clients wait here from now on. Raises OSError."""
        self.sock.listen(_BACKLOG)
        self.is_listening = True
        self._watch()

    def stop_listening(self) -> None:
        """Report nobody any more; what becomes of the socket is up to the caller."""
        self._ignore()  # else the poller would get EPOLLHUP for ever
        self.is_listening = False

    def accept(self, most: int) -> Iterator[Accepted]:
        """Those who waited when the mode changed, all of them, then up to ``most`` others who wait now.

        Raises OutOfResources if there is no descriptor or memory for the first of the others: they wait on.
        """
        while self._waiting:
            yield self._waiting.popleft()
        if self.is_listening:
            yield from self._accept(most)

    def drain_queue(self, most: int = _BACKLOG) -> None:
        """Have whom the kernel has accepted wait for accept(), up to so many."""
        with suppress(OutOfResources):
            self._waiting.extend(self._accept(most))

    def attach(self, poller: Poller, on_acceptable: Callable[[], None]) -> None:
        """Have the poller call this function, which must not raise, when clients wait."""
        self.detach()
        self._is_paused = False
        self.poller, self._on_acceptable = poller, on_acceptable
        self._watch()

    def detach(self) -> None:
        """Have nobody called."""
        self._ignore()
        self.poller = self._on_acceptable = None

    def pause(self) -> None:
        """Leave those who connect in the kernel's queue, until resume()."""
        self._is_paused = True
        self._ignore()

    def resume(self) -> None:
        """Report again that clients wait to be accepted."""
        self._is_paused = False
        self._watch()

    def clients(self, most: int) -> Iterator[Accepted]:
        """Up to so many whom the kernel has accepted. Raises OSError."""
        raise NotImplementedError

    def _accept(self, most: int) -> Iterator[Accepted]:
        accepted = 0
        try:
            for client in self.clients(most):
                accepted += 1
                yield client
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES and not accepted:
                raise OutOfResources(errno.errorcode[error.errno]) from None

    def _watch(self) -> None:
        if self.poller is not None and self._on_acceptable is not None and self.is_listening and not self._is_paused:
            self._ignore()
            self._endpoint = self.poller.listen(self.sock, self._on_acceptable)

    def _ignore(self) -> None:
        if self.poller is not None and self._endpoint is not None:
            self.poller.ignore(self._endpoint)
            self._endpoint = None
