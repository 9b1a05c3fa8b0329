"""GET /v1/report: what the clients did about the faults, of the connections and events that are still kept."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import trio

from faultproxy.addresses import host_port
from faultproxy.connection.record import ConnectionRecord
from faultproxy.control.http.feed import Entry, Feed
from faultproxy.control.http.messages import ApiModel, Request, Response
from faultproxy.control.http.router import Route
from faultproxy.control.loop import in_thread
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
        records = [*registry.closed(), *(connection.record() for connection in registry.open())]
        entries, notes, now_s = [*feed.since(0)], [*_notes(feed, registry)], trio.current_time()

        def make() -> RetryReport:  # in a thread: of thousands of connections it takes a while, and bytes do not wait
            events = sorted(_events(records, entries), key=lambda each: each[0])
            attempts = Attempts()
            attempts.sees_all = True
            for at_s, event in events:
                take_event(attempts, at_s, event)
            attempts.saw(now_s)
            begins = registry.wall_time(events[0][0] if events else now_s).isoformat()
            return make_report(attempts, begins=begins, notes=notes)

        if "text/html" in request.headers.get("accept", ""):
            page = await in_thread(lambda: as_html(make()).encode())
            return Response(200, page, {"content-type": "text/html; charset=utf-8", "content-security-policy": _CSP})
        return Response.json(await in_thread(lambda: as_json(make())))

    return (
        Route(
            "GET",
            "/v1/report",
            report,
            "What the clients did about the faults; with Accept: text/html a page.",
            answer=ReportAnswer,
        ),
    )


def _events(records: Sequence[ConnectionRecord], entries: Sequence[Entry]) -> Iterator[tuple[float, Event]]:
    """What happened, and when; of one moment, a connection's beginning before its faults, and those before its end."""
    yield from ((record.facts.at_s, _opened(record)) for record in records)
    kinds = WANTED - {ConnectionOpened, ConnectionClosed}
    yield from ((entry.at_s, entry.event) for entry in entries if type(entry.event) in kinds)
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
