"""GET /v1/report: what the clients did about the faults, of the connections and events that are still kept."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import trio

from faultproxy.addresses import host_port
from faultproxy.connection.record import ConnectionRecord
from faultproxy.control.http.feed import Feed
from faultproxy.control.http.messages import ApiModel, Request, Response
from faultproxy.control.http.router import Route
from faultproxy.events.types import ConnectionClosed, ConnectionOpened, Event
from faultproxy.proxy.registry import Registry
from faultproxy.report.attempts import WANTED, Attempts, take_event
from faultproxy.report.html import as_html
from faultproxy.report.report import RetryReport, as_json, make_report

_CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The report is one file, whose style stands in it."""


class ReportAnswer(ApiModel):
    """What ``faultproxy report --json`` prints. Times are seconds since the first event, which was at ``begins``."""

    begins: str | None
    lasts_s: float
    clients: list[dict[str, Any]]
    proxies: list[dict[str, Any]]
    notes: list[str]


def routes(feed: Feed, registry: Registry) -> tuple[Route, ...]:
    """The routes of this module."""

    async def report(request: Request) -> Response:
        events, notes = [*_events(feed, registry)], [*_notes(feed, registry)]
        begins = registry.wall_time(min((at_s for at_s, _ in events), default=trio.current_time())).isoformat()
        if "text/html" in request.headers.get("accept", ""):
            page = await trio.to_thread.run_sync(lambda: as_html(_report(events, begins, notes)).encode())
            return Response(200, page, {"content-type": "text/html; charset=utf-8", "content-security-policy": _CSP})
        return Response.json(await trio.to_thread.run_sync(lambda: as_json(_report(events, begins, notes))))

    return (
        Route(
            "GET", "/v1/report", report, "What the clients did about the faults; with Accept: text/html a page.",
            answer=ReportAnswer,
        ),
    )  # fmt: skip


def _report(events: list[tuple[float, Event]], begins: str, notes: list[str]) -> RetryReport:
    attempts = Attempts()
    for at_s, event in sorted(events, key=lambda each: each[0]):  # what came at the same time stays in its order
        take_event(attempts, at_s, event)
    return make_report(attempts, begins=begins, notes=notes)


def _events(feed: Feed, registry: Registry) -> Iterator[tuple[float, Event]]:
    """What happened, and when; of one moment, a connection's beginning before its faults, and those before its end."""
    records = [*registry.closed(), *(connection.record() for connection in registry.open())]
    yield from ((record.facts.at_s, _opened(record)) for record in records)
    kinds = WANTED - {ConnectionOpened, ConnectionClosed}
    yield from ((entry.at_s, entry.event) for entry in feed.since(0) if type(entry.event) in kinds)
    yield from chain.from_iterable(map(_closed, records))


def _opened(record: ConnectionRecord) -> Event:
    proxy, facts = record.proxy, record.facts
    return ConnectionOpened(
        proxy=proxy, connection=f"{proxy}#{facts.number}", client=host_port(facts.client, facts.client_port)
    )


def _closed(record: ConnectionRecord) -> Iterator[tuple[float, Event]]:
    if record.ended_at_s is None or record.ended_by is None:
        return
    proxy, facts, at_s = record.proxy, record.facts, record.ended_at_s
    yield (
        at_s,
        ConnectionClosed(
            proxy=proxy,
            connection=f"{proxy}#{facts.number}",
            client=host_port(facts.client, facts.client_port),
            rule=record.rule,
            faults=tuple(fault.fault for fault in record.injected),
            bytes_upstream=record.carried.to_server,
            bytes_downstream=record.carried.to_client,
            bytes_changed=0,
            duration_ms=(at_s - facts.at_s) * 1e3,
            ended_by=record.ended_by,
        ),
    )


def _notes(feed: Feed, registry: Registry) -> Iterator[str]:
    if registry.forgotten:
        yield f"{registry.forgotten} earlier connections are not kept: this is about those after them"
    if feed.missed(0):
        yield f"{feed.missed(0)} earlier events are not kept"
