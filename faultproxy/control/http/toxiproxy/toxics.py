"""Toxics, and the rules that they are. Pure: values in, values out.

A toxic is a rule of the same name: ``live``, with ``stop: false`` and its toxicity as the probability. Fields, defaults
and texts of errors are those of Toxiproxy 2.12; what crashes it is an error here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from faultproxy.control.http.toxiproxy.answers import Refused
from faultproxy.faults.bandwidth import Bandwidth
from faultproxy.faults.base import Fault, Trigger
from faultproxy.faults.blackhole import Blackhole
from faultproxy.faults.close import Close
from faultproxy.faults.latency import Latency
from faultproxy.faults.noop import Noop
from faultproxy.faults.reset import Reset
from faultproxy.faults.slice import Slice
from faultproxy.faults.slow_close import SlowClose
from faultproxy.rules.conditions.chance import Probability
from faultproxy.rules.rule import LONGEST_NAME, NAME_PATTERN, BaseRule, Rule

Attributes = Mapping[str, int]

STREAMS = ("upstream", "downstream")
_CENTURY_MS = 100 * 365 * 86400 * 1000  # the longest duration that a rule may have; so with the next
_LARGEST_B = 2**53
_HIGHEST_TOXICITY = 2**53


@dataclass(frozen=True, slots=True)
class Toxic:
    """One toxic. ``stream`` and ``toxicity`` are as they were sent; ``attributes`` are complete, in Toxiproxy's units.

    A toxicity above 1 is as 1: one client's own tests send 80.
    """

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: Attributes

    @property
    def direction(self) -> str:
        """The stream, in lower case."""
        return self.stream.lower()

    def normalized(self) -> "Toxic":
        """The same as ``from_rule`` makes it of its rule: its stream in lower case, its toxicity at most 1."""
        return replace(self, stream=self.direction, toxicity=min(self.toxicity, 1.0))

    def json(self) -> dict[str, Any]:
        """What an answer shows; a toxicity that is whole has no fraction."""
        toxicity = int(self.toxicity) if self.toxicity.is_integer() else self.toxicity
        shown = {"attributes": dict(self.attributes), "name": self.name, "type": self.type}
        return shown | {"stream": self.stream, "toxicity": toxicity}


TYPES: Mapping[str, Attributes] = MappingProxyType(
    {
        "latency": {"latency": _CENTURY_MS, "jitter": _CENTURY_MS},
        "bandwidth": {"rate": _LARGEST_B // 1000},
        "slow_close": {"delay": _CENTURY_MS},
        "timeout": {"timeout": _CENTURY_MS},
        "reset_peer": {"timeout": _CENTURY_MS},
        "slicer": {"average_size": _LARGEST_B, "size_variation": _LARGEST_B, "delay": 1000 * _CENTURY_MS},
        "limit_data": {"bytes": _LARGEST_B},
        "noop": {},
    }
)
"""Every type there is, and the most that each of its attributes may be."""
_ENDING = frozenset({"timeout", "reset_peer", "limit_data"})


def parse(body: object) -> Toxic:
    """A toxic from the decoded body of a request that creates one. Raises Refused."""
    fields = _object(body, "the toxic")
    name, kind, stream = _text(fields, "name"), _text(fields, "type"), _text(fields, "stream", "downstream")
    toxicity = _toxicity(fields, 1.0)
    given = _object(fields.get("attributes"), "attributes")
    if stream.lower() not in STREAMS:
        raise Refused(400, "stream was invalid, can be either upstream or downstream")
    if kind not in TYPES:
        raise Refused(400, "invalid toxic type")
    name = name or f"{kind}_{stream}"
    if len(name) > LONGEST_NAME or not re.fullmatch(NAME_PATTERN, name):
        raise _bad(f"name must be one line of at most {LONGEST_NAME} characters")
    return Toxic(name, kind, stream, toxicity, _attributes(kind, given, dict.fromkeys(TYPES[kind], 0)))


def merge(toxic: Toxic, body: object) -> Toxic:
    """The toxic as the decoded body of an update changes it: attributes and toxicity, those that are given.

    Raises Refused.
    """
    fields = _object(body, "the toxic")
    given = _object(fields.get("attributes"), "attributes")
    attributes = _attributes(toxic.type, given, toxic.attributes)
    return replace(toxic, toxicity=_toxicity(fields, toxic.toxicity), attributes=attributes)


def to_rule(toxic: Toxic) -> dict[str, Any]:
    """The rule that a toxic is, as it stands in YAML."""
    rule: dict[str, Any] = {"name": toxic.name}
    if toxic.toxicity < 1:
        rule["when"] = {"probability": toxic.toxicity}
    rule["live"] = True
    if toxic.type in _ENDING:
        rule["stop"] = False
    return rule | _write(toxic)


def from_rule(rule: BaseRule) -> Toxic | None:
    """The toxic that a rule is, its stream in lower case; None if there is none that says the same.

    A rule that only shapes need not be ``live``.
    """
    try:
        kind, direction, attributes = _read(rule.faults)
    except ValueError:
        return None
    chance = next((one.root for one in rule.conditions if isinstance(one, Probability)), 1.0)
    toxic = Toxic(rule.name, kind, str(direction), chance, MappingProxyType(attributes))
    says_the_same = direction in STREAMS and _says(Rule.model_validate(to_rule(toxic))) == _says(rule)
    return toxic if says_the_same else None


def _says(rule: BaseRule) -> tuple[object, ...]:
    """All that matters of a rule."""
    conditions = [one for one in rule.conditions if one != Probability(1.0)]
    reaches_all = rule.live or not rule.faults.triggered
    return rule.faults, conditions, rule.expect, rule.dry_run, rule.holds_verdict, reaches_all


def _object(value: object, what: str) -> dict[str, Any]:
    """The members of an object, by their names in lower case; of those that differ in case only, the last."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(f"{what} must be an object")
    return {str(key).lower(): member for key, member in value.items() if member is not None}


