"""GET /v1/events: what has happened, and what happens."""

from itertools import islice
from typing import cast, get_args

from faultproxy.control.http.feed import MOST_EVENTS, Feed, Filter
from faultproxy.control.http.messages import ApiModel, EventStream, HttpProblem, Request, Response
from faultproxy.control.http.router import Route
from faultproxy.control.loop import in_batches
from faultproxy.events.types import EVENTS, Level
from faultproxy.text import nearest
from faultproxy.units import quote

_BATCH = 256
_NAMES = tuple(kind.name for kind in EVENTS)


class Events(ApiModel):
    """Events in the order in which they happened, each as its line in the log, and its ``id``."""

    events: list[dict[str, object]]
    last: int
    """The id to ask on from: ``since=`` it."""
    dropped: int
    """How many events after ``since`` are not kept any more."""


def routes(feed: Feed) -> tuple[Route, ...]:
    """The routes of this module."""

    async def events(request: Request) -> Response | EventStream:
        asked = _filter(request)
        since = _number(request, "since")
        if "text/event-stream" in request.headers.get("accept", ""):
            last = _number(request, "last-event-id") if "last-event-id" in request.headers else since
            return EventStream(feed.listen(asked, last, debug=asked.level == "debug"))
        limit = _number(request, "limit")
        most = MOST_EVENTS if limit is None else limit
        if since is None:
            entries = list(islice(filter(asked, feed.latest()), most))[::-1]
        else:
            entries = list(islice(filter(asked, feed.since(since)), most))
        is_cut = since is not None and entries and len(entries) == most
        last = entries[-1].id if is_cut else feed.last_id
        dropped = feed.missed(since) if since is not None else 0
        found = [entry.json async for entry in in_batches(entries, _BATCH)]
        head = b'{"last":%d,"dropped":%d,"events":[' % (last, dropped)
        return Response(200, head + b",".join(found) + b"]}", {"content-type": "application/json"})

    return (
        Route(
            "GET",
            "/v1/events",
            events,
            "The last 10,000 events; with Accept: text/event-stream, those that come.",
            answer=Events,
            query={
                "event": "Those of these names, with commas between them.",
                "proxy": "Those of this proxy.",
                "rule": "Those of this rule.",
                "level": "Those from this level up: debug, info, warning or error.",
                "since": "Those after this id.",
                "limit": "The last so many; with since, the first so many after it.",
            },
            headers={"Last-Event-ID": "Of a stream: those after this id, as browsers ask that come back."},
        ),
    )


def _filter(request: Request) -> Filter:
    names = frozenset(filter(None, request.query.get("event", "").split(",")))
    for name in sorted(names - set(_NAMES)):
        right = f"ask for {nearest(name, _NAMES) or 'any of ' + ', '.join(_NAMES)}"
        raise HttpProblem(400, "Bad Request", f"event: {quote(name)} is no event; {right}")
    level = request.query.get("level", "info")
    if level not in get_args(Level):
        raise HttpProblem(400, "Bad Request", f"level: {quote(level)} is none; ask for debug, info, warning or error")
    return Filter(names or None, request.query.get("proxy"), request.query.get("rule"), cast(Level, level))


def _number(request: Request, name: str) -> int | None:
    text = request.headers.get(name) or request.query.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise HttpProblem(400, "Bad Request", f"{name}: {quote(text)} is not a number; write one such as 100")
    return int(text)
