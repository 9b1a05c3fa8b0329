"""Attempts: what each client tried, in its order, and how that ended. Filled from a log's lines, or from events."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

from faultproxy.events.types import (
    DISABLED,
    ConfigLoaded,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    FaultInjected,
    LogDropped,
    OutageEnded,
    OutageStarted,
    ProxyStarted,
    ProxyStopped,
    UpstreamFailed,
)

WANTED: frozenset[type[Event]] = frozenset(
    {
        ConfigLoaded,
        ConnectionClosed,
        ConnectionOpened,
        FaultInjected,
        LogDropped,
        OutageEnded,
        OutageStarted,
        ProxyStarted,
        ProxyStopped,
        UpstreamFailed,
    }
)
"""The kinds of events that say anything of attempts."""
_ERRORS = frozenset({"ECONNREFUSED", "ECONNRESET", "EPIPE", "ECONNABORTED", "EHOSTUNREACH", "ENETUNREACH", "EOF"})
_SILENCES = frozenset({"ETIMEDOUT", "silence"})
_DELAY = "delay"
_GAVE_UP = "no answer in time"
_SLOW_CONNECT = "slow_connect"
_MOST_OPEN = 100_000
_MOST_LEAKS = 1_000
_MOST_OUTAGES = 1_000
_MOST_RESTARTS = 1_000
_LEAK_S = 0.9  # a proxy that has sent FIN reads on for a second


class Cause(NamedTuple):
    """What failed an attempt: the rule (None: no rule), its fault, and what the client saw."""

    rule: str | None
    fault: str
    sees: str


class ClientAttempt(NamedTuple):
    """A connection that a client asked for. It was served, unless it has a cause of failure.

    ``failed_s`` is when the client could know; None where that was not seen (it waited for its own timeout).
    """

    started_s: float
    failed_s: float | None = None
    cause: Cause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """From when to when every client was kept out, and by what; None while it lasts."""

    proxy: str
    cause: Cause
    started_s: float
    ended_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A connection that the client held open for so long after EOF."""

    proxy: str
    client: str
    connection: str
    held_s: float


class Restart(NamedTuple):
    """Another run of faultproxy started a proxy anew; when the run before had stopped it, if that was seen."""

    proxy: str
    stopped_s: float | None
    started_s: float


class _Open:
    """A connection that may still change: where its attempt stands, and what it had received when it fell silent."""

    __slots__ = ("attempts", "bytes_downstream", "client", "delayed_by", "index", "is_half_open")

    def __init__(self, client: tuple[str, str], attempts: list[ClientAttempt], index: int) -> None:
        self.client = client
        self.attempts = attempts
        self.index = index
        self.delayed_by: Cause | None = None
        self.bytes_downstream = 0
        self.is_half_open = False


_IS_DISABLED = Cause(None, DISABLED, "ECONNREFUSED")


