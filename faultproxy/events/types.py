"""The events. Their names, levels and fields, which are those of the log, stand here and nowhere else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from traceback import format_exception
from typing import ClassVar, Literal, Self, TypeVar, dataclass_transform

Level = Literal["debug", "info", "warning", "error"]
State = Literal["open", "outage", "disabled", "failed", "draining"]
EndedBy = Literal["client", "server", "fault", "upstream_error", "drain"]
DISABLED = "disabled"
"""The fault of a connection that is reset because an edit has disabled its proxy."""
_T = TypeVar("_T", bound="Event")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. ``name`` is what the log calls it, ``level`` from which level up the log writes it."""

    name: ClassVar[str]
    level: ClassVar[Level]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def _event(name: str, level: Level = "info") -> Callable[[type[_T]], type[_T]]:
    def make(kind: type[_T]) -> type[_T]:
        kind.name, kind.level = name, level
        return dataclass(frozen=True, slots=True, kw_only=True)(kind)

    return make


@_event("proxy.started")
class ProxyStarted(Event):
    """A proxy listens at this real address, with so many rules. ``run`` is the same for all proxies of a process."""

    proxy: str
    listen: str
    upstream: str
    rules: int
    seed: int
    run: str
    config: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault(Event):
    """A fault of a connection, and how far the connection had come.

    ``connection`` reads ``redis#17``; ``ordinal`` is its number among those that the rule considered. Both ``rule`` and
    ``ordinal`` are None where no rule asked for it: the proxy was disabled, or ``source`` is ``api``, and it was
    injected by hand. ``degraded`` is None where the fault was exact, else the reason why it was not. Bytes are those
    delivered in each direction.
    """

    proxy: str
    connection: str
    client: str
    upstream: str
    rule: str | None
    source: Literal["api"] | None = None
    fault: str
    ordinal: int | None
    options: Mapping[str, object]
    trigger: str
    client_sees: str
    degraded: str | None = None
    bytes_upstream: int
    bytes_downstream: int
    elapsed_ms: float


@_event("fault.injected")
class FaultInjected(_Fault):
    """A fault was injected; a shape acted for the first time."""


@_event("fault.dry_run")
class FaultDryRun(_Fault):
    """A fault of a dry-run rule would have been injected."""


@_event("peek.timed_out", "debug")
class PeekTimedOut(Event):
    """The client had said only so many ``bytes`` when peek_timeout was over: rules decide by those."""

    proxy: str
    connection: str
    client: str
    bytes: int
    elapsed_ms: float


@_event("proxy_header.rejected", "warning")
class ProxyHeaderRejected(Event):
    """A connection was reset: it did not begin with a header of the PROXY protocol. No rule has counted it.

    ``client`` is the peer, as a rule the load balancer; ``bytes`` is how many had come.
    """

    proxy: str
    connection: str
    client: str
    reason: str
    bytes: int
    elapsed_ms: float


@_event("connection.opened", "debug")
class ConnectionOpened(Event):
    """A client was accepted."""

    proxy: str
    connection: str
    client: str


@_event("connection.closed", "debug")
class ConnectionClosed(Event):
    """A connection is over. ``rule`` is the last that matched it, ``faults`` the keys of those injected, in order.

    ``bytes_changed`` is how many bytes ``corrupt`` has changed, in both directions.
    """

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


@_event("upstream.failed", "warning")
class UpstreamFailed(Event):
    """The upstream could not be dialled; ``error`` is the errno's name."""

    proxy: str
    connection: str
    client: str
    upstream: str
    error: str
    elapsed_ms: float


@_event("outage.started")
class OutageStarted(Event):
    """The listener is closed, so every connect is refused; or silent, so none is answered: as ``client_sees`` says."""

    proxy: str
    rule: str
    fault: str
    client_sees: str


@_event("outage.ended")
class OutageEnded(Event):
    """The listener is open again."""

    proxy: str
    rule: str
    fault: str


@_event("fault.unavailable", "warning")
class FaultUnavailable(Event):
    """Faults of the rules need what is not allowed here: they are degraded."""

    proxy: str
    faults: Sequence[str]
    reason: str


@_event("listen.failed", "warning")
class ListenFailed(Event):
    """The listener could not be opened again after an outage; ``error`` is the errno's name."""

    proxy: str
    listen: str
    error: str


