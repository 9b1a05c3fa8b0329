"""A listener at a Unix socket (unix(7)). There are no SYNs, so it is CLOSED or OPEN, and clients are known by process.

While it is CLOSED its file stays, and the kernel refuses who connects. The file goes when the listener does.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from faultproxy.addresses import UnixAddress
from faultproxy.faults.base import ListenerMode
from faultproxy.kernel import sockets
from faultproxy.listener.limits import OutOfResources
from faultproxy.listener.listener import Accepted, Listener
from faultproxy.relay import Poller
from faultproxy.relay.poller import Endpoint

_BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class UnixListener:
    """As listener.Listener, at a path. Made CLOSED. Raises OSError, as sockets.bind_unix() does."""

    on_the_way = 0
    has_syns = False
    why_not_intercepting = "a Unix socket has no SYNs"

    def __init__(self, address: UnixAddress) -> None:
        self.configured = address
        self.mode = ListenerMode.CLOSED
        self._waiting: deque[Accepted] = deque()
        self._is_paused = False
        self._poller: Poller | None = None
        self._on_acceptable: Callable[[], None] | None = None
        self._endpoint: Endpoint | None = None
        self._bind()

    @property
    def address(self) -> UnixAddress:
        """Where it listens."""
        return self.configured

    def set_mode(self, mode: ListenerMode, otherwise: ListenerMode = ListenerMode.OPEN) -> None:
        """Be CLOSED, or for any other mode OPEN. Raises OSError (EADDRINUSE), and stays CLOSED, as Listener does."""
        del otherwise
        if (mode is ListenerMode.CLOSED) is (self.mode is ListenerMode.CLOSED):
            return
        if mode is ListenerMode.CLOSED:
            self._drain_queue(_BACKLOG)
            self._ignore()
            self._sock.close()
            self.mode = ListenerMode.CLOSED
            return
        if self._sock.fileno() < 0:
            self._bind()
        self._sock.listen(_BACKLOG)
        self.mode = ListenerMode.OPEN
        self._watch()

    def set_keepalive(self, idle_s: float | None) -> None:
        """A process on this host does not vanish unnoticed."""

    def accept(self, most: int) -> Iterator[Accepted]:
        """As Listener.accept()."""
        while self._waiting:
            yield self._waiting.popleft()
        if self.mode is not ListenerMode.CLOSED:
            yield from self._accept(most)

    def attach(self, poller: Poller, on_acceptable: Callable[[], None], on_syn: object) -> None:
        """Call this function, which must not raise, when clients wait to be accepted."""
        del on_syn
        self._ignore()
        self._is_paused = False
        self._poller, self._on_acceptable = poller, on_acceptable
        self._watch()

    def detach(self, most: int) -> None:
        """Call it no more. Whom the kernel has accepted, up to ``most`` of them, waits for accept()."""
        if self.mode is not ListenerMode.CLOSED:
            self._drain_queue(most)
        self._ignore()
        self._poller = self._on_acceptable = None

    def pause(self) -> None:
        """Leave those who connect in the kernel's queue, until resume()."""
        self._is_paused = True
        self._ignore()

    def resume(self) -> None:
        """Tell again of clients that wait to be accepted."""
        self._is_paused = False
        self._watch()

    def close(self) -> None:
        """Give the path back, and remove the file, unless it is another's by now."""
        self.set_mode(ListenerMode.CLOSED)
        self.detach(0)
        self._sock.close()
        with suppress(OSError):
            if _identity(self.configured.path) == self._file:
                Path(self.configured.path).unlink()

    def _bind(self) -> None:
        self._sock = sockets.bind_unix(self.configured.path)
        self._file = _identity(self.configured.path)

    def _accept(self, most: int) -> Iterator[Accepted]:
        accepted = 0
        try:
            for sock, host, port in sockets.accept_unix(self._sock, most):
                accepted += 1
                yield Accepted(sock, host, port, None)
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES and not accepted:
                raise OutOfResources(errno.errorcode[error.errno]) from None

    def _drain_queue(self, most: int) -> None:
        with suppress(OutOfResources):
            self._waiting.extend(self._accept(most))

    def _watch(self) -> None:
        if (
            self._poller is not None
            and self._on_acceptable is not None
            and self.mode is not ListenerMode.CLOSED
            and not self._is_paused
        ):
            self._ignore()
            self._endpoint = self._poller.listen(self._sock, self._on_acceptable)

    def _ignore(self) -> None:
        if self._poller is not None and self._endpoint is not None:
            self._poller.ignore(self._endpoint)
            self._endpoint = None


AnyListener = Listener | UnixListener


def _identity(path: str) -> tuple[int, int, int]:
    """What a file keeps while its owner, group and mode change, and its successor does not have: numbers are reused."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns
