"""GET /v1/status, /live and /ready: how the whole stands."""

from datetime import UTC, datetime

import trio

from faultproxy.control.http.applying import etag
from faultproxy.control.http.messages import ApiModel, Request, Response
from faultproxy.control.http.router import Route
from faultproxy.control.manager import Manager
from faultproxy.version import __version__


class Degraded(ApiModel):
    """Faults of a proxy's rules that this host does not allow as they should be, and why."""

    proxy: str
    faults: list[str]
    reason: str


class Status(ApiModel):
    """How the whole stands."""

    version: str
    run: str
    """An id of this run alone, which the log has too."""
    seed: int
    """What all draws are made from."""
    time: datetime
    """By the clock of this host, which those of events are by."""
    uptime_s: float
    workers: int
    """Processes that carry bytes."""
    file: str | None
    """The file that is followed, if any is."""
    revision: int
    """How many edits have changed what runs."""
    overlay: bool
    """Whether what runs differs from the file."""
    proxies: int
    open: int
    """Open connections of all proxies."""
    degraded: list[Degraded]


def routes(manager: Manager) -> tuple[Route, ...]:
    """The routes of this module."""

    async def status(_: Request) -> Response:
        degraded = [
            {"proxy": name, "faults": faults, "reason": reason}
            for name, proxy in manager.proxies.items()
            for reason, faults in proxy.degraded.items()
        ]
        answer = {
            "version": __version__,
            "run": manager.run_id,
            "seed": manager.seed,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "uptime_s": round(trio.current_time() - manager.started_at, 3),
            "workers": 1,
            "file": str(manager.file) if manager.file is not None else None,
            "revision": manager.revision,
            "overlay": manager.layers.has_overlay,
            "proxies": len(manager.proxies),
            "open": sum(proxy.open for proxy in manager.proxies.values()),
            "degraded": degraded,
        }
        return Response.json(answer, headers={"etag": etag(manager)})

    async def live(_: Request) -> Response:
        return Response.text("live\n")

    async def ready(_: Request) -> Response:
        waiting = [
            f"{name} cannot listen at {proxy.listener.address}"
            for name, proxy in manager.proxies.items()
            if proxy.state == "failed"
        ]
        return Response.text(f"not ready: {'; '.join(waiting)}\n", 503) if waiting else Response.text("ready\n")

    return (
        Route("GET", "/v1/status", status, "How the whole stands.", answer=Status),
        Route("GET", "/live", live, "200 as long as the loop turns.", is_public=True),
        Route("GET", "/ready", ready, "200 if every proxy listens that is to; else 503, and which.", is_public=True),
    )
