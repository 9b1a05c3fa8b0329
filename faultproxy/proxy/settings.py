"""What a proxy is given: its configuration as plain values, and what it shares with the other proxies."""

from dataclasses import dataclass

import trio

from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.listener.limits import ConnectionLimit
from faultproxy.proxy.registry import Registry
from faultproxy.proxy_protocol import HeaderVersion
from faultproxy.relay import Poller
from faultproxy.rules.rule import BaseRule
from faultproxy.upstream.circles import Circles
from faultproxy.upstream.dial import Target


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """One proxy's configuration. ``keepalive_s`` is None for off, ``max_connections`` None for the default share.

    ``accept_proxy`` says that each connection begins with a header of the PROXY protocol; ``send_proxy`` is the version
    of the one that the server is sent before the client's first byte, None for none.
    """

    upstream: Target
    dial_timeout_s: float
    peek_timeout_s: float
    keepalive_s: float | None
    max_connections: int | None
    is_enabled: bool
    seed: int
    rules: tuple[BaseRule, ...]
    send_proxy: HeaderVersion | None = None
    accept_proxy: bool = False


@dataclass(frozen=True, slots=True)
class Services:
    """What all proxies share. Connections run in ``nursery``, and outlive their proxy.

    ``registry`` is there where somebody may ask about connections.
    """

    poller: Poller
    bus: Bus
    stats: Stats
    limit: ConnectionLimit
    nursery: trio.Nursery
    circles: Circles
    registry: Registry | None = None
