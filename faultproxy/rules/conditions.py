"""``when``: what must hold for a rule to pick a connection."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, StrictInt, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from faultproxy.faults.base import MODEL
from faultproxy.units import Duration, Probability, quote

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_TICKS_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection at the moment it is judged.

    ``number`` is the proxy's own, from 1; ``client`` the address without its port; ``at_s`` the accept
    time on the clock that the rules' windows started on; ``open_connections`` includes this one.
    """

    number: int
    client: str
    at_s: float
    open_connections: int


class Window(BaseModel):
    """Accept times in [from, to) since the rule took effect, again and again if ``every`` is given."""

    model_config = MODEL

    start: Duration = Field(default=0.0, alias="from")
    to: Duration | None = None
    every: Duration | None = None

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
        if self.every == 0:
            raise PydanticCustomError("window", "every must be longer than 0s")
        if self.start >= self.end_s:
            raise PydanticCustomError("window", "is never open; from must come before to, and before every")
        if self.every is not None and self.end_s > self.every:
            raise PydanticCustomError("window", "to must not be later than every")
        return self


def _ticks(seconds: float) -> int:
    # Floats miss an edge by a rounding error (0.3 % 0.1 is 0.0999...), whole microseconds meet it.
    return round(seconds * _TICKS_PER_S)


class Bounds(BaseModel):
    """A count of at least ``min`` and at most ``max``."""

    model_config = MODEL

    min: Annotated[StrictInt, Field(ge=0)] | None = None
    max: Annotated[StrictInt, Field(ge=0)] | None = None

    def holds(self, count: int) -> bool:
        """Whether a count lies within the bounds, both included."""
        return (self.min is None or count >= self.min) and (self.max is None or count <= self.max)

    @model_validator(mode="after")
    def _are_bounds(self) -> "Bounds":
        if self.min is None and self.max is None:
            raise PydanticCustomError("bounds", "needs min, max or both, such as {min: 1}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise PydanticCustomError("bounds", "min must not be larger than max")
        return self


def _parse_network(value: object) -> Network:
    try:
        if not isinstance(value, str):
            raise ValueError
        return ip_network(value)
    except ValueError:
        near = _nearest_network(value)
        hint = f"write {near}" if near else "write an address or a network, such as 10.0.0.0/8"
        raise PydanticCustomError("network", f"{quote(value)} is not an IP network; {hint}") from None


def _nearest_network(value: object) -> str | None:
    try:
        return str(ip_network(value, strict=False)) if isinstance(value, str) else None
    except ValueError:
        return None


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _listed(schema: dict[str, object]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]})


Count = Annotated[StrictInt, Field(ge=1)]
Numbers = Annotated[
    tuple[Count, ...],
    BeforeValidator(_one_or_many),
    Field(min_length=1),
    _listed({"type": "integer", "minimum": 1}),
]
Networks = Annotated[
    tuple[Annotated[Network, BeforeValidator(_parse_network), PlainSerializer(str)], ...],
    BeforeValidator(_one_or_many),
    Field(min_length=1),
    _listed({"type": "string", "pattern": r"^[0-9a-fA-F.:]+(?:/[0-9]{1,3})?$"}),
]


class When(BaseModel):
    """Conditions; all that are given must hold. ``first`` to ``every`` and ``probability`` choose among the counted."""

    model_config = MODEL

    client: Networks | None = None
    window: Window | None = None
    open_connections: Bounds | None = None
    connection: Numbers | None = None
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
        return None

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
