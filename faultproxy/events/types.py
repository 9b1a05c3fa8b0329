"""The events. Their names, levels and fields, which are those of the log, stand here and nowhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from traceback import format_exception
from typing import ClassVar, Literal, Self, get_args

Level = Literal["debug", "info", "warning", "error"]
State = Literal["open", "outage", "disabled", "failed", "draining"]
EndedBy = Literal["client", "server", "fault", "upstream_error", "drain"]
DISABLED = "disabled"
"""The fault of a connection that is reset because an edit has disabled its proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStarted:
    """A proxy listens at this real address, with so many rules. ``run`` is the same for all proxies of a process."""

    name: ClassVar[str] = "proxy.started"
    level: ClassVar[Level] = "info"

    proxy: str
    listen: str
    upstream: str
    rules: int
    seed: int
    run: str
    config: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """A fault of a connection, and how far the connection had come.

    ``connection`` reads ``redis#17``; ``ordinal`` is its number among those that the rule considered. Both ``rule`` and
    ``ordinal`` are None where no rule asked for it: the proxy was disabled. ``degraded`` is None where the fault was
    exact, else the reason why it was not. Bytes are those delivered in each direction.
    """

    proxy: str
    connection: str
    client: str
    upstream: str
    rule: str | None
    fault: str
    ordinal: int | None
    options: Mapping[str, object]
    trigger: str
    client_sees: str
    degraded: str | None = None
    bytes_upstream: int
    bytes_downstream: int
    elapsed_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInjected(_Fault):
    """A fault was injected; a shape acted for the first time."""

    name: ClassVar[str] = "fault.injected"
    level: ClassVar[Level] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultDryRun(_Fault):
    """A fault of a dry-run rule would have been injected."""

    name: ClassVar[str] = "fault.dry_run"
    level: ClassVar[Level] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekTimedOut:
    """The client had said only so many ``bytes`` when peek_timeout was over: rules decide by those."""

    name: ClassVar[str] = "peek.timed_out"
    level: ClassVar[Level] = "debug"

    proxy: str
    connection: str
    client: str
    bytes: int
    elapsed_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOpened:
    """A client was accepted."""

    name: ClassVar[str] = "connection.opened"
    level: ClassVar[Level] = "debug"

    proxy: str
    connection: str
    client: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionClosed:
    """A connection is over. ``rule`` is the last that matched it, ``faults`` the keys of those injected, in order.

    ``bytes_changed`` is how many bytes ``corrupt`` has changed, in both directions.
    """

    name: ClassVar[str] = "connection.closed"
    level: ClassVar[Level] = "debug"

    proxy: str
    connection: str
    client: str
    rule: str | None
    faults: Sequence[str]
    bytes_upstream: int
    bytes_downstream: int
    bytes_changed: int
    duration_ms: float
    ended_by: EndedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFailed:
    """The upstream could not be dialled; ``error`` is the errno's name."""

    name: ClassVar[str] = "upstream.failed"
    level: ClassVar[Level] = "warning"

    proxy: str
    connection: str
    client: str
    upstream: str
    error: str
    elapsed_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageStarted:
    """The listener is closed, so every connect is refused; or silent, so none is answered."""

    name: ClassVar[str] = "outage.started"
    level: ClassVar[Level] = "info"

    proxy: str
    rule: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageEnded:
    """The listener is open again."""

    name: ClassVar[str] = "outage.ended"
    level: ClassVar[Level] = "info"

    proxy: str
    rule: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultUnavailable:
    """Faults of the rules need what is not allowed here: they are degraded."""

    name: ClassVar[str] = "fault.unavailable"
    level: ClassVar[Level] = "warning"

    proxy: str
    faults: Sequence[str]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenFailed:
    """The listener could not be opened again after an outage; ``error`` is the errno's name."""

    name: ClassVar[str] = "listen.failed"
    level: ClassVar[Level] = "warning"

    proxy: str
    listen: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptPaused:
    """The process ran out of something that a new connection needs; so many connections are ``open``."""

    name: ClassVar[str] = "accept.paused"
    level: ClassVar[Level] = "warning"

    error: str
    open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptResumed:
    """What had run out is there again."""

    name: ClassVar[str] = "accept.resumed"
    level: ClassVar[Level] = "info"

    error: str
    open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigLoaded:
    """An edit is in force; ``config`` holds the proxies that it changed.

    ``unaffected`` is how many open connections new or changed triggered faults do not reach, as their rule is not live.
    """

    name: ClassVar[str] = "config.loaded"
    level: ClassVar[Level] = "info"

    source: Literal["file", "api", "python"]
    file: str | None
    changes: Sequence[str]
    config: Mapping[str, object]
    unaffected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRejected:
    """An edit is not valid, or cannot be carried out, and changed nothing."""

    name: ClassVar[str] = "config.rejected"
    level: ClassVar[Level] = "error"

    source: Literal["file", "api", "python"]
    file: str | None
    errors: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCrashed:
    """A bug of ours ended this connection, and no other."""

    name: ClassVar[str] = "connection.crashed"
    level: ClassVar[Level] = "error"

    proxy: str
    connection: str
    traceback: str

    @classmethod
    def because_of(cls, error: BaseException, *, proxy: str, connection: str) -> Self:
        """The event of this error."""
        return cls(proxy=proxy, connection=connection, traceback="".join(format_exception(error)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyDraining:
    """No more clients are accepted; so many connections are ``open`` and may still finish."""

    name: ClassVar[str] = "proxy.draining"
    level: ClassVar[Level] = "info"

    proxy: str
    open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStopped:
    """A proxy is done: how many connections it had, and how often each rule's faults were injected, also if never."""

    name: ClassVar[str] = "proxy.stopped"
    level: ClassVar[Level] = "info"

    proxy: str
    connections: int
    faults: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStatus:
    """How a proxy stands now, as somebody asked.

    It is ``failed`` when its address was taken while the listener was closed. ``rules`` are in their order, each with
    how many connections it ``considered`` and ``matched``, and how many faults it ``injected``. ``next_window_edge`` is
    how long it takes until a window opens or closes, such as ``12.5s``; None if none will.
    """

    name: ClassVar[str] = "proxy.status"
    level: ClassVar[Level] = "info"

    proxy: str
    state: State
    open: int
    rules: Mapping[str, Mapping[str, int]]
    next_window_edge: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDropped:
    """So many lines are missing from the log here, because nobody took them. The log itself writes it."""

    name: ClassVar[str] = "log.dropped"
    level: ClassVar[Level] = "warning"

    count: int


Event = (
    ProxyStarted
    | FaultInjected
    | FaultDryRun
    | PeekTimedOut
    | ConnectionOpened
    | ConnectionClosed
    | UpstreamFailed
    | OutageStarted
    | OutageEnded
    | ConfigLoaded
    | ConfigRejected
    | FaultUnavailable
    | ListenFailed
    | AcceptPaused
    | AcceptResumed
    | ConnectionCrashed
    | ProxyDraining
    | ProxyStopped
    | ProxyStatus
    | LogDropped
)
EVENTS: tuple[type[Event], ...] = get_args(Event)
"""Every kind of event."""


def log_fields(event: Event, injected: int | None = None) -> dict[str, object]:
    """The fields of an event's log line, in their order; milliseconds to the microsecond.

    For a fault, ``injected`` is how often its rule's faults were injected (or, in a dry run, would have been), this
    one included; and ``degraded`` becomes ``fidelity`` and, if it was not exact, ``reason``.
    """
    line: dict[str, object] = {}
    for field in fields(event):
        value = getattr(event, field.name)
        if field.name == "degraded":
            line |= {"fidelity": "exact"} if value is None else {"fidelity": "degraded", "reason": value}
        else:
            line[field.name] = round(value, 3) if isinstance(value, float) else value
        if field.name == "ordinal":
            line["injected"] = injected
    return line
