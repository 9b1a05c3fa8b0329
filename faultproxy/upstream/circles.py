"""Proxies of this process that dial one another: a connection that has come back to its proxy is not dialled on.

The configuration shows such circles only where addresses are written as such. By a host name nobody sees them before
they are dialled; one client would then take every connection that there is room for, and go on after it has gone.
"""

import errno
import socket
import weakref
from collections.abc import Callable
from functools import partial

from faultproxy.kernel.sockets import SockAddress, unmapped

Note = Callable[[socket.socket, SockAddress], None]
_FEW = 1000


class Circles:
    """The sockets with which proxies dial proxies of this process, and the proxies through which their clients came.

    ``ports`` are those that the proxies listen at, ``api`` is where the API does.
    """

    def __init__(self, api: int | None = None) -> None:
        self.ports: frozenset[int] = frozenset()
        self._api = api
        self._dialled: dict[tuple[str, int], tuple[weakref.ref[socket.socket], tuple[str, ...]]] = {}
        self._tidy_at = _FEW

    def through(self, host: str, port: int) -> tuple[str, ...]:
        """The proxies by which a client has come, the first first; as a rule none."""
        if (host, port) not in self._dialled:
            return ()
        ref, through = self._dialled[host, port]
        return through if _is_open(ref) else ()

    def enter(
        self, proxy: str, upstream_port: int, through: tuple[str, ...], *, may_be_led_back: bool = False
    ) -> Note | None:
        """Before a proxy dials for a client: what is to be called once a connect has begun, if it may lead back here.

        If it ``may_be_led_back``, by a firewall, that is so wherever it goes. Raises OSError (ELOOP) if the client has
        come through this proxy before.
        """
        if proxy in through:
            raise OSError(errno.ELOOP, "it dials itself: " + " -> ".join((*through, proxy)))
        if may_be_led_back:
            return partial(self._keep, (*through, proxy))
        if upstream_port in self.ports or upstream_port == self._api:
            return partial(self._note, (*through, proxy))
        return None

    def _note(self, through: tuple[str, ...], sock: socket.socket, address: SockAddress) -> None:
        own, peer = unmapped(sock.getsockname()[0]), unmapped(address[0])
        if own == peer or peer.startswith("127."):
            self._keep(through, sock, address)

    def _keep(self, through: tuple[str, ...], sock: socket.socket, _address: SockAddress) -> None:
        host, port = sock.getsockname()[:2]
        self._dialled[unmapped(host), port] = weakref.ref(sock), through  # a listener of IPv4 sees it so
        if len(self._dialled) > self._tidy_at:
            self._dialled = {key: value for key, value in self._dialled.items() if _is_open(value[0])}
            self._tidy_at = max(_FEW, 2 * len(self._dialled))


def _is_open(ref: "weakref.ref[socket.socket]") -> bool:
    sock = ref()
    return sock is not None and sock.fileno() >= 0
