"""GET /v1/connections: who is connected, what the rules said to each, and a fault by hand into one that is open."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import chain, islice
from typing import Any, Literal

import trio
from pydantic import ConfigDict, Field, create_model

from faultproxy.addresses import host_port
from faultproxy.config.json_schema import valid_keys
from faultproxy.config.loader import ConfigError, build_proxy
from faultproxy.config.yaml_tree import Node, Place, plant
from faultproxy.connection.connection import Connection
from faultproxy.connection.record import ConnectionRecord
from faultproxy.control.edits import NAME
from faultproxy.control.http.bodies import tree
from faultproxy.control.http.messages import ApiModel, HttpProblem, Request, Response
from faultproxy.control.http.router import Route
from faultproxy.control.loop import in_batches, let_begin
from faultproxy.events.types import log_fields
from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import Connect, ConnectDelay, Fault, Shape, TriggeredFault, options
from faultproxy.proxy.registry import Registry
from faultproxy.rules.explain import reasons
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.text import nearest
from faultproxy.units import quote

_MOST = 1_000
_BATCH = 256
_RULE = ("proxies", "p", "rules", 0)
_OF_RULE = re.compile(r"proxies\.p\.rules\[0\](\.|: )")
_OF_CONNECTION = frozenset({"proxy", "connection", "client", "upstream", "injected"})


class Summary(ApiModel):
    """One connection. ``age_ms`` is how long it has been open, or was; ``faults`` what was injected, in order."""

    connection: str
    proxy: str
    number: int
    client: str
    upstream: str | None
    state: Literal["peeking", "open", "closed"]
    opened_at: datetime
    age_ms: float
    bytes_upstream: int
    bytes_downstream: int
    rule: str | None
    """The last that matched it."""
    faults: list[str]
    ended_by: str | None


class Summaries(ApiModel):
    """Open connections, the latest first, then those that are over, the latest first; and how many are open in all."""

    open: int
    connections: list[Summary]


class RuleAnswer(ApiModel):
    """What a rule said to the connection, and why."""

    rule: str
    holds: bool
    because: str


class Story(Summary):
    """One connection, what every rule said to it, and each fault that it has had, as the log has it."""

    rules: list[RuleAnswer]
    injected: list[dict[str, object]]


class _FaultsByHand(ApiModel):
    """Faults as in a rule, at least one; shapes act from now on, the others at their triggers."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


_BY_HAND = {kind.key: kind for kind in CATALOGUE if issubclass(kind, TriggeredFault | Shape)}
_FIELDS: Mapping[str, Any] = {
    f"fault_{key}": (kind | None, Field(default=None, alias=key)) for key, kind in _BY_HAND.items()
}
FaultsByHand = create_model("FaultsByHand", __base__=_FaultsByHand, __doc__=_FaultsByHand.__doc__, **_FIELDS)


class InjectedByHand(ApiModel):
    """The faults that act now, or wait for their triggers."""

    connection: str
    faults: list[dict[str, object]]


