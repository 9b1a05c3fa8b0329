"""What is published of a client, from its SYN to the end of its connection."""

from typing import Any

import trio

from faultproxy.addresses import host_port
from faultproxy.events.bus import Bus
from faultproxy.events.types import DISABLED, ConnectionCrashed, FaultDryRun, FaultInjected, UpstreamFailed
from faultproxy.faults.base import Fault, options
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import BY_HAND, Match
from faultproxy.upstream.dial import Target


class Publisher:
    """Publishes the events of one client that a proxy takes to ``upstream``. ``injected`` is what it has had."""

    __slots__ = ("_bus", "_facts", "_proxy", "_upstream", "injected")

    def __init__(self, bus: Bus, proxy: str, upstream: Target, facts: ConnectionFacts) -> None:
        self.injected: tuple[FaultInjected, ...] = ()
        self._bus = bus
        self._proxy = proxy
        self._upstream = upstream
        self._facts = facts

    @property
    def id(self) -> str:
        """What the log calls the connection, such as ``redis#17``."""
        return f"{self._proxy}#{self._facts.number}"

    @property
    def client(self) -> str:
        """The client's address and port."""
        return host_port(self._facts.client, self._facts.client_port)

    def fault(self, match: Match, fault: Fault, trigger: str, sees: str, degraded: str | None = None) -> None:
        """A fault was injected; or would have been, by a rule that is a dry run."""
        if match.dry_run:
            self._bus.publish(FaultDryRun(**self._of(match, fault, trigger, sees, degraded)))
        else:
            self._inject(FaultInjected(**self._of(match, fault, trigger, sees, degraded)))

    def disabled(self, sees: str) -> None:
        """The connection is reset, as an edit has disabled the proxy."""
        self._inject(FaultInjected(**self._of(None, None, "edit", sees, None)))

    def upstream_failed(self, error: str) -> None:
        """The upstream could not be reached; ``error`` is the errno's name."""
        self._bus.publish(
            UpstreamFailed(
                proxy=self._proxy,
                connection=self.id,
                client=self.client,
                upstream=str(self._upstream),
                error=error,
                elapsed_ms=self._elapsed_ms(),
            )
        )

    def crashed(self, error: Exception) -> None:
        """A bug of ours has ended the connection."""
        self._bus.publish(ConnectionCrashed.because_of(error, proxy=self._proxy, connection=self.id))

    def _delivered(self) -> tuple[int, int]:
        """How many bytes have reached the server, and the client: none before there is a connection."""
        return 0, 0

    def _inject(self, event: FaultInjected) -> None:
        self.injected = (*self.injected, event)
        self._bus.publish(event)

    def _of(
        self, match: Match | None, fault: Fault | None, trigger: str, sees: str, degraded: str | None
    ) -> dict[str, Any]:
        upstream, downstream = self._delivered()
        return {
            "proxy": self._proxy,
            "connection": self.id,
            "client": self.client,
            "upstream": str(self._upstream),
            "rule": match.rule or None if match is not None else None,
            "source": "api" if match is not None and match.rule == BY_HAND else None,
            "fault": fault.key if fault is not None else DISABLED,
            "ordinal": match.ordinal or None if match is not None else None,
            "options": options(fault) if fault is not None else {},
            "trigger": trigger,
            "client_sees": sees,
            "degraded": degraded,
            "bytes_upstream": upstream,
            "bytes_downstream": downstream,
            "elapsed_ms": self._elapsed_ms(),
        }

    def _elapsed_ms(self) -> float:
        return (trio.current_time() - self._facts.at_s) * 1000