def _text(fields: Mapping[str, object], key: str, default: str = "") -> str:
    value = fields.get(key, default)
    if not isinstance(value, str):
        raise _bad(f"{key} must be a string")
    return value


def _toxicity(fields: Mapping[str, object], default: float) -> float:
    value = fields.get("toxicity", default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _HIGHEST_TOXICITY:
        raise _bad("toxicity must be a number from 0 to 1")
    return float(value)


def _attributes(kind: str, given: Mapping[str, object], otherwise: Attributes) -> Attributes:
    attributes = {}
    for key, most in TYPES[kind].items():
        value, least = given.get(key, otherwise[key]), 1 if key == "average_size" else 0
        if isinstance(value, bool) or not isinstance(value, int):
            raise _bad(f"{key} must be an integer")
        if not least <= value <= most:
            raise _bad(f"{key} must be from {least} to {most}")
        attributes[key] = value
    if attributes.get("size_variation", 0) > attributes.get("average_size", 0):
        raise _bad("size_variation must not be above average_size")
    return MappingProxyType(attributes)


def _bad(reason: str) -> Refused:
    return Refused(400, f"bad request body: {reason}")


def _write(toxic: Toxic) -> dict[str, Any]:
    """The faults of a toxic's rule."""
    given, way = toxic.attributes, toxic.direction
    match toxic.type:
        case "latency":
            times = {"delay": f"{given['latency']}ms", "jitter": f"{given['jitter']}ms"}
            return {"latency": times | {"direction": way}}
        case "bandwidth":
            return {"bandwidth": {"rate": f"{given['rate']}kB/s", "direction": way}}
        case "slow_close":
            return {"slow_close": {"delay": f"{given['delay']}ms", "direction": way}}
        case "timeout":
            idle = {"idle": f"{given['timeout']}ms", "direction": way}
            return {"blackhole": {"direction": way}} | ({"close": {"after": idle}} if given["timeout"] else {})
        case "reset_peer":
            stall = {"bandwidth": {"rate": "0B/s", "direction": way}} if given["timeout"] else {}
            return stall | {"reset": {"after": {"time": f"{given['timeout']}ms", "direction": way}}}
        case "slicer":
            sizes = {"size": f"{given['average_size']}B", "jitter": f"{given['size_variation']}B"}
            return {"slice": sizes | {"pause": f"{given['delay']}us", "direction": way}}
        case "limit_data":
            return {"close": {"after": {"bytes": f"{given['bytes']}B", "direction": way}}}
    return {"noop": {"direction": way}}


def _read(faults: tuple[Fault, ...]) -> tuple[str, str | None, dict[str, int]]:
    """The type, direction and attributes that would say what these faults say, if any does.

    Raises ValueError if it is plain that none does.
    """
    match faults:
        case [Latency() as one]:
            return "latency", one.direction, {"latency": _count(one.delay), "jitter": _count(one.jitter)}
        case [Bandwidth() as one]:
            return "bandwidth", one.direction, {"rate": _whole(Fraction(one.rate) / 1000)}
        case [SlowClose() as one]:
            return "slow_close", one.direction, {"delay": _count(one.delay)}
        case [Close(after=Trigger(idle=float(idle))), Blackhole() as one]:
            return "timeout", one.direction, {"timeout": _count(idle)}
        case [Blackhole() as one]:
            return "timeout", one.direction, {"timeout": 0}
        case [Reset(after=Trigger(time=float(time))) as one] | [
            Reset(after=Trigger(time=float(time))) as one,
            Bandwidth(),
        ]:
            return "reset_peer", one.after.direction, {"timeout": _count(time)}
        case [Slice() as one]:
            sizes = {"average_size": one.size, "size_variation": one.jitter}
            return "slicer", one.direction, sizes | {"delay": _count(one.pause, 1_000_000)}
        case [Close(after=Trigger(bytes=int(size), direction=direction))]:
            return "limit_data", direction, {"bytes": size}
        case [Noop() as one]:
            return "noop", one.direction, {}
    raise ValueError


def _count(seconds: float, per_second: int = 1000) -> int:
    """A duration in units of which there are so many a second. Raises ValueError if that is no whole number."""
    return _whole(Fraction(repr(seconds)) * per_second)


def _whole(number: Fraction) -> int:
    if number.denominator != 1:
        raise ValueError
    return int(number)
