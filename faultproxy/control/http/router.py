"""Which handler answers which request."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal
from urllib.parse import unquote

from pydantic import BaseModel

from faultproxy.control.http.messages import EventStream, Handler, HttpProblem, Request, Response
from faultproxy.control.http.security import ANYBODY, Access
from faultproxy.text import nearest
from faultproxy.units import quote

Dialect = Literal["native", "toxiproxy"]
Renderer = Callable[[HttpProblem], Response]
_NATIVE_ONLY: Mapping[Dialect, Renderer] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a template of paths, ``/v1/proxies/{name}``, whose parameters match one segment each.

    ``summary`` is one sentence; ``body`` and ``answer`` are the models of what comes in and goes out. ``dialect`` is
    how its problems are told. ``is_public``: it is answered without a token, as it tells nothing and changes nothing.
    ``query`` has a sentence for each name that the query may have; below /v1/ any other is 400. ``headers`` has one for
    each header that the handler heeds.
    """

    method: str
    template: str
    handler: Handler
    summary: str
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    dialect: Dialect = "native"
    is_public: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> Sequence[str]:
        """Those that it answers; Toxiproxy has no HEAD."""
        return ("GET", "HEAD") if self.method == "GET" and self.dialect == "native" else (self.method,)


class Router:
    """Finds the route of a request by its path's segments; a fixed segment goes before a parameter.

    ``access`` is asked before the handler is. ``renderers`` tell the problems of other dialects than the native; one of
    them is that nobody has a path outside /v1/ and /page/, which is told as Toxiproxy would.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        access: Access = ANYBODY,
        renderers: Mapping[Dialect, Renderer] = _NATIVE_ONLY,
    ) -> None:
        self.routes = tuple(routes)
        self._access = access
        self._renderers = renderers
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route]]] = {}
        for route in sorted(routes, key=lambda route: route.template.count("{")):
            segments = tuple(route.template.split("/"))
            self._by_length.setdefault(len(segments), []).append((segments, route))
        self._fixed = {each.template: self._search(each.template) for each in routes if "{" not in each.template}

    async def answer(self, request: Request) -> Response | EventStream:
        """Have its handler answer; a HEAD as a GET, in the native dialect. What is refused is told in the path's."""
        matching = self._matching(request.path)
        found = next(((route, given) for route, given in matching if request.method in route.methods), None)
        try:
            self._access.check(request, needs_token=found is None or not found[0].is_public)
            if found is not None:
                route, parameters = found
                if request.query and route.template.startswith("/v1/"):
                    _check_query(request.query, route)
                return await route.handler(replace(request, parameters=parameters) if parameters else request)
            raise _nothing_there(request, [route for route, _ in matching])
        except HttpProblem as problem:
            dialect = matching[0][0].dialect if matching else _dialect(request.path)
            render = self._renderers.get(dialect, HttpProblem.response)
            return render(problem)

    def _matching(self, path: str) -> list[tuple[Route, Mapping[str, str]]]:
        return self._fixed.get(path) or self._search(path)

    def _search(self, path: str) -> list[tuple[Route, Mapping[str, str]]]:
        sent = path.split("/")
        return [
            (route, parameters)
            for segments, route in self._by_length.get(len(sent), ())
            if (parameters := _match(segments, sent)) is not None
        ]


def _dialect(unknown: str) -> Dialect:
    return "native" if unknown.startswith(("/v1/", "/page/")) else "toxiproxy"


def _nothing_there(request: Request, routes: Sequence[Route]) -> HttpProblem:
    if not routes:
        return HttpProblem(404, "Not Found", f"there is nothing at {request.path[:200]}; GET /v1/openapi.json has all")
    allowed = ", ".join(sorted({method for route in routes for method in route.methods}))
    return HttpProblem(405, "Method Not Allowed", f"{request.path[:200]} takes {allowed}", headers={"allow": allowed})


def _check_query(query: Mapping[str, str], route: Route) -> None:
    """Refuse a name that the query may not have: a typo of proxy= would mean all of them. Raises HttpProblem (400)."""
    for name in query:
        if name not in route.query:
            near = nearest(name, route.query)
            right = f"write {near}" if near else f"it may have {', '.join(route.query) or 'none'}"
            raise HttpProblem(400, "Bad Request", f"{quote(name)} is not a name of this query; {right}")


def _match(segments: Sequence[str], sent: Sequence[str]) -> Mapping[str, str] | None:
    """The parameters of a path, decoded only now: ``%2F`` is part of a name. An empty one is none."""
    parameters = {}
    for segment, part in zip(segments, sent, strict=True):
        if segment.startswith("{") and part:
            parameters[segment[1:-1]] = unquote(part)
        elif segment != part:
            return None
    return parameters
