"""What happened last, kept as values: what a test asks its proxy for."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from faultproxy.events.stats import Stats
from faultproxy.events.types import (
    ConnectionClosed,
    ConnectionCrashed,
    Event,
    FaultDryRun,
    FaultInjected,
    OutageStarted,
    UpstreamFailed,
)

MOST_CONNECTIONS = 1_000
MOST_FAULTS = 10_000
_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that was injected: the fields of ``fault.injected``.

    ``ordinal`` is the connection's number among those that the rule considered, ``injected`` how often faults of the
    rule were injected, this one included; they and ``rule`` are None where the proxy was disabled. Where ``source`` is
    ``api`` no rule asked for it: it was injected by hand. An outage, which closes the listener, is a ``refuse`` of no
    connection. Bytes are those delivered by then.
    """

    fault: str
    rule: str | None
    ordinal: int | None
    injected: int | None
    connection: str | None = None
    client: str | None = None
    source: str | None = None
    client_sees: str
    trigger: str
    options: Mapping[str, object]
    fidelity: str = "exact"
    reason: str | None = None
    bytes_upstream: int = 0
    bytes_downstream: int = 0
    elapsed_ms: float = 0.0


class History:
    """A subscriber that keeps the last 1,000 connections, the last 10,000 faults and dry runs, and counts all of them.

    May be asked from any thread. ``on_news`` is called, by whoever publishes, after each event that is kept.
    """

    wants: frozenset[type[Event]] = frozenset(
        {FaultInjected, FaultDryRun, OutageStarted, ConnectionClosed, UpstreamFailed, ConnectionCrashed}
    )

    def __init__(self, stats: Stats, on_news: Callable[[], object] = lambda: None) -> None:
        self._stats = stats
        self._on_news = on_news
        self._lock = threading.Lock()
        self._faults: deque[Fault] = deque(maxlen=MOST_FAULTS)
        self._dry_runs: deque[Fault] = deque(maxlen=MOST_FAULTS)
        self._connections: deque[ConnectionClosed] = deque(maxlen=MOST_CONNECTIONS)
        self._counts: Counter[tuple[str | None, str]] = Counter()
        self._latest: dict[tuple[str | None, str], Fault] = {}
        self._dry_run_count = 0
        self._closed = 0
        self._failures: deque[UpstreamFailed] = deque(maxlen=_SHOWN)
        self._crashes: deque[str] = deque(maxlen=_SHOWN)

    def receive(self, event: Event) -> None:
        """Keep it."""
        with self._lock:
            match event:
                case FaultInjected() | OutageStarted():
                    self._keep_fault(_fault(event, self._stats.count(event)))
                case FaultDryRun():
                    self._dry_runs.append(_fault(event, self._stats.count(event)))
                    self._dry_run_count += 1
                case ConnectionClosed():
                    self._connections.append(event)
                    self._closed += 1
                case UpstreamFailed():
                    self._failures.append(event)
                case ConnectionCrashed():
                    self._crashes.append(event.traceback)
        self._on_news()

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that were injected, in order."""
        with self._lock:
            return tuple(self._faults)

    @property
    def dry_runs(self) -> tuple[Fault, ...]:
        """The faults of dry-run rules that would have been injected, in order."""
        with self._lock:
            return tuple(self._dry_runs)

    @property
    def connections(self) -> tuple[ConnectionClosed, ...]:
        """The connections that are over, in the order of their ends."""
        with self._lock:
            return tuple(self._connections)

    @property
    def closed(self) -> int:
        """How many connections are over."""
        return self._closed

    @property
    def crashes(self) -> tuple[str, ...]:
        """Tracebacks of bugs that ended connections."""
        with self._lock:
            return tuple(self._crashes)

    def count(self, fault: str | None = None, rule: str | None = None) -> int:
        """How often this fault of this rule was injected; None stands for any."""
        with self._lock:
            return sum(count for key, count in self._counts.items() if _is_asked_for(key, fault, rule))

    def found(self, fault: str | None, rule: str | None, nth: int) -> Fault | None:
        """The ``nth`` time that this fault of this rule was injected; None if it was not.

        Where that is no longer kept, the oldest that is, or else the latest.
        """
        with self._lock:
            later = sum(count for key, count in self._counts.items() if _is_asked_for(key, fault, rule)) - nth
            if later < 0:
                return None
            kept = [its for its in self._faults if _is_asked_for((its.rule, its.fault), fault, rule)]
            if not kept:
                return next(its for key, its in reversed(self._latest.items()) if _is_asked_for(key, fault, rule))
            return kept[max(0, len(kept) - 1 - later)]

    def report(self) -> str:
        """Faults, failed dials and closed connections as text, a line each, the last fifty of each."""
        with self._lock:
            parts = (
                _shown("injected", map(_fault_text, self._faults), sum(self._counts.values())),
                _shown("dry run", map(_fault_text, self._dry_runs), self._dry_run_count),
                _shown("upstream failed", (f"{its.connection}: {its.error}" for its in self._failures), 0),
                _shown("closed", map(_connection_text, self._connections), self._closed),
            )
            return "\n".join(line for part in parts for line in part)

    def _keep_fault(self, fault: Fault) -> None:
        key = fault.rule, fault.fault
        self._faults.append(fault)
        self._counts[key] += 1
        self._latest.pop(key, None)
        self._latest[key] = fault


def _is_asked_for(key: tuple[str | None, str], fault: str | None, rule: str | None) -> bool:
    its_rule, its_fault = key
    return fault in (None, its_fault) and rule in (None, its_rule)


def _fault(event: FaultInjected | FaultDryRun | OutageStarted, injected: int | None) -> Fault:
    if isinstance(event, OutageStarted):
        return Fault(
            fault=event.fault,
            rule=event.rule,
            ordinal=injected,
            injected=injected,
            client_sees=event.client_sees,
            trigger="outage",
            options={},
        )
    same = {field.name: getattr(event, field.name) for field in fields(Fault) if hasattr(event, field.name)}
    fidelity = "exact" if event.degraded is None else "degraded"
    return Fault(**same, injected=injected, fidelity=fidelity, reason=event.degraded)


def _shown(what: str, texts: Iterable[str], count: int) -> Sequence[str]:
    shown = list(texts)[-_SHOWN:]
    left_out = [f"{what}: {count - len(shown)} earlier ones"] if count > len(shown) else []
    return left_out + [f"{what}: {text}" for text in shown]


def _fault_text(fault: Fault) -> str:
    where = f"{fault.connection} {fault.client}" if fault.connection else "every client"
    moved = f"{fault.bytes_upstream} B up, {fault.bytes_downstream} B down"
    degraded = f" (degraded: {fault.reason})" if fault.reason else ""
    by = f"{fault.rule!r} no. {fault.ordinal}: " if fault.rule is not None else "by hand: " if fault.source else ""
    what = f"{by}{fault.fault}, {fault.trigger}, client sees {fault.client_sees}"
    return f"{where}: {what}; {moved}{degraded}"


def _connection_text(connection: ConnectionClosed) -> str:
    moved = f"{connection.bytes_upstream} B up, {connection.bytes_downstream} B down"
    faults = f", faults: {', '.join(connection.faults)}" if connection.faults else ""
    moved += f", {connection.bytes_changed} B changed" if connection.bytes_changed else ""
    ended = f"ended by {connection.ended_by} after {connection.duration_ms:.1f} ms"
    return f"{connection.connection} {connection.client}: {moved}, {ended}{faults}"
