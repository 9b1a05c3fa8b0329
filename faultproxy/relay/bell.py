"""What happens at a socket that no circuit has."""

import socket
from collections.abc import Callable


class Bell:
    """Calls ``ring`` whatever happens at the socket, as often as that is found; the switchboard takes it for a jack."""

    __slots__ = ("fd", "is_watched", "ring", "wants")

    def __init__(self, sock: socket.socket, ring: Callable[[], None]) -> None:
        self.fd = sock.fileno()
        self.ring = ring
        self.wants = 0
        self.is_watched = False

    @property
    def incoming(self) -> "Bell":
        """Who is told that there is something to read."""
        return self

    @property
    def outgoing(self) -> "Bell":
        """Who is told that there is room to write."""
        return self

    def pump(self) -> None:
        """There is something to read."""
        self.ring()

    def flush(self) -> None:
        """There is room to write."""
        self.ring()

    def source_failed(self, _events: int) -> None:
        """There is an error, or the end."""
        self.ring()