def routes(registry: Registry) -> tuple[Route, ...]:
    """The routes of this module."""

    async def connections(request: Request) -> Response:
        proxy, state = request.query.get("proxy"), request.query.get("state")
        if state not in {None, "open", "closed"}:
            raise HttpProblem(400, "Bad Request", f"state: {quote(state)} is none; ask for open or closed")
        limit = request.query.get("limit", str(_MOST))
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10):
            raise HttpProblem(400, "Bad Request", f"limit: {quote(limit)} is not a number; write one such as 100")
        most = int(limit)
        are_open = list(registry.open(proxy)) if state != "closed" else []
        are_open.sort(key=lambda one: one.facts.at_s, reverse=True)
        waiting = [
            (name, facts) for name, each in registry.proxies(proxy) for facts in each.undecided if state != "closed"
        ]
        closed = list(islice(registry.closed(proxy), most)) if state != "open" else []
        all_of_them: Iterator[dict[str, Any]] = chain(
            (_peeking(registry, name, facts) for name, facts in reversed(waiting)),
            (_summary(registry, connection.record()) for connection in are_open),
            (_summary(registry, record) for record in closed),
        )
        found = [summary async for summary in in_batches(islice(all_of_them, most), _BATCH)]
        return Response.json({"open": len(are_open) + len(waiting), "connections": found})

    async def connection(request: Request) -> Response:
        name, number = _name(request)
        one = _open(registry, name, number)
        if one is not None:
            return Response.json(_story(registry, one.record()))
        for facts in _undecided(registry, name, number):
            return Response.json({**_peeking(registry, name, facts), "rules": [], "injected": []})
        return Response.json(_story(registry, _closed(registry, name, number)))

    async def inject(request: Request) -> Response:
        name, number = _name(request)
        faults = _faults(request)
        one = _to_inject(registry, name, number)
        one.inject_by_hand(faults)
        await let_begin()
        said = [{"fault": fault.key, "options": options(fault), "trigger": _trigger(fault)} for fault in faults]
        return Response.json({"connection": f"{name}#{number}", "faults": said})

    async def let_go(request: Request) -> Response:
        one = _to_inject(registry, *_name(request))
        one.let_go_by_hand()
        await let_begin()
        return Response(204)

    one = "/v1/connections/{connection}"
    questions = {
        "proxy": "Those of this proxy.",
        "state": "Those that are open, or closed.",
        "limit": "At most so many.",
    }
    return (
        Route(
            "GET",
            "/v1/connections",
            connections,
            "Open connections, and the last closed.",
            answer=Summaries,
            query=questions,
        ),
        Route("GET", one, connection, "One connection, such as redis%2317, and what every rule said.", answer=Story),
        Route(
            "POST",
            f"{one}/faults",
            inject,
            "Inject faults into an open connection, now.",
            body=FaultsByHand,
            answer=InjectedByHand,
        ),
        Route("DELETE", f"{one}/faults", let_go, "End what was injected by hand and still acts or waits."),
    )


def _name(request: Request) -> tuple[str, int]:
    text = request.parameters["connection"]
    proxy, mark, number = text.rpartition("#")
    if not (mark and number.isascii() and number.isdigit() and len(number) <= 16):
        text = f"{quote(text)} is no connection; write one such as redis#17, which is redis%2317 in a path"
        raise HttpProblem(404, "Not Found", text)
    return proxy, int(number)


def _open(registry: Registry, proxy: str, number: int) -> Connection | None:
    return next((one for one in registry.open(proxy) if one.facts.number == number), None)


def _undecided(registry: Registry, proxy: str, number: int) -> Iterator[ConnectionFacts]:
    return (facts for _, each in registry.proxies(proxy) for facts in each.undecided if facts.number == number)


def _closed(registry: Registry, proxy: str, number: int) -> ConnectionRecord:
    for record in registry.closed(proxy):
        if record.facts.number == number:
            return record
    raise HttpProblem(404, "Not Found", f"{proxy}#{number} is not open, and not among the last that were")


def _to_inject(registry: Registry, proxy: str, number: int) -> Connection:
    one = _open(registry, proxy, number)
    if one is not None:
        return one
    if any(_undecided(registry, proxy, number)):
        raise HttpProblem(409, "Conflict", f"{proxy}#{number} waits for the client's first bytes; try again")
    record = _closed(registry, proxy, number)
    raise HttpProblem(409, "Conflict", f"{proxy}#{number} is over: ended by {record.ended_by}")


