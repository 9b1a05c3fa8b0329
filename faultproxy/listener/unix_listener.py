"""A listener at a Unix socket (unix(7)). There are no SYNs, so it is CLOSED or OPEN, and clients are known by process.

While it is CLOSED its file stays, and the kernel refuses who connects. The file goes when the listener does.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from faultproxy.addresses import UnixAddress
from faultproxy.faults.base import ListenerMode
from faultproxy.kernel import sockets
from faultproxy.listener.listener import Listener
from faultproxy.listener.listening_socket import Accepted, ListeningSocket
from faultproxy.relay import Poller


class UnixListener:
    """As listener.Listener, at a path. Made CLOSED. Raises OSError, as sockets.bind_unix() does."""

    has_syns = False
    why_not_intercepting = "a Unix socket has no SYNs"

    def __init__(self, address: UnixAddress) -> None:
        self.configured = address
        self.mode = ListenerMode.CLOSED
        self._socket = _UnixSocket(self._bind())

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
            self._socket.drain_queue()
            self._socket.stop_listening()
            self._socket.sock.close()
        else:
            if self._socket.sock.fileno() < 0:
                self._socket.sock = self._bind()
            self._socket.listen()
        self.mode = ListenerMode.CLOSED if mode is ListenerMode.CLOSED else ListenerMode.OPEN

    def is_at(self, host: str, port: int) -> bool:
        """It is at no IP address."""
        return False

    def set_keepalive(self, idle_s: float | None) -> None:
        """A process on this host does not vanish unnoticed."""

    def follow_tproxy(self, *, on: bool) -> None:
        """TPROXY leads nobody to a Unix socket."""

    def on_the_way(self) -> int:
        """None: there are no handshakes."""
        return 0

    def accept(self, most: int) -> Iterator[Accepted]:
        """As Listener.accept()."""
        return self._socket.accept(most)

    def attach(self, poller: Poller, on_acceptable: Callable[[], None], on_syn: object) -> None:
        """Call this function, which must not raise, when clients wait to be accepted."""
        del on_syn
        self._socket.attach(poller, on_acceptable)

    def detach(self, most: int) -> None:
        """Call it no more. Whom the kernel has accepted, up to ``most`` of them, waits for accept()."""
        if self.mode is not ListenerMode.CLOSED:
            self._socket.drain_queue(most)
        self._socket.detach()

    def pause(self) -> None:
        """As Listener.pause()."""
        self._socket.pause()

    def resume(self) -> None:
        """As Listener.resume()."""
        self._socket.resume()

    def close(self) -> None:
        """Give the path back, and remove the file, unless it is another's by now."""
        self.set_mode(ListenerMode.CLOSED)
        self.detach(0)
        self._socket.sock.close()
        with suppress(OSError):
            if sockets.file_identity(self.configured.path) == self._file:
                Path(self.configured.path).unlink()

    def _bind(self) -> socket.socket:
        sock = sockets.bind_unix(self.configured.path)
        self._file = sockets.file_identity(self.configured.path)
        return sock


class _UnixSocket(ListeningSocket):
    def clients(self, most: int) -> Iterator[Accepted]:
        return ((*client, None) for client in sockets.accept_unix(self.sock, most))


AnyListener = Listener | UnixListener