@_event("accept.paused", "warning")
class AcceptPaused(Event):
    """The process ran out of something that a new connection needs; so many connections are ``open``."""

    error: str
    open: int


@_event("accept.resumed")
class AcceptResumed(Event):
    """What had run out is there again."""

    error: str
    open: int


@_event("config.loaded")
class ConfigLoaded(Event):
    """An edit is in force; ``config`` holds the proxies that it changed.

    ``unaffected`` is how many open connections new or changed triggered faults do not reach, as their rule is not live.
    """

    source: Literal["file", "api", "python"]
    file: str | None
    changes: Sequence[str]
    config: Mapping[str, object]
    unaffected: int


@_event("config.rejected", "error")
class ConfigRejected(Event):
    """An edit is not valid, or cannot be carried out, and changed nothing."""

    source: Literal["file", "api", "python"]
    file: str | None
    errors: Sequence[str]


@_event("counters.reset")
class CountersReset(Event):
    """Ordinals, counts and expectations begin anew, of this proxy, or of all where it is None."""

    proxy: str | None
    source: Literal["api", "python"]


@_event("connection.crashed", "error")
class ConnectionCrashed(Event):
    """A bug of ours ended this connection, and no other."""

    proxy: str
    connection: str
    traceback: str

    @classmethod
    def because_of(cls, error: BaseException, *, proxy: str, connection: str) -> Self:
        """The event of this error."""
        return cls(proxy=proxy, connection=connection, traceback="".join(format_exception(error)))


@_event("proxy.draining")
class ProxyDraining(Event):
    """No more clients are accepted; so many connections are ``open`` and may still finish."""

    proxy: str
    open: int


@_event("proxy.stopped")
class ProxyStopped(Event):
    """A proxy is done: how many connections it had, and how often each rule's faults were injected, also if never."""

    proxy: str
    connections: int
    faults: Mapping[str, int]


@_event("proxy.status")
class ProxyStatus(Event):
    """How a proxy stands now, as somebody asked.

    It is ``failed`` when its address was taken while the listener was closed. ``rules`` are in their order, each with
    how many connections it ``considered`` and ``matched``, and how many faults it ``injected``. ``next_window_edge`` is
    how long it takes until a window opens or closes, such as ``12.5s``; None if none will.
    """

    proxy: str
    state: State
    open: int
    rules: Mapping[str, Mapping[str, int]]
    next_window_edge: str | None


@_event("api.started")
class ApiStarted(Event):
    """The API listens at this real address; ``token``: whether it asks for one."""

    listen: str
    token: bool


@_event("api.exposed", "warning")
class ApiExposed(Event):
    """The API listens where other hosts reach it, and asks for no token: any of them may change what runs."""

    listen: str


@_event("api.paused", "warning")
class ApiPaused(Event):
    """The process ran out of something that a new client of the API needs; so many of them are ``open``."""

    error: str
    open: int


@_event("api.resumed")
class ApiResumed(Event):
    """Clients of the API are accepted again."""

    open: int


@_event("api.crashed", "error")
class ApiCrashed(Event):
    """A bug of ours kept a request from being answered; ``request`` is its method and path."""

    request: str
    traceback: str

    @classmethod
    def because_of(cls, error: BaseException, *, request: str) -> Self:
        """The event of this error."""
        return cls(request=request, traceback="".join(format_exception(error)))


@_event("log.dropped", "warning")
class LogDropped(Event):
    """So many lines are missing from the log here, because nobody took them. The log itself writes it."""

    count: int


_KINDS = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, Event)]
EVENTS: tuple[type[Event], ...] = tuple(kind for kind in _KINDS if hasattr(kind, "name"))
"""Every kind of event."""


def log_fields(event: Event, injected: int | None = None) -> dict[str, object]:
    """The fields of an event's log line, in their order; milliseconds to the microsecond.

    For a fault, ``injected`` is how often its rule's faults were injected (or, in a dry run, would have been), this
    one included; ``degraded`` becomes ``fidelity`` and, if it was not exact, ``reason``; and without a ``source`` none
    is named.
    """
    line: dict[str, object] = {}
    for field in fields(event):
        value = getattr(event, field.name)
        if field.name == "degraded":
            line |= {"fidelity": "exact"} if value is None else {"fidelity": "degraded", "reason": value}
        elif field.name != "source" or value is not None:
            line[field.name] = round(value, 3) if isinstance(value, float) else value
        if field.name == "ordinal":
            line["injected"] = injected
    return line
