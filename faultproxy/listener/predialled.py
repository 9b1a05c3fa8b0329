"""Upstreams that are dialled before their client has shaken hands."""

import socket
from time import monotonic

from faultproxy.kernel import sockets
from faultproxy.listener.limits import ProxyLimit
from faultproxy.relay import Poller

PREDIALLED_S = 3.0
"""How long one may be dialled, and how long it then waits for its client."""

_MOST = 256
_FEWEST = 4


class Predialled:
    """Those of one proxy. Each counts as a connection from begin() on, until its client takes it, or it is given up.

    The more there are for which no client comes, as of forged SYNs, the fewer are dialled ahead.
    """

    def __init__(self, poller: Poller, limit: ProxyLimit) -> None:
        self._poller = poller
        self._limit = limit
        self._dialling = 0
        self._kept: dict[object, tuple[socket.socket, float]] = {}  # by their clients
        self._most = _MOST
        self._is_closing = False

    def has_room(self) -> bool:
        """Whether one more may be dialled."""
        return len(self._kept) + self._dialling < self._most and not self._limit.is_tight()

    def begin(self) -> None:
        """One is dialled; keep() or give_up() follows."""
        self._dialling += 1
        self._limit.acquire()

    def give_up(self) -> None:
        """It was not reached, or nobody wants it any more."""
        self._dialling -= 1
        self._limit.release()

    def keep(self, client: object, server: socket.socket) -> None:
        """It was reached: keep it until its client has shaken hands, or for some seconds."""
        self._dialling -= 1
        close_at = monotonic() + PREDIALLED_S
        self._kept[client] = server, close_at
        self._close_later(close_at)

    def take(self, client: object) -> socket.socket | None:
        """The upstream of a client that has come, if there is one. It is the caller's from now on."""
        server, _ = self._kept.pop(client, (None, 0.0))
        if server is not None:
            self._limit.release()
            self._most = min(self._most + 1, _MOST)
        return server

    def _close_later(self, close_at: float) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._poller.call_at(close_at, self._close_abandoned)

    def _close_abandoned(self) -> None:
        now = monotonic()
        self._is_closing = False
        while self._kept:
            client, (server, close_at) = next(iter(self._kept.items()))
            if close_at > now:
                self._close_later(close_at)
                return
            del self._kept[client]
            self._limit.release()
            self._most = max(self._most * 3 // 4, _FEWEST)
            sockets.end(server)
