"""All routes of the API, where it listens, and who may ask."""

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import trio

from faultproxy.addresses import Address, TcpAddress, UnixAddress
from faultproxy.control.http import (
    configuration,
    connections,
    counters,
    events,
    metrics,
    openapi,
    pages,
    proxies,
    report,
    rules,
    status,
)
from faultproxy.control.http.feed import Feed
from faultproxy.control.http.messages import HttpProblem
from faultproxy.control.http.metrics import Measurements, Scraping
from faultproxy.control.http.router import Router
from faultproxy.control.http.security import ANYBODY, Access, is_exposed
from faultproxy.control.http.server import MOST_CLIENTS, Server
from faultproxy.control.http.toxiproxy import routes as toxiproxy
from faultproxy.control.listeners import cannot_listen, resolve_listen
from faultproxy.control.manager import Manager
from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.events.totals import Totals
from faultproxy.events.types import ApiExposed, ApiStarted
from faultproxy.kernel import sockets
from faultproxy.proxy.registry import Registry
from faultproxy.upstream.circles import Circles

_BACKLOG = 128
_GIVE_UP_AFTER_S = 30.0
_LOOPBACK = ("127.0.0.1", "::1")
_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


@dataclass(frozen=True, slots=True)
class Observed:
    """What the API keeps of what happens."""

    feed: Feed
    registry: Registry
    measured: Measurements


def router(manager: Manager, observed: Observed, access: Access = ANYBODY) -> Router:
    """Every route there is."""
    routes = (
        *status.routes(manager),
        *proxies.routes(manager),
        *rules.routes(manager),
        *configuration.routes(manager),
        *connections.routes(observed.registry),
        *events.routes(observed.feed),
        *counters.routes(manager),
        *report.routes(observed.feed, observed.registry),
        *metrics.routes(manager, observed.measured),
        *pages.routes(),
        *toxiproxy.routes(manager),
    )
    return Router([*routes, *openapi.routes(routes)], access, {"toxiproxy": toxiproxy.render})


class Api:
    """The API at its address, which is taken when it is made; clients wait until it runs. Made by listen()."""

    def __init__(self, address: Address, socks: Sequence[socket.socket]) -> None:
        self.address = address
        self._socks = socks
        self._file = sockets.file_identity(address.path) if isinstance(address, UnixAddress) else None

    @property
    def descriptors(self) -> int:
        """How many its clients may take."""
        return MOST_CLIENTS

    @property
    def port(self) -> int | None:
        """Its port, if it has one."""
        return self.address.port if isinstance(self.address, TcpAddress) else None

    @property
    def url(self) -> str:
        """Where a browser on this host finds it; of a Unix socket, the address."""
        if isinstance(self.address, UnixAddress):
            return str(self.address)
        host = self.address.host if self.address.host not in {"", "0.0.0.0", "::"} else "localhost"
        return f"http://{replace(self.address, host=host)}/"

    def observe(self, bus: Bus, stats: Stats, scraping: Scraping) -> Registry:
        """Keep what happens from now on, for whoever asks. Returns where connections are to be registered."""
        registry, totals = Registry(), Totals()
        bus.subscribe(totals)
        self._observed = Observed(Feed(bus, stats), registry, Measurements(stats, totals, registry.dials, scraping))
        return registry

    async def run(self, manager: Manager, access: Access, circles: Circles, clients: trio.Nursery) -> None:
        """Serve until cancelled, each client by a task of the nursery ``clients``; then give the address back.

        Only after observe().
        """
        manager.bus.publish(ApiStarted(listen=str(self.address), token=access.token is not None))
        if is_exposed(self.address) and access.token is None:
            manager.bus.publish(ApiExposed(listen=str(self.address)))

        server = Server(router(manager, self._observed, access).answer, manager.bus.publish, partial(_why_not, circles))
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in self._socks]
        try:
            await server.serve(listeners, clients)
        finally:
            self.close()

    def close(self) -> None:
        """Give the address back. The file of a Unix socket goes, unless it is another's by now."""
        for sock in self._socks:
            sock.close()
        if isinstance(self.address, UnixAddress):
            with suppress(OSError):
                if sockets.file_identity(self.address.path) == self._file:
                    os.unlink(self.address.path)  # noqa: PTH108  # as lstat, which is compared


async def listen(address: Address) -> Api:
    """Take the API's address: of localhost both, of a port 0 any. Raises CannotListen."""
    if isinstance(address, UnixAddress):
        hosts: tuple[str, ...] = ("",)
    elif address.host.lower() == "localhost":
        hosts = _LOOPBACK
    else:
        hosts = (await resolve_listen("api", address),)
    socks: list[socket.socket] = []
    real = address
    try:
        for host in hosts:
            try:
                socks.append(_bind(real, host))
            except OSError as error:
                if not socks or error.errno not in _NO_SUCH_FAMILY:
                    raise
            if isinstance(real, TcpAddress):
                real = replace(real, port=socks[0].getsockname()[1])
    except OSError as error:
        for sock in socks:
            sock.close()
        raise await cannot_listen("api", real, error) from error
    return Api(real, socks)


def _why_not(circles: Circles, client: socket.socket) -> HttpProblem | None:
    """Why a client may ask nothing: by a proxy of this process, whoever reaches the proxy would reach the API."""
    try:
        peer = client.getpeername()
    except OSError:  # ENOTCONN: it has reset the connection already
        return None
    if isinstance(peer, tuple) and (through := circles.through(sockets.unmapped(peer[0]), peer[1])):
        return HttpProblem(403, "Forbidden", f"proxy {through[-1]} dials this API; write another upstream")
    return None


def _bind(address: Address, host: str) -> socket.socket:
    sock = sockets.bind_unix(address.path) if isinstance(address, UnixAddress) else sockets.bind(host, address.port)
    try:
        sockets.give_up_after(sock, _GIVE_UP_AFTER_S)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
