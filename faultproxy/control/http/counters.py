"""POST /v1/counters/reset: ordinals, counts and expectations begin anew."""

from faultproxy.control.http.messages import ApiModel, Request, Response
from faultproxy.control.http.proxies import running
from faultproxy.control.http.router import Route
from faultproxy.control.manager import Manager
from faultproxy.events.types import CountersReset


class CountersOf(ApiModel):
    """The proxies whose counters begin anew."""

    proxies: list[str]


def routes(manager: Manager) -> tuple[Route, ...]:
    """The routes of this module."""

    async def reset(request: Request) -> Response:
        proxy = request.query.get("proxy")
        names = list(manager.proxies) if proxy is None else [running(manager, proxy).name]
        manager.reset_counts(*([] if proxy is None else names))
        manager.bus.publish(CountersReset(proxy=proxy, source="api"))
        return Response.json({"proxies": names})

    return (
        Route(
            "POST",
            "/v1/counters/reset",
            reset,
            "Have ordinals, counts and expectations begin anew, of all proxies or of ?proxy=.",
            answer=CountersOf,
            query={"proxy": "Only the rules of this proxy."},
        ),
    )
