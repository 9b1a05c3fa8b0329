"""``when``: what must hold for a rule to pick a connection."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictInt,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from faultproxy.faults.base import MODEL
from faultproxy.faults.pattern import Pattern
from faultproxy.rules.opening import Prefix, ServerNames, matches, names
from faultproxy.units import Duration, PositiveDuration, Probability, one_or_many, quote

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

LARGEST_COUNT = 10**15
"""Exact in every JSON reader, and more than any proxy will ever count."""

NETWORK_PATTERN = r"^[0-9A-Fa-f.:]+(?:/(?:0|[1-9][0-9]{0,2}))?$"
_SHORTEST_PERIOD_S = 0.01
_TICKS_PER_S = 1_000_000
_MAPPED_BITS = 96


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection at the moment it is judged.

    ``number`` is the proxy's own, from 1; ``client`` the address without its port; ``at_s`` the accept
    time on the clock that the rules' windows started on; ``open_connections`` includes this one. ``opening``
    is what the client has said so far, and ``heard_all`` that no more of it will be waited for. ``judged`` is what
    rules have said of it already, on its SYN: the count of those that picked it, 0 for those that counted it and did
    not, None for the others.
    """

    number: int
    client: str
    at_s: float
    open_connections: int
    opening: bytes = b""
    heard_all: bool = True
    judged: Mapping[str, int | None] = field(default_factory=dict)


class Window(BaseModel):
    """Accept times in [from, to) since the rule took effect, again and again if ``every`` is given."""

    model_config = ConfigDict(**MODEL, json_schema_extra={"anyOf": [{"required": ["from"]}, {"required": ["to"]}]})

    start: Duration = Field(default=0.0, alias="from")
    to: PositiveDuration | None = None
    every: PositiveDuration | None = None

    @property
    def end_s(self) -> float:
        """Where the window closes within its period; for ever if nothing says otherwise."""
        return self.to if self.to is not None else self.every if self.every is not None else float("inf")

    def is_open(self, elapsed_s: float) -> bool:
        """Whether a moment, in seconds since the rule took effect, lies in the window."""
        return self._is_open_at(_ticks(elapsed_s))

    def next_edge(self, elapsed_s: float) -> float | None:
        """The first moment after this one at which the window opens or closes; None if there is none."""
        now = _ticks(elapsed_s)
        edges = [_ticks(edge) for edge in (self.start, self.end_s) if edge != float("inf")]
        if self.every is not None:
            period = _ticks(self.every)
            base = now - now % period
            edges = [base + turn + edge for turn in (0, period) for edge in edges]
        coming = (edge for edge in edges if edge > now and self._is_open_at(edge) != self._is_open_at(now))
        edge = min(coming, default=None)
        return None if edge is None else edge / _TICKS_PER_S

    def _is_open_at(self, tick: int) -> bool:
        phase = tick if self.every is None else tick % _ticks(self.every)
        return _ticks(self.start) <= phase and (self.end_s == float("inf") or phase < _ticks(self.end_s))

    @model_validator(mode="after")
    def _is_a_window(self) -> "Window":
        if not self.model_fields_set & {"start", "to"}:
            raise PydanticCustomError("window", "is always open; add from, to or both, such as {from: 30s, to: 45s}")
        if self.every is not None and self.every < _SHORTEST_PERIOD_S:
            raise PydanticCustomError("window", "repeats too often; write an every of 10ms or longer")
        if self.every is not None and self.end_s > self.every:
            raise PydanticCustomError(
                "window", "closes after its period is over; write a to that is not later than every"
            )
        if self.start >= self.end_s:
            raise PydanticCustomError("window", "is never open; write a from that comes before to, and before every")
        return self


def _ticks(seconds: float) -> int:
    # Floats miss an edge by a rounding error (0.3 % 0.1 is 0.0999...), whole microseconds meet it.
    return round(seconds * _TICKS_PER_S)


