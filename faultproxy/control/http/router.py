"""Which handler answers which request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import unquote

from pydantic import BaseModel

from faultproxy.control.http.messages import EventStream, Handler, HttpProblem, Request, Response


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a template of paths, ``/v1/proxies/{name}``, whose parameters match one segment each.

    ``summary`` is one sentence; ``body`` and ``answer`` are the models of what comes in and goes out.
    """

    method: str
    template: str
    handler: Handler
    summary: str
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    dialect: Literal["native", "toxiproxy"] = "native"


class Router:
    """Finds the route of a request by its path's segments; a fixed segment goes before a parameter."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route]]] = {}
        for route in sorted(routes, key=lambda route: "{" in route.template):
            segments = tuple(route.template.split("/"))
            self._by_length.setdefault(len(segments), []).append((segments, route))

    async def answer(self, request: Request) -> Response | EventStream:
        """Have its handler answer. Raises HttpProblem (404, 405) where there is none, or what the handler raises."""
        sent = request.path.split("/")
        matching = [
            (route, parameters)
            for segments, route in self._by_length.get(len(sent), ())
            if (parameters := _match(segments, sent)) is not None
        ]
        for route, parameters in matching:
            if route.method == request.method:
                return await route.handler(replace(request, parameters=parameters))
        if matching:
            raise HttpProblem(405, "Method not allowed")
        raise HttpProblem(404, "Not found", f"there is nothing at {request.path[:200]}")


def _match(segments: Sequence[str], sent: Sequence[str]) -> Mapping[str, str] | None:
    parameters = {}
    for segment, part in zip(segments, sent, strict=True):
        if segment.startswith("{"):
            parameters[segment[1:-1]] = unquote(part)
        elif segment != part:
            return None
    return parameters
