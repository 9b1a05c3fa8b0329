"""What has happened since the process began, as numbers that only grow: for metrics."""

from collections import Counter
from datetime import UTC, datetime

from faultproxy.events.types import (
    ConfigLoaded,
    ConfigRejected,
    Event,
    FaultDryRun,
    FaultInjected,
    OutageStarted,
    UpstreamFailed,
)

FaultKey = tuple[str, str, str]
"""A rule, empty for what no rule asked for; a fault; and exact or degraded."""


class Totals:
    """A subscriber that counts faults, dry runs and failed dials by proxy. An outage is one fault of its rule.

    ``latest`` has the connection of the last fault of each kind. ``reloaded_at`` is when the file was last in force, in
    seconds since 1970; ``is_reloaded`` says that it has not been rejected since.
    """

    wants: frozenset[type[Event]] = frozenset(
        {FaultInjected, FaultDryRun, OutageStarted, UpstreamFailed, ConfigLoaded, ConfigRejected}
    )

    def __init__(self) -> None:
        self.faults: dict[str, Counter[FaultKey]] = {}
        self.latest: dict[str, dict[FaultKey, str]] = {}
        self.dry_runs: dict[str, Counter[tuple[str, str]]] = {}
        self.failures: dict[str, Counter[str]] = {}
        self.is_reloaded = True
        self.reloaded_at = datetime.now(UTC).timestamp()

    def receive(self, event: Event) -> None:
        """Count it."""
        match event:
            case FaultInjected():
                key = (event.rule or "", event.fault, "exact" if event.degraded is None else "degraded")
                self.faults.setdefault(event.proxy, Counter())[key] += 1
                self.latest.setdefault(event.proxy, {})[key] = event.connection
            case OutageStarted():
                self.faults.setdefault(event.proxy, Counter())[event.rule, event.fault, "exact"] += 1
            case FaultDryRun():
                self.dry_runs.setdefault(event.proxy, Counter())[event.rule or "", event.fault] += 1
            case UpstreamFailed():
                self.failures.setdefault(event.proxy, Counter())[event.error] += 1
            case ConfigLoaded(source="file"):
                self.is_reloaded, self.reloaded_at = True, datetime.now(UTC).timestamp()
            case ConfigRejected(source="file"):
                self.is_reloaded = False
