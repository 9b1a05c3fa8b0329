"""The report: what the clients of each proxy did about the faults, as values, and as what JSON can say. Pure."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from operator import attrgetter
from typing import Any

from faultproxy.report.attempts import Attempts, Cause, ClientAttempt, Leak, Outage, Restart
from faultproxy.report.backoff import Backoff, recognise
from faultproxy.report.episodes import Episode, find_episodes
from faultproxy.report.storms import Storm, find_storms


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientReport:
    """What one client of one proxy did. A client is an address: what several programs behind it do is one."""

    proxy: str
    client: str
    attempts: int
    failures: int
    episodes: tuple[Episode, ...]
    backoff: Backoff

    @property
    def recovery_s(self) -> float | None:
        """The longest time to recovery; None if there was none, or an episode without one."""
        times = [episode.recovery_s for episode in self.episodes]
        return None if None in times else max((time for time in times if time is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyReport:
    """What the clients of one proxy did together."""

    proxy: str
    attempts: int
    failures: int
    clients: int
    outages: tuple[Outage, ...]
    storms: tuple[Storm, ...]
    leaks: tuple[Leak, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryReport:
    """What the clients did. Times are seconds since the first event; ``begins`` is when that was, if a log says so.

    ``clients`` are those that failed at least once. ``notes`` say what could not be seen.
    """

    begins: str | None
    lasts_s: float
    clients: tuple[ClientReport, ...]
    proxies: tuple[ProxyReport, ...]
    notes: tuple[str, ...]

    def client(self, address: str, proxy: str | None = None) -> ClientReport:
        """What the client with this address did, at this proxy if there are several.

        Raises LookupError if it was not seen to fail, with what could not be seen.
        """
        found = [its for its in self.clients if its.client == address and proxy in (None, its.proxy)]
        if len(found) == 1:
            return found[0]
        if found:
            raise LookupError(f"{address} failed at {', '.join(its.proxy for its in found)}; say at which proxy")
        others = ", ".join(dict.fromkeys(its.client for its in self.clients))
        at = f" at {proxy}" if proxy is not None else ""
        seen = f"{address} was not seen to fail{at}; {f'those that were: {others}' if others else 'no client was'}"
        raise LookupError("; ".join([seen, *self.notes]))

    def __str__(self) -> str:
        from faultproxy.report.text import as_text  # noqa: PLC0415  # which is made of reports

        return as_text(self)


def make_report(attempts: Attempts, *, begins: str | None = None, notes: Iterable[str] = ()) -> RetryReport:
    """The report of what was collected."""
    by_proxy: dict[str, list[tuple[str, Sequence[ClientAttempt]]]] = {name: [] for name in attempts.proxies}
    for proxy, client, its in attempts.clients():
        by_proxy.setdefault(proxy, []).append((client, its))
    for outage in attempts.outages:
        by_proxy.setdefault(outage.proxy, [])
    leaks = attempts.leaks()
    clients: list[ClientReport] = []
    proxies: list[ProxyReport] = []
    for proxy, seen in by_proxy.items():
        outages = [outage for outage in attempts.outages if outage.proxy == proxy]
        apart = _apart(outages, attempts.last_s)
        failed = [client for client in (_client(proxy, *each, attempts, apart) for each in seen) if client.failures]
        episodes = (episode for client in failed for episode in client.episodes)
        clients += failed
        proxies.append(
            ProxyReport(
                proxy=proxy,
                attempts=sum(len(its) for _, its in seen),
                failures=sum(client.failures for client in failed),
                clients=len(seen),
                outages=tuple(outages),
                storms=find_storms([its for _, its in seen], episodes, outages, attempts.last_s),
                leaks=tuple(leak for leak in leaks if leak.proxy == proxy),
            )
        )
    return RetryReport(
        begins=begins,
        lasts_s=attempts.last_s,
        clients=tuple(clients),
        proxies=tuple(proxies),
        notes=(*notes, *_notes(attempts, clients)),
    )


def _client(
    proxy: str,
    client: str,
    its: Sequence[ClientAttempt],
    attempts: Attempts,
    outages: Sequence[tuple[float, float]],
) -> ClientReport:
    episodes = tuple(
        episode
        for of_run, ends_s in _runs(its, [one for one in attempts.restarts if one.proxy == proxy], attempts.last_s)
        for episode in find_episodes(of_run, ends_s, sees_all=attempts.sees_all, outages=outages)
    )
    return ClientReport(
        proxy=proxy,
        client=client,
        attempts=len(its),
        failures=sum(attempt.cause is not None for attempt in its),
        episodes=episodes,
        backoff=recognise(
            [one.waits_s for one in episodes],
            sum(one.overlaps for one in episodes),
            sees_all=all(one.gaps_before_outage is None for one in episodes),
        ),
    )


def _runs(
    its: Sequence[ClientAttempt], restarts: Iterable[Restart], log_ends_s: float
) -> Iterator[tuple[Sequence[ClientAttempt], float]]:
    """The attempts in each run of the proxy, and when it ended; as early as that may have been, if nobody saw it."""
    begin = 0
    for restart in restarts:
        end = bisect_left(its, restart.started_s, begin, key=attrgetter("started_s"))
        yield its[begin:end], restart.stopped_s if restart.stopped_s is not None else -math.inf
        begin = end
    yield its[begin:], log_ends_s


def _apart(outages: Iterable[Outage], log_ends_s: float) -> list[tuple[float, float]]:
    """When there were outages: in order, those that overlap as one."""
    apart: list[tuple[float, float]] = []
    for start_s, end_s in sorted(
        (one.started_s, one.ended_s if one.ended_s is not None else log_ends_s) for one in outages
    ):
        if apart and start_s <= apart[-1][1]:
            apart[-1] = apart[-1][0], max(apart[-1][1], end_s)
        else:
            apart.append((start_s, end_s))
    return apart


def as_json(report: RetryReport) -> dict[str, Any]:
    """The report in what JSON can say."""
    plain: dict[str, Any] = _plain(report)
    return plain


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Cause):
        return value._asdict()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _notes(attempts: Attempts, clients: Sequence[ClientReport]) -> Iterable[str]:
    """What could not be seen."""
    if not attempts.sees_all and attempts.first_s is not None:
        yield (
            "no connection without a fault is in this log, so a recovery is not seen, nor how many attempts there "
            "were in all: run with --log-level debug"
        )
    if attempts.dropped:
        yield f"{attempts.dropped} log lines are missing, as nobody took them: attempts may be among them"
    if attempts.forgotten:
        yield f"the oldest {attempts.forgotten} attempts are not kept any more"
    if attempts.delayed:
        yield (
            f"delayed connections that the client closed ({attempts.delayed}) count as served: one that gave up "
            "waiting closes in the same way, unless it resets"
        )
    refused = [outage for outage in attempts.outages if outage.cause.sees == "ECONNREFUSED"]
    if refused:
        yield (
            "while an outage lasts the kernel refuses clients that are not seen: their attempts are not counted. "
            "With `probability: 100%` on its rule each SYN is judged, and seen (with CAP_NET_RAW)"
        )
    if len(attempts.outages) > len(refused):
        yield "while an outage silences the listener, clients that try to connect are not seen"
    if any(episode.unseen for client in clients for episode in client.episodes):
        yield "where a client waits for an answer in vain, its own timeout is part of the wait until its next attempt"
