"""What the connections of one proxy share."""

from dataclasses import dataclass, field, replace
from socket import socket
from typing import NamedTuple

import trio

from faultproxy.connection.lines import Lines
from faultproxy.events.bus import Bus
from faultproxy.events.types import FaultInjected
from faultproxy.proxy_protocol import HeaderVersion
from faultproxy.relay import Poller
from faultproxy.upstream.dialler import Dialler


@dataclass(frozen=True, slots=True)
class Context:
    """The proxy as its connections see it. An edit makes a new one, for the connections that come after it.

    Connections that have to wait for something run a task in ``nursery``. ``lines`` outlive an edit. ``send_proxy`` is
    the version of the PROXY protocol by which the server learns who the client is; None: it does not.
    """

    proxy: str
    seed: int
    dialler: Dialler
    poller: Poller
    bus: Bus
    nursery: trio.Nursery
    lines: Lines = field(default_factory=Lines)
    send_proxy: HeaderVersion | None = None

    def towards(self, host: str, port: int) -> "Context":
        """The same, for a client that wanted to go to this IP address and port."""
        return replace(self, dialler=self.dialler.towards(host, port))


class Greeting(NamedTuple):
    """What happened before the connection existed.

    ``not_intercepted`` is why nothing was done to the client's SYN, whatever the rules ask; None if that was done.
    ``faults`` are those that it has had, ``server`` the upstream, if that was dialled already, which is the
    connection's to close. ``client_was_reset``: the client has reset already; the kernel reports that once.
    ``through`` are the proxies of this process by which it came.
    """

    not_intercepted: str | None = None
    faults: tuple[FaultInjected, ...] = ()
    server: socket | None = None
    client_was_reset: bool = False
    through: tuple[str, ...] = ()
