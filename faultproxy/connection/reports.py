"""What is published of one connection, beside what is of any client."""

from faultproxy.connection.context import Context
from faultproxy.connection.peers import Peers
from faultproxy.events.types import ConnectionClosed, ConnectionOpened, EndedBy
from faultproxy.faults.base import Direction
from faultproxy.publisher import Publisher
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import BY_HAND, Match


class Reports(Publisher):
    """Publishes the events of one connection. ``rule`` is the last that matched it."""

    __slots__ = ("_peers", "rule")

    def __init__(self, context: Context, facts: ConnectionFacts, peers: Peers) -> None:
        super().__init__(context.bus, context.proxy, context.dialler.target, facts)
        self.rule: str | None = None
        self._peers = peers

    def opened(self) -> None:
        """A client was accepted."""
        if self._bus.wants(ConnectionOpened):
            self._bus.publish(ConnectionOpened(proxy=self._proxy, connection=self.id, client=self.client))

    def matched(self, match: Match) -> None:
        """A rule matched the connection."""
        if not match.dry_run and match.rule != BY_HAND:
            self.rule = match.rule

    def closed(self, ended_by: EndedBy, bytes_changed: int) -> None:
        """The connection is over."""
        if self._bus.wants(ConnectionClosed):
            upstream, downstream = self._delivered()
            self._bus.publish(
                ConnectionClosed(
                    proxy=self._proxy,
                    connection=self.id,
                    client=self.client,
                    rule=self.rule,
                    faults=tuple(fault.fault for fault in self.injected),
                    bytes_upstream=upstream,
                    bytes_downstream=downstream,
                    bytes_changed=bytes_changed,
                    duration_ms=self._elapsed_ms(),
                    ended_by=ended_by,
                )
            )

    def _delivered(self) -> tuple[int, int]:
        return self._peers.delivered(Direction.UPSTREAM), self._peers.delivered(Direction.DOWNSTREAM)
