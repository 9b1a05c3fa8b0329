"""/v1/openapi.json: all routes described (OpenAPI 3.1), from the models that requests are checked with."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from faultproxy.config.json_schema import json_schema
from faultproxy.config.schema import Config
from faultproxy.control.http.messages import Request, Response
from faultproxy.control.http.proxies import ProxyPatch
from faultproxy.control.http.router import Route
from faultproxy.control.http.rules import NamedRule
from faultproxy.version import __version__

Schema = dict[str, Any]
_REFERENCE = "#/components/schemas/"
_TYPES = ("application/json", "application/yaml")


def routes(others: Sequence[Route]) -> tuple[Route, ...]:
    """The route of the description of ``others`` and itself."""

    async def answer(_: Request) -> Response:
        return Response.json(document())

    @cache
    def document() -> Schema:
        return describe((*others, own))

    own = Route("GET", "/v1/openapi.json", answer, "This description.")
    return (own,)


def describe(routes: Sequence[Route]) -> Schema:
    """The description of these routes."""
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "faultproxy", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "security": [{}, {"token": []}],
        "components": {"schemas": _schemas(routes), "securitySchemes": {"token": _TOKEN}},
    }


def _operation(route: Route) -> Schema:
    names = re.findall(r"\{(\w+)\}", route.template)
    text = {"schema": {"type": "string"}}
    parameters = [{"name": name, "in": "path", "required": True, **text} for name in names]
    parameters += [{"name": name, "in": "query", "description": says, **text} for name, says in route.query.items()]
    parameters += [{"name": name, "in": "header", "description": says, **text} for name, says in route.headers.items()]
    operation: Schema = {
        "operationId": "_".join([route.method.lower(), *re.findall(r"\w+", route.template)]),
        "summary": route.summary,
        "tags": [route.dialect],
        "responses": {"2XX": _success(route), "default": _PROBLEM if route.dialect == "native" else _OF_DIALECT},
    }
    if route.is_public:
        operation["security"] = []
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        types = _TYPES if route.dialect == "native" else _TYPES[:1]
        operation["requestBody"] = {"content": {key: {"schema": _reference(route.body)} for key in types}}
    return operation


def _success(route: Route) -> Schema:
    success: Schema = {"description": "Done; the change is in force, if it is one."}
    if route.answer is not None:
        types = _TYPES if route.answer is Config else _TYPES[:1]
        success["content"] = {key: {"schema": _reference(route.answer)} for key in types}
    return success


def _reference(model: type[BaseModel]) -> Schema:
    return {"$ref": _REFERENCE + model.__name__}


def _schemas(routes: Sequence[Route]) -> Schema:
    """The schemas of bodies and answers. Those of a configuration are the file's own."""
    config = _moved(json_schema())
    schemas: Schema = config.pop("$defs")
    for key in ("$schema", "if", "then"):  # beside an API a configuration needs no proxies
        config.pop(key)
    schemas["Config"] = config
    schemas["ProxyPatch"] = _all_optional(schemas["ProxyConfig"])
    schemas["NamedRule"] = {**schemas["Rule"], "required": []}
    for model in (ProxyPatch, NamedRule):
        schemas[model.__name__]["description"] = model.__doc__
    others = {each for route in routes for each in (route.body, route.answer) if each is not None}
    named = sorted((each for each in others if each.__name__ not in schemas), key=lambda each: each.__name__)
    _, made = models_json_schema([(each, "serialization") for each in named], ref_template=_REFERENCE + "{model}")
    schemas = {**_moved(made.get("$defs", {})), **schemas, "Problem": _PROBLEM_SCHEMA}
    if "ProxyAnswer" in schemas:
        settings = schemas["ProxyConfig"]["properties"]
        schemas["ProxyAnswer"]["properties"] = {**settings, **schemas["ProxyAnswer"]["properties"]}
    return schemas


def _all_optional(proxy: Schema) -> Schema:
    properties = {key: {"anyOf": [inner, {"type": "null"}]} for key, inner in proxy["properties"].items()}
    return {**proxy, "properties": properties, "required": []}


def _moved(schema: Any) -> Any:
    """The schema with its references where OpenAPI has them, and code in its texts as Markdown has it."""
    if isinstance(schema, list):
        return [_moved(inner) for inner in schema]
    if not isinstance(schema, Mapping):
        return schema.replace("#/$defs/", _REFERENCE).replace("``", "`") if isinstance(schema, str) else schema
    return {key: _moved(inner) for key, inner in schema.items()}


_PROBLEM_SCHEMA: Schema = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457); errors are the lines that faultproxy check would print.",
    "type": "object",
    "required": ["title", "status"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "string"}},
    },
}
_PROBLEM: Schema = {
    "description": "Refused, and nothing has changed.",
    "content": {"application/problem+json": {"schema": {"$ref": _REFERENCE + "Problem"}}},
}
_OF_DIALECT: Schema = {
    "description": "Refused, as Toxiproxy does: in JSON, which it calls text.",
    "content": {"text/plain": {}, "application/json": {}},
}
_TOKEN: Schema = {"type": "http", "scheme": "bearer", "description": "Due where --api-token-file asks for one."}