class Bounds(BaseModel):
    """A count of at least ``min`` and at most ``max``."""

    model_config = ConfigDict(**MODEL, json_schema_extra={"minProperties": 1})

    min: Annotated[StrictInt, Field(ge=0, le=LARGEST_COUNT)] | None = None
    max: Annotated[StrictInt, Field(ge=0, le=LARGEST_COUNT)] | None = None

    def holds(self, count: int) -> bool:
        """Whether a count lies within the bounds, both included."""
        return (self.min is None or count >= self.min) and (self.max is None or count <= self.max)

    @model_validator(mode="after")
    def _are_bounds(self) -> "Bounds":
        if self.min is None and self.max is None:
            raise PydanticCustomError("bounds", "is empty; add min, max or both, such as {min: 1}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise PydanticCustomError("bounds", "holds for no count; write a min that is not larger than max")
        return self


def _parse_network(value: object) -> Network:
    near = _nearest_network(value)
    if near is None:
        right = "write an address or a network, such as 10.0.0.0/8"
        raise PydanticCustomError("network", f"{quote(value)} is not an IP network; {right}")
    if (
        isinstance(near, IPv6Network)
        and near.network_address.ipv4_mapped is not None
        and near.prefixlen >= _MAPPED_BITS
    ):
        mapped = ip_network((near.network_address.ipv4_mapped, near.prefixlen - _MAPPED_BITS))
        raise PydanticCustomError(
            "network", f"{quote(value)} never matches, such a client counts as IPv4; write {mapped}"
        )
    try:
        return ip_network(str(value))
    except ValueError:
        raise PydanticCustomError("network", f"{quote(value)} has bits beyond its prefix; write {near}") from None


def _nearest_network(value: object) -> Network | None:
    """The network that holds an address written with too many bits; None if the value is no network at all."""
    if not isinstance(value, str) or not re.fullmatch(NETWORK_PATTERN, value):
        return None
    try:
        return ip_network(value, strict=False)
    except ValueError:
        return None


def _listed(schema: dict[str, object]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]})


Count = Annotated[StrictInt, Field(ge=1, le=LARGEST_COUNT)]
Numbers = Annotated[
    tuple[Count, ...],
    BeforeValidator(one_or_many),
    Field(min_length=1),
    _listed({"type": "integer", "minimum": 1, "maximum": LARGEST_COUNT}),
]
Networks = Annotated[
    tuple[Annotated[Network, BeforeValidator(_parse_network), PlainSerializer(str)], ...],
    BeforeValidator(one_or_many),
    Field(min_length=1),
    _listed({"type": "string", "pattern": NETWORK_PATTERN, "examples": ["10.0.0.0/8"]}),
]


PEEKED = frozenset({"starts_with", "matches", "sni"})
"""The conditions that look at the client's first bytes."""


class When(BaseModel):
    """Conditions; all that are given must hold. ``first`` to ``every`` and ``probability`` choose among the counted."""

    model_config = MODEL

    client: Networks | None = None
    window: Window | None = None
    open_connections: Bounds | None = None
    connection: Numbers | None = None
    starts_with: Prefix | None = None
    matches: Pattern | None = None
    sni: ServerNames | None = None
    first: Count | None = None
    skip: Count | None = None
    nth: Numbers | None = None
    every: Count | None = None
    probability: Probability | None = None

    def unmet(self, arrival: Arrival, elapsed_s: float) -> str | None:
        """The first condition that keeps a rule from counting this arrival; None if all hold.

        ``elapsed_s`` is the accept time since the rule took effect.
        """
        if self.client is not None and not _is_in(arrival.client, self.client):
            return "client"
        if self.window is not None and not self.window.is_open(elapsed_s):
            return "window"
        if self.open_connections is not None and not self.open_connections.holds(arrival.open_connections):
            return "open_connections"
        if self.connection is not None and arrival.number not in self.connection:
            return "connection"
        if self.peeks:
            return self._unheard(arrival.opening)
        return None

    @property
    def peeks(self) -> bool:
        """Whether it looks at the client's first bytes."""
        return self.starts_with is not None or self.matches is not None or self.sni is not None

    def is_waiting(self, arrival: Arrival) -> bool:
        """Whether more of the client's bytes could still make the conditions hold, and none has failed."""
        if arrival.heard_all:
            return False
        answers = [holds for _, holds in self._heard(arrival.opening)]
        return None in answers and False not in answers

    def _unheard(self, opening: bytes) -> str | None:
        return next((key for key, holds in self._heard(opening) if not holds), None)

    def _heard(self, opening: bytes) -> list[tuple[str, bool | None]]:
        answers: list[tuple[str, bool | None]] = []
        if self.starts_with is not None:
            answers.append(("starts_with", self.starts_with.holds(opening)))
        if self.matches is not None:
            answers.append(("matches", matches(self.matches, opening)))
        if self.sni is not None:
            answers.append(("sni", names(self.sni, opening)))
        return answers

    def missed(self, count: int) -> str | None:
        """The first ordinal that does not choose the rule's ``count``-th connection; None if all do."""
        if self.first is not None and count > self.first:
            return "first"
        if self.skip is not None and count <= self.skip:
            return "skip"
        if self.nth is not None and count not in self.nth:
            return "nth"
        if self.every is not None and count % self.every:
            return "every"
        return None


def _is_in(client: str, networks: Iterable[Network]) -> bool:
    address = ip_address(client.partition("%")[0])
    return any(address in network for network in networks)
