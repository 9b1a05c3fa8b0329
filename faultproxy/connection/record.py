"""What can be told of a connection while it is open, and once it is over."""

from typing import NamedTuple

from faultproxy.events.types import EndedBy, FaultInjected
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.upstream.dial import Target


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
    bytes_upstream: int
    bytes_downstream: int
    ended_at_s: float | None
    ended_by: EndedBy | None