class Attempts:
    """Collects the attempts of each proxy's clients. Times are seconds since the first event, as saw() returns them.

    Holds at most ``most`` attempts: when there are more, the older half of each client's is dropped, and counted in
    ``forgotten``. ``delayed`` counts those that a fault had delayed, and that the client closed. ``dropped`` counts log
    lines that are missing, ``sees_all`` says whether connections without a fault were reported too.
    """

    def __init__(self, most: int = 2_000_000) -> None:
        self.outages: list[Outage] = []
        self.proxies: dict[str, str] = {}
        self.restarts: list[Restart] = []
        self.dropped = 0
        self.forgotten = 0
        self.delayed = 0
        self.sees_all = False
        self.first_s: float | None = None
        self.last_s = 0.0
        self._most = most
        self._count = 0
        self._clients: dict[tuple[str, str], list[ClientAttempt]] = {}
        self._open: dict[str, _Open] = {}
        self._causes: dict[Cause, Cause] = {}
        self._leaks: list[Leak] = []
        self._run: str | None = None
        self._stopped: dict[str, float] = {}

    def clients(self) -> Iterator[tuple[str, str, list[ClientAttempt]]]:
        """The attempts of each proxy and client, by when they started."""
        for (proxy, client), attempts in _settled(self._clients, self._open.values() if self.sees_all else ()).items():
            yield proxy, client, sorted(attempts, key=attrgetter("started_s"))

    def copy(self) -> "Attempts":
        """The same to be read, while this one goes on."""
        copy = Attempts(self._most)
        copy.outages, copy.proxies, copy.restarts = list(self.outages), dict(self.proxies), list(self.restarts)
        copy.dropped, copy.forgotten, copy.sees_all = self.dropped, self.forgotten, self.sees_all
        copy.delayed = self.delayed
        copy.first_s, copy.last_s = self.first_s, self.last_s
        copy._clients = _settled(self._clients, self._open.values() if self.sees_all else ())
        copy._leaks = self.leaks()
        return copy

    def leaks(self) -> list[Leak]:
        """Connections that were held open after EOF, those that still are among them."""
        still = []
        for connection, its in self._open.items():
            attempt = its.attempts[its.index]
            if attempt.cause is not None and attempt.cause.sees == "EOF" and attempt.failed_s is not None:
                held_s = round(self.last_s - attempt.failed_s, 6)
                if held_s >= _LEAK_S:
                    still.append(Leak(proxy=its.client[0], client=its.client[1], connection=connection, held_s=held_s))
        return (self._leaks + still)[:_MOST_LEAKS]

    def saw(self, at_s: float) -> float:
        """Something happened at this time of any clock; the same in seconds since the first event."""
        if self.first_s is None:
            self.first_s = at_s
        since_s = round(at_s - self.first_s, 6)
        if since_s > self.last_s:
            self.last_s = since_s
        return since_s

    def started(self, at_s: float, proxy: str, run: str) -> None:
        """A proxy started, with no outage of an earlier run. Another run numbers its connections anew."""
        self.outage_ended(at_s, proxy)
        stopped_s = self._stopped.pop(proxy, None)
        if self.proxies.get(proxy, run) != run and len(self.restarts) < _MOST_RESTARTS:
            self.restarts.append(Restart(proxy, stopped_s, at_s))
        self.proxies[proxy] = run
        if run != self._run:
            self._run = run
            self._open.clear()

    def stopped(self, at_s: float, proxy: str) -> None:
        """A proxy stopped, and with it its outage."""
        self.outage_ended(at_s, proxy)
        self._stopped[proxy] = at_s

    def opened(self, at_s: float, proxy: str, connection: str, client: str) -> None:
        """A client was accepted."""
        self.sees_all = True
        its = self._open.get(connection)
        if its is None:
            self._begin(at_s, proxy, connection, client)
        else:  # its SYN was delayed
            its.is_half_open = False

    def fault(
        self,
        at_s: float,
        proxy: str,
        connection: str,
        client: str,
        cause: Cause,
        elapsed_ms: float,
        bytes_downstream: int,
    ) -> None:
        """A fault was injected."""
        its = self._open.get(connection)
        cause = self._causes.setdefault(cause, cause)
        failed_s = at_s if cause.sees in _ERRORS else None
        has_failed = failed_s is not None or cause.sees in _SILENCES
        if its is None:
            started_s = round(at_s - elapsed_ms / 1000, 6)
            its = self._begin(started_s, proxy, connection, client, failed_s, cause if has_failed else None)
            its.is_half_open = cause.fault == _SLOW_CONNECT
        elif has_failed:
            _fail(its, failed_s, cause)
        if has_failed and failed_s is None:
            its.bytes_downstream = bytes_downstream
        elif cause.sees == _DELAY:
            its.delayed_by = cause

    def upstream_failed(
        self, at_s: float, proxy: str, connection: str, client: str, error: str, elapsed_ms: float
    ) -> None:
        """The upstream could not be dialled for this client."""
        its = self._open.get(connection)
        if its is None:
            its = self._begin(round(at_s - elapsed_ms / 1000, 6), proxy, connection, client)
        cause = Cause(None, "upstream", error)
        _fail(its, at_s, self._causes.setdefault(cause, cause))

    def closed(self, at_s: float, connection: str, ended_by: str, bytes_upstream: int, bytes_downstream: int) -> None:
        """A connection is over."""
        self.sees_all = True
        its = self._open.pop(connection, None)
        if its is None:
            return
        started_s, failed_s, cause = its.attempts[its.index]
        if cause is None:
            delayed_by = its.delayed_by
            if delayed_by is not None and ended_by == "client":
                if bytes_upstream and not bytes_downstream:
                    cause = Cause(delayed_by.rule, delayed_by.fault, _GAVE_UP)
                    _fail(its, at_s, self._causes.setdefault(cause, cause))
                else:
                    self.delayed += 1
        elif failed_s is None:
            if bytes_downstream > its.bytes_downstream:  # the silence was over before the client lost patience
                its.attempts[its.index] = ClientAttempt(started_s)
            elif ended_by != "drain":
                its.attempts[its.index] = ClientAttempt(started_s, at_s, cause)
        elif cause.sees == "EOF" and at_s - failed_s >= _LEAK_S and len(self._leaks) < _MOST_LEAKS:
            proxy, client = its.client
            self._leaks.append(
                Leak(proxy=proxy, client=client, connection=connection, held_s=round(at_s - failed_s, 6))
            )

    def outage_started(self, at_s: float, proxy: str, cause: Cause) -> None:
        """Every client is kept out from now on."""
        if len(self.outages) >= _MOST_OUTAGES:
            del self.outages[0]
        self.outages.append(Outage(proxy=proxy, cause=cause, started_s=at_s))

    def outage_ended(self, at_s: float, proxy: str, fault: str | None = None) -> None:
        """The proxy's outage by this fault is over, if one lasts; without a fault, whichever lasts."""
        for index, one in enumerate(self.outages):
            if one.proxy == proxy and one.ended_s is None and fault in {None, one.cause.fault}:
                self.outages[index] = replace(one, ended_s=max(at_s, one.started_s))  # a clock may be set back

    def forget(self, proxy: str | None) -> None:
        """Begin anew with this proxy, or with all: only an outage that lasts is kept."""
        for key in [key for key in self._clients if proxy in {None, key[0]}]:
            self._count -= len(self._clients.pop(key))
        for connection in [name for name, its in self._open.items() if proxy in {None, its.client[0]}]:
            del self._open[connection]
        self._leaks = [leak for leak in self._leaks if proxy not in {None, leak.proxy}]
        self.outages = [one for one in self.outages if proxy not in {None, one.proxy} or one.ended_s is None]

    def _begin(
        self,
        at_s: float,
        proxy: str,
        connection: str,
        client: str,
        failed_s: float | None = None,
        cause: Cause | None = None,
    ) -> _Open:
        if self._count >= self._most:
            dropped = _drop_older_half(self._clients, self._open)
            self.forgotten += dropped
            self._count -= dropped
        host = client.rpartition(":")[0].strip("[]") if client[:5] != "unix:" else client
        key = proxy, host
        attempts = self._clients.get(key)
        if attempts is None:
            attempts = self._clients[key] = []
        its = _Open(key, attempts, len(attempts))
        attempts.append(ClientAttempt(at_s, failed_s, cause))
        self._open[connection] = its
        if len(self._open) > _MOST_OPEN:  # at level info no line says that one is over
            for oldest in tuple(islice(self._open, _MOST_OPEN // 2)):
                del self._open[oldest]
        self._count += 1
        return its


def _drop_older_half(clients: dict[tuple[str, str], list[ClientAttempt]], still_open: dict[str, _Open]) -> int:
    """Drop the older half of each client's attempts, the larger half of an odd number; how many these were."""
    dropped = {}
    for key, attempts in tuple(clients.items()):
        dropped[key] = (len(attempts) + 1) // 2
        del attempts[: dropped[key]]
        if not attempts:
            del clients[key]
    for connection, its in tuple(still_open.items()):
        its.index -= dropped.get(its.client, 0)
        if its.index < 0:
            del still_open[connection]
    return sum(dropped.values())


def _fail(its: _Open, at_s: float | None, cause: Cause) -> None:
    started_s, failed_s, before = its.attempts[its.index]
    if before is None or failed_s is None:
        its.attempts[its.index] = ClientAttempt(started_s, at_s, cause)


def _settled(
    clients: Mapping[tuple[str, str], Sequence[ClientAttempt]], still_open: Iterable[_Open]
) -> dict[tuple[str, str], list[ClientAttempt]]:
    """A copy, in which those whose SYN was delayed and who never came back for it have failed; when was not seen."""
    settled = {key: list(attempts) for key, attempts in clients.items()}
    for its in still_open:
        attempt = its.attempts[its.index]
        if its.is_half_open and its.delayed_by is not None and attempt.cause is None:
            cause = Cause(its.delayed_by.rule, its.delayed_by.fault, _GAVE_UP)
            settled[its.client][its.index] = ClientAttempt(attempt.started_s, None, cause)
    return settled


def take_event(attempts: Attempts, at_s: float, event: Event) -> None:
    """Take an event that happened at this time."""
    at_s = attempts.saw(at_s)
    match event:
        case ConnectionOpened():
            attempts.opened(at_s, event.proxy, event.connection, event.client)
        case ConnectionClosed():
            attempts.closed(at_s, event.connection, event.ended_by, event.bytes_upstream, event.bytes_downstream)
        case FaultInjected(connection=connection, client=client, elapsed_ms=elapsed_ms):
            cause = Cause(event.rule, event.fault, event.client_sees)
            attempts.fault(at_s, event.proxy, connection, client, cause, elapsed_ms, event.bytes_downstream)
        case UpstreamFailed(connection=connection, client=client, elapsed_ms=elapsed_ms):
            attempts.upstream_failed(at_s, event.proxy, connection, client, event.error, elapsed_ms)
        case OutageStarted():
            attempts.outage_started(at_s, event.proxy, Cause(event.rule, event.fault, event.client_sees))
        case OutageEnded():
            attempts.outage_ended(at_s, event.proxy, event.fault)
        case ProxyStarted():
            attempts.started(at_s, event.proxy, event.run)
            take_config(attempts, at_s, {event.proxy: event.config})
        case ProxyStopped():
            attempts.stopped(at_s, event.proxy)
        case ConfigLoaded():
            take_config(attempts, at_s, event.config)
        case LogDropped():
            attempts.dropped += event.count


def take_config(attempts: Attempts, at_s: float, proxies: Mapping[str, Any]) -> None:
    """Proxies have this configuration from now on: one that is disabled keeps every client out."""
    for proxy, config in proxies.items():
        is_disabled = config.get("enabled") is False
        lasts = any(
            one.proxy == proxy and one.cause == _IS_DISABLED and one.ended_s is None for one in attempts.outages
        )
        if is_disabled and not lasts:
            attempts.outage_started(at_s, proxy, _IS_DISABLED)
        elif lasts and not is_disabled:
            attempts.outage_ended(at_s, proxy, DISABLED)
