"""One class a condition. This catalogue is all that the rest of the program knows of them."""

from faultproxy.rules.conditions.base import Condition, Stage
from faultproxy.rules.conditions.chance import Probability
from faultproxy.rules.conditions.client import Client
from faultproxy.rules.conditions.counts import ConnectionNumber, OpenConnections
from faultproxy.rules.conditions.destination import Destination, DestinationPort
from faultproxy.rules.conditions.first_bytes import Matches, ServerName, StartsWith
from faultproxy.rules.conditions.ordinals import Every, First, Nth, Skip
from faultproxy.rules.conditions.window import Window

CONDITIONS: tuple[type[Condition], ...] = (
    Client,
    Destination,
    DestinationPort,
    Window,
    OpenConnections,
    ConnectionNumber,
    StartsWith,
    Matches,
    ServerName,
    First,
    Skip,
    Nth,
    Every,
    Probability,
)
"""Every condition there is; the keys of ``when``, the JSON Schema and the documentation follow it."""

PEEKED = frozenset(kind.key for kind in CONDITIONS if kind.stage is Stage.FIRST_BYTES)
"""The keys of the conditions that look at the client's first bytes."""

TOLD_BY_HEADER = frozenset(kind.key for kind in CONDITIONS if kind.asks)
"""The keys of the conditions that, with ``accept_proxy``, wait for the header of the PROXY protocol."""
