"""Toxiproxy's routes, beside the API's own."""

from collections.abc import Awaitable, Callable

from faultproxy.control.http.messages import HttpProblem, Request, Response
from faultproxy.control.http.router import Route
from faultproxy.control.http.toxiproxy import answers, bodies
from faultproxy.control.http.toxiproxy.answers import Refused
from faultproxy.control.http.toxiproxy.notes import Notes
from faultproxy.control.http.toxiproxy.proxies import PopulateStopped, ToxicProxies
from faultproxy.control.http.toxiproxy.proxy_toxics import ProxyToxics
from faultproxy.control.manager import Manager

_Handler = Callable[[Request], Awaitable[Response]]

_PROXY, _TOXICS, _TOXIC = "/proxies/{proxy}", "/proxies/{proxy}/toxics", "/proxies/{proxy}/toxics/{toxic}"


def routes(manager: Manager) -> tuple[Route, ...]:
    """The routes of this module."""
    notes = Notes(manager)
    calls = _Calls(ToxicProxies(manager, notes), ProxyToxics(manager, notes))
    return (
        _route("GET", "/version", calls.version, "The version of Toxiproxy whose API this is."),
        _route("POST", "/reset", calls.reset, "Enable all proxies and remove all toxics."),
        _route(
            "POST", "/populate", calls.populate, "Make the proxies of an array; those that are there are left alone."
        ),
        _route("GET", "/proxies", calls.list_proxies, "All proxies, by their names."),
        _route("POST", "/proxies", calls.create_proxy, "A new proxy."),
        _route("GET", _PROXY, calls.show_proxy, "One proxy."),
        _route("POST", _PROXY, calls.update_proxy, "Change a proxy."),
        _route("PATCH", _PROXY, calls.update_proxy, "Change a proxy."),
        _route("DELETE", _PROXY, calls.delete_proxy, "Remove a proxy, and drop its connections."),
        _route("GET", _TOXICS, calls.list_toxics, "A proxy's toxics."),
        _route("POST", _TOXICS, calls.create_toxic, "A new toxic."),
        _route("GET", _TOXIC, calls.show_toxic, "One toxic."),
        _route("POST", _TOXIC, calls.update_toxic, "Change a toxic."),
        _route("PATCH", _TOXIC, calls.update_toxic, "Change a toxic."),
        _route("DELETE", _TOXIC, calls.delete_toxic, "Remove a toxic."),
    )


def render(problem: HttpProblem) -> Response:
    """What the API refuses on one of these routes, or of a path that nobody has, as Toxiproxy says it.

    A method that is not there has no text.
    """
    if problem.status == 404:
        return answers.nothing_there()
    if problem.status == 405:
        return Response(405, headers=problem.headers)
    return answers.error_of(problem.status, problem.detail or problem.title)


def _route(method: str, template: str, handler: _Handler, summary: str) -> Route:
    async def answer(request: Request) -> Response:
        is_browser = request.headers.get("user-agent", "").startswith("Mozilla/")
        if is_browser and request.headers.get("sec-fetch-site") != "same-origin":  # but our own page may ask
            return answers.numbered(answers.no_browsers())
        try:
            return answers.numbered(await handler(request))
        except Refused as why:
            return answers.numbered(answers.error_of(why.status, why.message))

    return Route(method, template, answer, summary, dialect="toxiproxy")


class _Calls:
    """One method a call; what is not there is refused before the body is looked at."""

    def __init__(self, proxies: ToxicProxies, toxics: ProxyToxics) -> None:
        self._proxies = proxies
        self._toxics = toxics

    async def version(self, _: Request) -> Response:
        return answers.version()

    async def reset(self, _: Request) -> Response:
        await self._proxies.reset()
        return Response(204)

    async def populate(self, request: Request) -> Response:
        try:
            shown = await self._proxies.populate(bodies.proxies(bodies.read(request.body)))
        except PopulateStopped as stopped:
            return _stopped(stopped.why, stopped.shown or None)
        except Refused as why:
            return _stopped(why, None)
        return Response.json({"proxies": shown or None}, 201)

    async def list_proxies(self, _: Request) -> Response:
        return Response.json(await self._proxies.show_all())

    async def create_proxy(self, request: Request) -> Response:
        body = bodies.proxy(bodies.read(request.body))
        bodies.require(body)
        return Response.json(await self._proxies.create(body), 201)

    async def show_proxy(self, request: Request) -> Response:
        return Response.json(self._proxies.show(request.parameters["proxy"]))

    async def update_proxy(self, request: Request) -> Response:
        name = request.parameters["proxy"]
        self._proxies.show(name)
        return Response.json(await self._proxies.update(name, bodies.proxy(bodies.read(request.body))))

    async def delete_proxy(self, request: Request) -> Response:
        await self._proxies.delete(request.parameters["proxy"])
        return Response(204)

    async def list_toxics(self, request: Request) -> Response:
        return Response.json(self._toxics.show_all(request.parameters["proxy"]))

    async def create_toxic(self, request: Request) -> Response:
        name = request.parameters["proxy"]
        self._proxies.show(name)
        return Response.json(await self._toxics.add(name, bodies.read(request.body)))

    async def show_toxic(self, request: Request) -> Response:
        return Response.json(self._toxics.show(request.parameters["proxy"], request.parameters["toxic"]))

    async def update_toxic(self, request: Request) -> Response:
        name, toxic = request.parameters["proxy"], request.parameters["toxic"]
        self._toxics.show(name, toxic)
        return Response.json(await self._toxics.update(name, toxic, bodies.read(request.body)))

    async def delete_toxic(self, request: Request) -> Response:
        await self._toxics.remove(request.parameters["proxy"], request.parameters["toxic"])
        return Response(204)


def _stopped(why: Refused, shown: object) -> Response:
    return Response.json({"error": why.message, "status": why.status, "proxies": shown}, why.status)
