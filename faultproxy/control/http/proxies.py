"""/v1/proxies: the proxies, how each stands, and edits of them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import trio
from pydantic import Field

from faultproxy.config.schema import ProxyConfig
from faultproxy.control.edits import NotFound, delete_proxy, patch_proxy, put_proxy
from faultproxy.control.http.applying import IF_MATCH, apply, etag, offloaded
from faultproxy.control.http.bodies import tree
from faultproxy.control.http.messages import ApiModel, HttpProblem, Request, Response
from faultproxy.control.http.router import Route
from faultproxy.control.loop import in_batches
from faultproxy.control.manager import Manager
from faultproxy.proxy.proxy import RunningProxy
from faultproxy.rules.conditions.counts import Bounds
from faultproxy.rules.conditions.window import Window
from faultproxy.rules.rule import BaseRule


class ProxyPatch(ApiModel):
    """The keys of a proxy that are to change, as a file has them; null gives a key its default."""


class WindowAnswer(ApiModel):
    """Where in its window a rule is."""

    at: float
    """When that was, in milliseconds since 1970."""
    elapsed_s: float
    """How long it was since the rule had taken effect."""
    is_open: bool
    next_edge_s: float | None
    """How long it takes until the window opens or closes; null if it never does again."""


class Expectation(ApiModel):
    """How often the rule's faults should be injected, and whether they have been."""

    min: int | None
    max: int | None
    is_met: bool


class RuleWithCounts(ApiModel):
    """A rule and what it has done. ``rule`` is as it would stand in a file."""

    name: str
    rule: dict[str, Any]
    considered: int
    """How many connections it has counted."""
    matched: int
    injected: int
    """How many faults of it were injected."""
    dry_runs: int
    """How many faults of it would have been, were it no dry run."""
    expect: Expectation | None
    window: WindowAnswer | None


class ProxyAnswer(ApiModel):
    """A proxy's keys as a file has them, but for ``listen``, which is its real address, and how it stands."""

    name: str
    state: Literal["open", "outage", "disabled", "failed", "draining"]
    listen: str
    open: int
    """How many connections are open."""
    connections: int
    """The number of the last one: how many there have been."""
    bytes_upstream: int
    """How many bytes they have delivered to the server, all of them together."""
    bytes_downstream: int
    rules: list[RuleWithCounts]
    next_window_edge_s: float | None
    """How long it takes until a window of any rule opens or closes."""


class ProxiesAnswer(ApiModel):
    """All proxies, in the order of the configuration."""

    proxies: list[ProxyAnswer] = Field(examples=[[]])


def routes(manager: Manager) -> tuple[Route, ...]:
    """The routes of this module."""

    async def proxies(_: Request) -> Response:
        names = in_batches(tuple(manager.proxies))
        found = [_proxy(manager, name) async for name in names if name in manager.proxies]  # it may be gone by now
        return Response.json({"proxies": found}, headers={"etag": etag(manager)})

    async def proxy(request: Request) -> Response:
        return _answer(manager, request)

    async def put(request: Request) -> Response:
        name, value = request.parameters["name"], await offloaded(request, partial(tree, request))
        is_new = name not in manager.proxies
        await apply(manager, put_proxy(name, value), request)
        return _answer(manager, request, 201 if is_new else 200)

    async def patch(request: Request) -> Response:
        value = await offloaded(request, partial(tree, request))
        await apply(manager, patch_proxy(request.parameters["name"], value), request)
        return _answer(manager, request)

    async def delete(request: Request) -> Response:
        await apply(manager, delete_proxy(request.parameters["name"]), request)
        return Response(204, headers={"etag": etag(manager)})

    one = "/v1/proxies/{name}"
    return (
        Route("GET", "/v1/proxies", proxies, "All proxies, and how they stand.", answer=ProxiesAnswer),
        Route("GET", one, proxy, "A proxy, and how it stands.", answer=ProxyAnswer),
        Route(
            "PUT",
            one,
            put,
            "Make a proxy, or make one what the body says.",
            body=ProxyConfig,
            answer=ProxyAnswer,
            headers=IF_MATCH,
        ),
        Route(
            "PATCH", one, patch, "Change some keys of a proxy.", body=ProxyPatch, answer=ProxyAnswer, headers=IF_MATCH
        ),
        Route("DELETE", one, delete, "Remove a proxy; its open connections go on until they end.", headers=IF_MATCH),
    )


def running(manager: Manager, name: str) -> RunningProxy:
    """The proxy of this name. Raises HttpProblem (404)."""
    if name not in manager.proxies:
        raise HttpProblem(404, "Not Found", str(NotFound("proxy", name)))
    return manager.proxies[name]


def _answer(manager: Manager, request: Request, status: int = 200) -> Response:
    name = request.parameters["name"]
    running(manager, name)
    return Response.json(_proxy(manager, name), status, {"etag": etag(manager)})


def _proxy(manager: Manager, name: str) -> dict[str, Any]:
    """What ProxyAnswer says."""
    proxy, config = manager.proxies[name], manager.config.proxies[name]
    rules = rule_answers(proxy)
    edges = [edge for rule in rules if rule["window"] and (edge := rule["window"]["next_edge_s"]) is not None]
    carried = proxy.connections.counts().carried
    return {
        "name": name,
        "state": proxy.state,
        **config.settings,
        "listen": str(proxy.listener.address),
        "open": proxy.open,
        "connections": proxy.accepted,
        "bytes_upstream": carried.to_server,
        "bytes_downstream": carried.to_client,
        "rules": rules,
        "next_window_edge_s": min(edges, default=None),
    }


def rule_answers(proxy: RunningProxy) -> list[dict[str, Any]]:
    """What RuleWithCounts says of each rule of a proxy."""
    injected, dry_runs, now = proxy.injected, proxy.dry_runs, trio.current_time()
    return [
        _rule(proxy, rule, injected.get(rule.name, 0), dry_runs.get(rule.name, 0), now) for rule in proxy.rules.rules
    ]


def _rule(proxy: RunningProxy, rule: BaseRule, injected: int, dry_runs: int, now: float) -> dict[str, Any]:
    state = proxy.rules.states[rule.name]
    return {
        "name": rule.name,
        "rule": rule.dumped,
        "considered": state.considered,
        "matched": state.matched,
        "injected": injected,
        "dry_runs": dry_runs,
        "expect": _expectation(rule.expect, injected) if rule.expect is not None else None,
        "window": _window(rule.window, now - state.since_s) if rule.window is not None else None,
    }


def _expectation(expect: Bounds, injected: int) -> Mapping[str, Any]:
    return {"min": expect.min, "max": expect.max, "is_met": expect.hold(injected)}


def _window(window: Window, elapsed_s: float) -> Mapping[str, Any]:
    edge = window.next_edge(elapsed_s)
    return {
        "at": round(datetime.now(UTC).timestamp() * 1000, 3),
        "elapsed_s": round(elapsed_s, 6),
        "is_open": window.is_open(elapsed_s),
        "next_edge_s": None if edge is None else round(edge - elapsed_s, 6),
    }
