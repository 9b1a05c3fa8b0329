"""The bytes of one client, and how long it may take to take them.

The streams of trio go through its scheduler once for each call, even for one that does not wait; here only what waits
does.
"""

import math
import socket

import trio

_SEND_S = 30.0  # for an answer, or a chunk of a stream, to be taken
_LAST_SEND_S = 1.0  # the same, at the drain
_READ = 2**16


class Gone(Exception):
    """The client is not there any more."""


class TooSlow(Exception):
    """The client does not take what is sent."""


class ByteStream:
    """A socket that does not block. Whoever made it closes it.

    ``is_torn``: something was sent in part, and nothing more can be. ``blocked_since`` is when the sending began of
    what there is no room for; infinite if nothing waits.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.is_torn = False
        self.blocked_since = math.inf
        self._sock = sock
        self._send_s = _SEND_S
        self._sending = trio.CancelScope()

    def hurry(self) -> None:
        """What is being sent has a second left, and so has each that is sent later."""
        self._send_s = _LAST_SEND_S
        self._sending.deadline = min(self._sending.deadline, trio.current_time() + _LAST_SEND_S)

    async def receive(self) -> bytes:
        """Wait for what comes next; nothing at its end. Raises Gone."""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(_READ)
            except BlockingIOError:
                continue
            except OSError:
                raise Gone from None

    async def wait_until_gone(self) -> None:
        """Read on, whatever it is, until the client goes. Raises Gone."""
        while await self.receive():
            pass

    async def send(self, data: bytes) -> None:
        """Send all of it; it is no checkpoint if there is room. Raises TooSlow, and Gone."""
        self.is_torn = True
        sent = self._send_some(data)
        if sent < len(data):
            self.blocked_since = trio.current_time()
            with memoryview(data) as view, trio.move_on_after(self._send_s) as self._sending:
                while sent < len(data):
                    await trio.lowlevel.wait_writable(self._sock)
                    sent += self._send_some(view[sent:])
            self.blocked_since = math.inf
            if self._sending.cancelled_caught:
                raise TooSlow
        self.is_torn = False

    def send_fin(self) -> None:
        """Say that nothing more is sent. Raises Gone."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            raise Gone from None

    def _send_some(self, data: bytes | memoryview) -> int:
        """How much of it there was room for."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            raise Gone from None
