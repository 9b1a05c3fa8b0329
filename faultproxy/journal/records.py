"""What the log told, kept as data for whoever runs a proxy from Python: the same lines, and nothing but them."""

import threading  # noqa: TID251  # the proxy tells in its thread, the test asks in its own
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import orjson

MOST_CONNECTIONS = 1_000
MOST_FAULTS = 10_000
_SHOWN = 50
_T = TypeVar("_T", bound="Fault | Connection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that struck: the fields of ``fault.injected``.

    An outage, which shuts the listener, is a ``refuse`` of no connection. Bytes are those delivered by then.
    """

    fault: str
    rule: str
    count: int
    connection: str | None = None
    client: str | None = None
    client_sees: str
    trigger: str
    options: Mapping[str, Any]
    fidelity: str
    reason: str | None = None
    bytes_upstream: int = 0
    bytes_downstream: int = 0
    elapsed_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A connection that is over: the fields of ``connection.closed``.

    ``rule`` is the last that picked it. ``ended_by`` is one of client, server, fault, upstream_error and drain.
    """

    connection: str
    client: str
    rule: str | None
    faults: tuple[str, ...]
    bytes_upstream: int
    bytes_downstream: int
    duration_ms: float
    ended_by: str


class Records:
    """A sink of log lines that keeps the last 1,000 connections, the last 10,000 faults, and all counts.

    May be asked from any thread. ``on_news`` is called after each line, by whoever logged it.
    """

    def __init__(self, on_news: Callable[[], object]) -> None:
        self.is_tty = False
        self.render_dropped: Callable[[int], bytes] = lambda _: b""
        self._on_news = on_news
        self._lock = threading.Lock()
        self._faults: deque[Fault] = deque(maxlen=MOST_FAULTS)
        self._shadows: deque[Fault] = deque(maxlen=MOST_FAULTS)
        self._connections: deque[Connection] = deque(maxlen=MOST_CONNECTIONS)
        self._struck: Counter[tuple[str, str]] = Counter()
        self._latest: dict[tuple[str, str], Fault] = {}
        self._shadowed: Counter[str] = Counter()
        self._closed = 0
        self._failures: deque[str] = deque(maxlen=_SHOWN)
        self._crashes: deque[str] = deque(maxlen=_SHOWN)

    def write(self, line: bytes) -> None:
        """Take a line of the log in its JSON format."""
        told = orjson.loads(line)
        with self._lock:
            self._keep(told)
        self._on_news()

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that struck, in order."""
        with self._lock:
            return tuple(self._faults)

    @property
    def shadows(self) -> tuple[Fault, ...]:
        """The faults of rules in shadow mode that would have struck, in order."""
        with self._lock:
            return tuple(self._shadows)

    @property
    def connections(self) -> tuple[Connection, ...]:
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

    def struck(self, fault: str | None = None, rule: str | None = None) -> int:
        """How often this fault of this rule struck; None stands for any."""
        with self._lock:
            return sum(count for key, count in self._struck.items() if _is_asked_for(key, fault, rule))

    def found(self, fault: str | None, rule: str | None, count: int) -> Fault | None:
        """The ``count``-th time that this fault of this rule struck; None if it did not.

        Where that is no longer kept, the oldest that is, or else the latest.
        """
        with self._lock:
            later = sum(times for key, times in self._struck.items() if _is_asked_for(key, fault, rule)) - count
            if later < 0:
                return None
            kept = [its for its in self._faults if _is_asked_for((its.rule, its.fault), fault, rule)]
            if not kept:
                return next(its for key, its in reversed(self._latest.items()) if _is_asked_for(key, fault, rule))
            return kept[max(0, len(kept) - 1 - later)]

    def shadowed(self, rule: str) -> int:
        """How often a rule in shadow mode would have struck."""
        with self._lock:
            return self._shadowed[rule]

    def report(self) -> str:
        """Faults, failed dials and closed connections as text, a line each, the last fifty of each."""
        with self._lock:
            parts = (
                _told("fault", [_fault_text(fault) for fault in self._faults], sum(self._struck.values())),
                _told("shadow", [_fault_text(fault) for fault in self._shadows], sum(self._shadowed.values())),
                _told("upstream failed", self._failures, len(self._failures)),
                _told("closed", [_connection_text(connection) for connection in self._connections], self._closed),
            )
            return "\n".join(line for part in parts for line in part)

    def _keep(self, told: Mapping[str, Any]) -> None:
        match told["event"]:
            case "fault.injected":
                self._struck_with(_as(Fault, told))
            case "fault.shadowed":
                self._shadows.append(_as(Fault, told))
                self._shadowed[told["rule"]] += 1
            case "outage.started":
                self._struck_with(_outage(told, self._struck[told["rule"], told["fault"]] + 1))
            case "connection.closed":
                self._connections.append(_as(Connection, {**told, "faults": tuple(told["faults"])}))
                self._closed += 1
            case "upstream.failed":
                self._failures.append(f"{told['connection']}: {told['error']}")
            case "connection.crashed":
                self._crashes.append(told["traceback"])

    def _struck_with(self, fault: Fault) -> None:
        key = fault.rule, fault.fault
        self._faults.append(fault)
        self._struck[key] += 1
        self._latest.pop(key, None)
        self._latest[key] = fault


def _is_asked_for(key: tuple[str, str], fault: str | None, rule: str | None) -> bool:
    its_rule, its_fault = key
    return fault in (None, its_fault) and rule in (None, its_rule)


def _as(kind: type[_T], told: Mapping[str, Any]) -> _T:
    return kind(**{field.name: told[field.name] for field in fields(kind) if field.name in told})


def _outage(told: Mapping[str, Any], count: int) -> Fault:
    return Fault(
        fault=told["fault"],
        rule=told["rule"],
        count=count,
        client_sees="ECONNREFUSED" if told["fault"] == "refuse" else "ETIMEDOUT",
        trigger="outage",
        options={},
        fidelity="exact",
    )


def _told(what: str, texts: Sequence[str] | deque[str], count: int) -> list[str]:
    shown = list(texts)[-_SHOWN:]
    left_out = [f"{what}: {count - len(shown)} earlier ones"] if count > len(shown) else []
    return left_out + [f"{what}: {text}" for text in shown]


def _fault_text(fault: Fault) -> str:
    where = f"{fault.connection} {fault.client}" if fault.connection else "every client"
    moved = f"{fault.bytes_upstream} B up, {fault.bytes_downstream} B down"
    degraded = f" (degraded: {fault.reason})" if fault.reason else ""
    struck = f"{fault.rule!r} no. {fault.count}: {fault.fault}, {fault.trigger}, client sees {fault.client_sees}"
    return f"{where}: {struck}; {moved}{degraded}"


def _connection_text(connection: Connection) -> str:
    moved = f"{connection.bytes_upstream} B up, {connection.bytes_downstream} B down"
    faults = f", faults: {', '.join(connection.faults)}" if connection.faults else ""
    ended = f"ended by {connection.ended_by} after {connection.duration_ms:.1f} ms"
    return f"{connection.connection} {connection.client}: {moved}, {ended}{faults}"
