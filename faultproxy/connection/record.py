"""What can be told of a connection while it is open, and once it is over."""

from typing import NamedTuple

from faultproxy.events.types import EndedBy, FaultInjected
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.upstream.dial import Target


class Carried(NamedTuple):
    """The bytes of each direction that came from its sender, and that were delivered."""

    from_client: int
    to_server: int
    from_server: int
    to_client: int


NOTHING_CARRIED = Carried(0, 0, 0, 0)


class ConnectionRecord(NamedTuple):
    """How a connection stands, or stood at its end; times are of trio.current_time().

    ``rule`` is the last that matched it, ``verdict`` the one that ended the reading of the rules, ``injected`` the
    faults that it has had. ``ended_at_s`` and ``ended_by`` are None while it is open.
    """

    proxy: str
    upstream: Target
    facts: ConnectionFacts
    rule: str | None
    verdict: str | None
    injected: tuple[FaultInjected, ...]
    carried: Carried
    ended_at_s: float | None
    ended_by: EndedBy | None
