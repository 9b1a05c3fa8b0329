"""What is published of one connection."""

from typing import Any

import trio

from faultproxy.addresses import host_port
from faultproxy.connection.context import Context
from faultproxy.connection.peers import Peers
from faultproxy.events.types import (
    DISABLED,
    ConnectionClosed,
    ConnectionCrashed,
    ConnectionOpened,
    EndedBy,
    FaultDryRun,
    FaultInjected,
    UpstreamFailed,
)
from faultproxy.faults.base import Direction, Fault, options
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import BY_HAND, Match


class Reports:
    """Publishes the events of one connection. ``rule`` is the last that matched it, ``injected`` what it has had."""

    __slots__ = ("_context", "_facts", "_peers", "injected", "rule")

    def __init__(self, context: Context, facts: ConnectionFacts, peers: Peers) -> None:
        self.rule: str | None = None
        self.injected: tuple[FaultInjected, ...] = ()
        self._context = context
        self._facts = facts
        self._peers = peers

    @property
    def id(self) -> str:
        """What the log calls the connection, such as ``redis#17``."""
        return f"{self._context.proxy}#{self._facts.number}"

    @property
    def client(self) -> str:
        """The client's address and port."""
        return host_port(self._facts.client, self._facts.client_port)

    def opened(self) -> None:
        """A client was accepted."""
        bus = self._context.bus
        if bus.wants(ConnectionOpened):
            bus.publish(ConnectionOpened(proxy=self._context.proxy, connection=self.id, client=self.client))

    def matched(self, match: Match) -> None:
        """A rule matched the connection."""
        if not match.dry_run and match.rule != BY_HAND:
            self.rule = match.rule

    def fault(self, match: Match, fault: Fault, trigger: str, sees: str, degraded: str | None = None) -> None:
        """A fault was injected; or would have been, by a rule that is a dry run."""
        if match.dry_run:
            self._context.bus.publish(FaultDryRun(**self._of(match, fault, trigger, sees, degraded)))
        else:
            self._publish(FaultInjected(**self._of(match, fault, trigger, sees, degraded)))

    def disabled(self) -> None:
        """The connection is reset, as an edit has disabled the proxy."""
        self._publish(FaultInjected(**self._of(None, None, "edit", self._peers.client_on_rst(), None)))

    def _publish(self, event: FaultInjected) -> None:
        self.injected = (*self.injected, event)
        self._context.bus.publish(event)

    def _of(
        self, match: Match | None, fault: Fault | None, trigger: str, sees: str, degraded: str | None
    ) -> dict[str, Any]:
        return {
            "proxy": self._context.proxy,
            "connection": self.id,
            "client": self.client,
            "upstream": str(self._context.dialler.target),
            "rule": match.rule or None if match is not None else None,
            "source": "api" if match is not None and match.rule == BY_HAND else None,
            "fault": fault.key if fault is not None else DISABLED,
            "ordinal": match.ordinal or None if match is not None else None,
            "options": options(fault) if fault is not None else {},
            "trigger": trigger,
            "client_sees": sees,
            "degraded": degraded,
            "bytes_upstream": self._peers.delivered(Direction.UPSTREAM),
            "bytes_downstream": self._peers.delivered(Direction.DOWNSTREAM),
            "elapsed_ms": self._elapsed_ms(),
        }

    def upstream_failed(self, error: str) -> None:
        """The upstream could not be reached; ``error`` is the errno's name."""
        self._context.bus.publish(
            UpstreamFailed(
                proxy=self._context.proxy,
                connection=self.id,
                client=self.client,
                upstream=str(self._context.dialler.target),
                error=error,
                elapsed_ms=self._elapsed_ms(),
            )
        )

    def crashed(self, error: Exception) -> None:
        """A bug of ours has ended the connection."""
        self._context.bus.publish(ConnectionCrashed.because_of(error, proxy=self._context.proxy, connection=self.id))

    def closed(self, ended_by: EndedBy, bytes_changed: int) -> None:
        """The connection is over."""
        bus = self._context.bus
        if bus.wants(ConnectionClosed):
            bus.publish(
                ConnectionClosed(
                    proxy=self._context.proxy,
                    connection=self.id,
                    client=self.client,
                    rule=self.rule,
                    faults=tuple(fault.fault for fault in self.injected),
                    bytes_upstream=self._peers.delivered(Direction.UPSTREAM),
                    bytes_downstream=self._peers.delivered(Direction.DOWNSTREAM),
                    bytes_changed=bytes_changed,
                    duration_ms=self._elapsed_ms(),
                    ended_by=ended_by,
                )
            )

    def _elapsed_ms(self) -> float:
        return (trio.current_time() - self._facts.at_s) * 1000
