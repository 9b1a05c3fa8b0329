"""GET /metrics: what runs, in numbers, for Prometheus."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from faultproxy.control.http.messages import Request, Response
from faultproxy.control.http.router import Route
from faultproxy.control.loop import in_thread
from faultproxy.control.manager import Manager
from faultproxy.events.stats import Stats
from faultproxy.events.totals import Totals
from faultproxy.upstream.durations import Durations

_EXPOSITION = "faultproxy.control.http.exposition"


@dataclass(frozen=True, slots=True)
class Scraping:
    """What else metrics tell: how many lines of the log were dropped, and what is asked for beside our own.

    ``extra`` may hold ``toxiproxy``, the metrics of its proxies by its names, and ``process``, those of this process.
    """

    log_dropped: Callable[[], int] = lambda: 0
    extra: frozenset[str] = frozenset()


OUR_OWN = Scraping()


@dataclass(frozen=True, slots=True)
class Measurements:
    """Where the numbers come from that the proxies do not have."""

    stats: Stats
    totals: Totals
    dials: Durations
    scraping: Scraping = OUR_OWN


def routes(manager: Manager, measured: Measurements) -> tuple[Route, ...]:
    """The routes of this module."""

    async def metrics(request: Request) -> Response:
        exposition = await in_thread(partial(import_module, _EXPOSITION))  # only who scrapes needs its library
        accept = request.headers.get("accept", "")
        text, content_type = await exposition.render(manager, measured, accept)
        return Response(200, text, {"content-type": content_type})

    return (Route("GET", "/metrics", metrics, "What runs, in numbers, for Prometheus; OpenMetrics if asked for."),)
