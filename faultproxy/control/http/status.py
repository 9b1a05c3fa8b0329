"""GET /v1/status, /live and /ready: how the whole stands."""

from faultproxy.control.http.messages import Request, Response
from faultproxy.control.http.router import Route
from faultproxy.control.manager import Manager
from faultproxy.version import __version__


def routes(manager: Manager) -> tuple[Route, ...]:
    """The routes of this module."""

    async def status(_: Request) -> Response:
        return Response.json({"version": __version__, "seed": manager.seed})

    async def live(_: Request) -> Response:
        return Response.text("live\n")

    return (
        Route("GET", "/v1/status", status, "How the whole stands."),
        Route("GET", "/live", live, "200 as long as the loop turns."),
    )