def _faults(request: Request) -> Sequence[Fault]:
    """The faults that a body asks for, validated as those of a rule are. Raises HttpProblem."""
    given = plant(tree(request))
    if not isinstance(given.value, dict):
        raise _no_fault('the body is not a mapping; write {"reset": {"to": "client"}}')
    if not given.value:
        raise _no_fault(f"has no fault; add one of {', '.join(_BY_HAND)}")
    wrong = {key: text for key in given.value if (text := _why_not_by_hand(key)) is not None}
    errors = [f"{_place(given.keys[key])}{text}" for key, text in wrong.items()]
    rest = {key: value for key, value in given.value.items() if key not in wrong}
    faults: Sequence[Fault] = ()
    if rest:
        rule = Node(given.place, {"name": plant("by hand"), **rest}, keys=given.keys)
        proxy = {"listen": "127.0.0.1:1", "upstream": "127.0.0.1:2", "rules": [rule]}
        try:
            faults = build_proxy("p", proxy, name=NAME).rules[0].faults
        except ConfigError as error:
            errors += [_OF_RULE.sub("", text, 1) for text in error.errors]
    if errors:
        raise _no_fault(*errors)
    return faults


def _why_not_by_hand(key: str) -> str | None:
    """What is wrong with a key beside those of faults by hand; None if it is one of those, or an option of one."""
    if key in _BY_HAND:
        return None
    kind = next((kind for kind in CATALOGUE if kind.key == key), None)
    if kind is not None and issubclass(kind, Connect | ConnectDelay):
        return f"{key} comes before there is a connection, and this one is open; inject reset, or hang"
    if kind is not None:
        return f"{key} does nothing to a connection that is open; remove it"
    if key in valid_keys(_RULE) or key in valid_keys((*_RULE, "when")):
        return f"{key} is of a rule, and this is a fault by hand; remove it"
    if any(key in valid_keys((*_RULE, fault)) for fault in _BY_HAND):
        return None
    right = nearest(key, _BY_HAND) or f"one of {', '.join(_BY_HAND)}"
    return f"{quote(key)} is not a fault here; write {right}"


def _place(place: Place) -> str:
    return f"{NAME}:{place.line}:{place.column}: " if place.line else ""


def _no_fault(*errors: str) -> HttpProblem:
    return HttpProblem(422, "Unprocessable Content", "not valid; nothing is injected", errors)


def _trigger(fault: Fault) -> str:
    return str(fault.after) if isinstance(fault, TriggeredFault) else "data"


def _head(registry: Registry, proxy: str, facts: ConnectionFacts, ended_at_s: float | None) -> dict[str, Any]:
    age_s = (ended_at_s if ended_at_s is not None else trio.current_time()) - facts.at_s
    return {
        "connection": f"{proxy}#{facts.number}",
        "proxy": proxy,
        "number": facts.number,
        "client": host_port(facts.client, facts.client_port),
        "opened_at": registry.wall_time(facts.at_s).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "age_ms": round(age_s * 1000, 3),
    }


def _peeking(registry: Registry, proxy: str, facts: ConnectionFacts) -> dict[str, Any]:
    nothing: dict[str, Any] = {"bytes_upstream": 0, "bytes_downstream": 0, "rule": None, "faults": [], "ended_by": None}
    return {**_head(registry, proxy, facts, None), "upstream": None, "state": "peeking", **nothing}


def _summary(registry: Registry, record: ConnectionRecord) -> dict[str, Any]:
    return {
        **_head(registry, record.proxy, record.facts, record.ended_at_s),
        "upstream": str(record.upstream),
        "state": "open" if record.ended_at_s is None else "closed",
        "bytes_upstream": record.carried.to_server,
        "bytes_downstream": record.carried.to_client,
        "rule": record.rule,
        "faults": [fault.fault for fault in record.injected],
        "ended_by": record.ended_by,
    }


def _story(registry: Registry, record: ConnectionRecord) -> Mapping[str, Any]:
    reading = record.facts.reading
    said = reasons(reading, record.facts, record.verdict) if reading is not None else ()
    return {
        **_summary(registry, record),
        "rules": [asdict(one) for one in said],
        "injected": [
            {key: value for key, value in log_fields(fault).items() if key not in _OF_CONNECTION}
            for fault in record.injected
        ],
    }
