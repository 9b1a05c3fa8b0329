"""The description says what there is: every route, what it takes, and what it answers."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from faultproxy.control.http.api import Observed, router
from faultproxy.control.http.feed import Feed
from faultproxy.control.http.metrics import Measurements
from faultproxy.control.http.openapi import describe
from faultproxy.events.totals import Totals
from faultproxy.proxy.registry import Registry
from tests.control.http.asking import JSON, asked
from tests.managing import ask, at, managed

PARAMETERS = {
    "name": "p", "proxy": "p", "rule": "cut", "toxic": "cut", "connection": "p%231", "file": "app.js",
}  # fmt: skip
PROXY: dict[str, Any] = at("127.0.0.1:1", {"name": "cut", "when": {"first": 1}, "reset": {"after": "1B"}})
BODIES: dict[str, Any] = {
    "Config": {"proxies": {"p": PROXY}},
    "ProxyConfig": PROXY,
    "ProxyPatch": {"enabled": True, "max_connections": None},
    "NamedRule": {"reset": {"after": "1B"}},
    "FaultsByHand": {"reset": {"to": "client"}},
}
PUBLIC = {"/live", "/ready", "/", "/page/{file}", "/page/vendor/{file}"}
WRONG: tuple[Any, ...] = ([], "x", 7, None, {"nothing": 1}, {"rules": 7}, {"reset": {"after": 4}}, {"proxies": []})


def validator(document: Any, schema: Any) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for template, methods in document["paths"].items():
        for method, operation in methods.items():
            yield template, method, operation


async def test_it_is_openapi() -> None:
    """Every parameter of a path is described, every reference leads somewhere, every schema is one."""
    async with asked({"proxies": {}}) as (_, client):
        answer = await client.get("/v1/openapi.json")
    document = answer.json()
    assert document["openapi"] == "3.1.0"
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for template, _, operation in operations(document):
        in_path = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert in_path == {part[1:-1] for part in template.split("/") if part.startswith("{")}
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    text = answer.text
    for reference in {part.split('"')[0] for part in text.split('"$ref":"')[1:]}:
        assert reference.removeprefix("#/components/schemas/") in schemas, reference
    assert "``" not in text


async def test_no_route_is_left_out() -> None:
    """All that the router finds is described."""
    async with managed({"proxies": {}}) as its:
        registry = Registry()
        measured = Measurements(its.stats, Totals(), registry.dials)
        routes = router(its.manager, Observed(Feed(its.manager.bus, its.stats), registry, measured)).routes
    document = describe(routes)
    assert {(route.template, route.method.lower()) for route in routes} == {
        (template, method) for template, method, _ in operations(document)
    }


async def test_every_route_answers_as_described(server: str) -> None:
    """There is one behind each description, and what it answers has the form that is described."""
    proxies = {"p": {**PROXY, "upstream": server}}
    async with asked({"proxies": proxies}) as (its, client):
        document = (await client.get("/v1/openapi.json")).json()
        assert await ask(its.address("p")) == "ECONNRESET"
        seen = set()
        for template, method, operation in operations(document):
            url = template.format(**PARAMETERS)
            if template == "/v1/events":
                url += "?limit=10"
            body = None
            if "requestBody" in operation:
                reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                body = BODIES.get(reference.rpartition("/")[2], {})
            await client.put("/v1/config", json={"seed": 0, "drain": "0s", "proxies": proxies})
            answer = await client.request(method, url, json=body, headers=JSON)
            assert answer.status_code not in {405, 500}, (method, url)
            assert "there is nothing at" not in answer.text, (method, url)
            described = operation["responses"]["2XX"].get("content", {}).get("application/json")
            if described and answer.status_code < 300:
                seen.add(described["schema"]["$ref"].rpartition("/")[2])
                check = validator(document, described["schema"])
                assert not [error.message for error in check.iter_errors(answer.json())], (method, url)
            if answer.status_code >= 400 and operation["tags"] == ["native"]:
                assert answer.headers["content-type"] == "application/problem+json"
                problem = document["components"]["schemas"]["Problem"]
                assert validator(document, problem).is_valid(answer.json())
            if answer.status_code >= 400:
                assert answer.headers["content-type"].partition(";")[0] in operation["responses"]["default"]["content"]
    assert {"Config", "Applied", "Checked", "Forecasts", "ProxiesAnswer", "ProxyAnswer", "RuleWithCounts"} <= seen


async def test_the_headers_that_are_heeded_are_described(server: str) -> None:
    """If-Match by each edit and by nothing else, Last-Event-ID by streams, and the token, but by what is public."""
    async with asked({"proxies": {"p": {**PROXY, "upstream": server}}}) as (_, client):
        document = (await client.get("/v1/openapi.json")).json()
        for template, method, operation in operations(document):
            heeded = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "header"}
            if method != "get" and operation["tags"] == ["native"]:
                headers = {"if-match": '"0-0"', "content-type": "application/json"}
                answer = await client.request(method, template.format(**PARAMETERS), content="{}", headers=headers)
                assert (answer.status_code == 412) == ("If-Match" in heeded), (method, template)
            assert ("Last-Event-ID" in heeded) == (template == "/v1/events")
            assert (operation.get("security") == []) == (template in PUBLIC), template
    assert document["security"] == [{}, {"token": []}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def wrong_ones(valid: Any) -> Iterator[Any]:
    """What somebody might send by mistake: another type, another key, and each value of a right one replaced."""
    yield from WRONG
    places: list[tuple[str | int, ...]] = []

    def walk(value: Any, path: tuple[str | int, ...]) -> None:
        if path:
            places.append(path)
        for key, inner in (
            value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
        ):
            walk(inner, (*path, key))

    walk(valid, ())
    others: tuple[Any, ...] = (7, "x", [], {}, {"nothing": 1}, True)
    for path in places:
        for other in others:
            copy = deepcopy(valid)
            target = copy
            for part in path[:-1]:
                target = target[part]
            target[path[-1]] = other
            yield copy


async def test_what_the_description_forbids_is_refused(server: str) -> None:
    """And what it allows is not refused for its form. Nothing has changed then."""
    proxies = {"p": {**PROXY, "upstream": server}}
    async with asked({"proxies": proxies}) as (its, client):
        document = (await client.get("/v1/openapi.json")).json()
        refused = 0
        for template, method, operation in operations(document):
            if "requestBody" not in operation or operation["tags"] != ["native"]:
                continue
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            name = schema["$ref"].rpartition("/")[2]
            if name not in BODIES:
                continue
            check = validator(document, schema)
            assert check.is_valid(BODIES[name]), name
            for wrong in wrong_ones(BODIES[name]):
                if check.is_valid(wrong):
                    continue
                before = its.manager.layers
                answer = await send(client, method, template.format(**PARAMETERS), wrong)
                assert answer.status_code == 422, (method, template, wrong, answer.text)
                assert answer.json()["errors"]
                assert its.manager.layers is before
                refused += 1
    assert refused > 100


async def send(client: httpx.AsyncClient, method: str, url: str, body: Any) -> httpx.Response:
    headers = {"content-type": "application/json", **JSON}
    return await client.request(method, url, content=json.dumps(body), headers=headers)
