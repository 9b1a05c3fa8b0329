"""/v1/config, /v1/overlay, /v1/check and /v1/explain: whole configurations, come in and go out."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any, TypeVar

import trio
from pydantic_core import PydanticCustomError

from faultproxy.config.loader import ConfigError, build, examine_text, examine_value, parse
from faultproxy.config.schema import Config, ProxyConfig
from faultproxy.config.writing import to_yaml
from faultproxy.control.edits import NAME, Edit, drop_overlay
from faultproxy.control.http.applying import IF_MATCH, apply, etag, offloaded
from faultproxy.control.http.bodies import body, is_yaml
from faultproxy.control.http.messages import ApiModel, HttpProblem, Request, Response
from faultproxy.control.http.router import Route
from faultproxy.control.loop import in_batches, in_thread
from faultproxy.control.manager import Manager
from faultproxy.rules.explain import forecast
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.rule_set import RuleSet
from faultproxy.units import parse_duration, quote

_YAML = "application/yaml"
_MOST_FORECASTS = 10_000
_FEW = 50
_T = TypeVar("_T")


class Applied(ApiModel):
    """An edit that is in force: the revision that it made, and a line on each change, as the log has them."""

    revision: int
    changes: list[str]


class Checked(ApiModel):
    """A configuration that is valid; ``warnings`` are about what can hardly be meant."""

    proxies: int
    rules: int
    warnings: list[str]


class FaultToCome(ApiModel):
    """A fault, and how many connections its rule has counted by then, this one included."""

    rule: str
    fault: str
    count: int | None


class RuleReason(ApiModel):
    """Whether a rule would match, and why."""

    rule: str
    holds: bool
    because: str


class Coming(ApiModel):
    """A connection to come; ``text`` says what would happen to it."""

    connection: int
    text: str
    faults: list[FaultToCome]
    rules: list[RuleReason]


class ProxyForecast(ApiModel):
    """The next connections of a proxy."""

    proxy: str
    connections: list[Coming]


class Forecasts(ApiModel):
    """What would happen, drawn from this seed."""

    seed: int
    proxies: list[ProxyForecast]


def routes(manager: Manager) -> tuple[Route, ...]:
    """The routes of this module."""

    async def config(request: Request) -> Response:
        layers = {"sum": manager.layers.config, "base": manager.layers.base}
        layer = request.query.get("layer", "sum")
        if layer not in layers:
            raise _bad_query("layer", layer, "sum or base")
        return await _written(layers[layer], request, etag(manager))

    async def put(request: Request) -> Response:
        return await _apply(request, lambda layers: layers.edited(_read(request)))

    async def drop(request: Request) -> Response:
        return await _apply(request, drop_overlay())

    async def _apply(request: Request, edit: Edit) -> Response:
        loaded = await apply(manager, edit, request)
        answer = {"revision": manager.revision, "changes": loaded.changes}
        return Response.json(answer, headers={"etag": etag(manager)})

    async def check(request: Request) -> Response:
        config, warnings = await _valid(request, lambda: _examine(request))
        rules = sum(len(proxy.rules) for proxy in config.proxies.values())
        return Response.json({"proxies": len(config.proxies), "rules": rules, "warnings": warnings})

    async def explain(request: Request) -> Response:
        asked = _Asked(request)
        config = await _valid(request, lambda: _read(request)) if request.body else manager.config
        seed = asked.seed if asked.seed is not None else config.seed
        if seed is None:
            seed = manager.seed
        found = [
            {"proxy": name, "connections": await asked.forecast(name, seed, proxy)}
            for name, proxy in asked.about(config).items()
        ]
        if asked.proxy is not None and not found:
            raise HttpProblem(404, "Not Found", f"there is no proxy {quote(asked.proxy)}")
        return Response.json({"seed": seed, "proxies": found})

    questions = {
        "proxy": "Forecast this proxy only.",
        "connections": "How many connections of each proxy; 20 by default.",
        "client": "The clients' address; 127.0.0.1 by default.",
        "at": "How long after the start they connect; 0s by default.",
        "says": "Their first bytes, as text.",
        "seed": "Draw from this seed, whatever the configuration says.",
    }
    layer = {"layer": "base for the file without the overlay; sum by default."}
    return (
        Route("GET", "/v1/config", config, "What runs, ready to be saved as a file.", answer=Config, query=layer),
        Route("PUT", "/v1/config", put, "Run this instead.", body=Config, answer=Applied, headers=IF_MATCH),
        Route(
            "DELETE",
            "/v1/overlay",
            drop,
            "Drop what the API has changed: back to the file.",
            answer=Applied,
            headers=IF_MATCH,
        ),
        Route(
            "POST", "/v1/check", check, "Whether a configuration is valid, and warnings.", body=Config, answer=Checked
        ),
        Route(
            "POST",
            "/v1/explain",
            explain,
            "What would happen to the next connections, of this configuration or of what runs; nothing changes.",
            body=Config,
            answer=Forecasts,
            query=questions,
        ),
    )


async def _valid(request: Request, validate: Callable[[], _T]) -> _T:
    """What a configuration is. Raises HttpProblem (422)."""
    try:
        return await offloaded(request, validate)
    except ConfigError as error:
        detail = "the configuration is not valid"
        raise HttpProblem(422, "Unprocessable Content", detail, error.errors) from None


def _read(request: Request) -> Config:
    """The configuration in a body. Raises ConfigError, and HttpProblem for what is not JSON."""
    if is_yaml(request.headers):
        return parse(request.body, NAME, has_api=True)
    return build(body(request), has_api=True)


def _examine(request: Request) -> tuple[Config, list[str]]:
    """The same, and its warnings."""
    if is_yaml(request.headers):
        return examine_text(request.body, NAME, has_api=True)
    return examine_value(body(request), has_api=True)


async def _written(config: Config, request: Request, tag: str) -> Response:
    """A configuration as a file, in YAML; or as JSON, if that is asked for."""
    proxies = {name: proxy.written() async for name, proxy in in_batches(config.proxies.items())}
    written = {**config.settings(), "proxies": proxies}
    headers = {"etag": tag, "vary": "accept"}
    if "json" in request.headers.get("accept", ""):
        return Response.json(written, headers=headers)
    text = to_yaml(written) if len(config.proxies) < _FEW else await in_thread(partial(to_yaml, written))
    return Response(200, text.encode(), {"content-type": _YAML, **headers})


class _Asked:
    """What a forecast is asked for. Raises HttpProblem (400)."""

    def __init__(self, request: Request) -> None:
        query = request.query
        self.proxy = query.get("proxy")
        self.seed = _number(query, "seed", 0, 2**63 - 1) if "seed" in query else None
        self._says = os.fsencode(query.get("says", ""))
        self._connections = _number(query, "connections", 1, _MOST_FORECASTS) if "connections" in query else 20
        client = query.get("client", "127.0.0.1")
        try:
            self._at_s = parse_duration(query.get("at", "0s"))
            address = ip_address(client)
        except PydanticCustomError as error:
            raise HttpProblem(400, "Bad Request", f"at: {error}") from None
        except ValueError:
            raise _bad_query("client", client, "an IP address") from None
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        self._client = str(mapped or address)

    def about(self, config: Config) -> Mapping[str, ProxyConfig]:
        """The proxies that are asked about. Raises HttpProblem for more of them than are forecast at once."""
        proxies = {name: proxy for name, proxy in config.proxies.items() if self.proxy in (None, name)}
        if len(proxies) * self._connections > _MOST_FORECASTS:
            detail = (
                f"that is more than {_MOST_FORECASTS} connections; ask about one ?proxy=, or for fewer ?connections="
            )
            raise HttpProblem(400, "Bad Request", detail)
        return proxies

    async def forecast(self, name: str, seed: int, proxy: ProxyConfig) -> list[dict[str, Any]]:
        """What Coming says, of each of the proxy's connections."""
        coming = (
            ConnectionFacts(number, self._client, self._at_s, 1, self._says)
            for number in range(1, self._connections + 1)
        )
        found = []
        for each in forecast(RuleSet.open(name, seed, proxy.rules, 0.0), coming, enabled=proxy.enabled):
            faults = [asdict(fault) for fault in each.faults]
            rules = [asdict(reason) for reason in each.reasons]
            found.append({"connection": each.connection, "text": each.text, "faults": faults, "rules": rules})
            await trio.lowlevel.checkpoint()  # connections do not wait meanwhile
        return found


def _number(query: Mapping[str, str], key: str, least: int, most: int) -> int:
    text = query[key]
    if re.fullmatch("[0-9]{1,19}", text) and least <= int(text) <= most:
        return int(text)
    raise _bad_query(key, text, f"a number from {least} to {most}")


def _bad_query(key: str, value: str, right: str) -> HttpProblem:
    return HttpProblem(400, "Bad Request", f"{key}: {quote(value)} is none; write {right}")
