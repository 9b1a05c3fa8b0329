"""What faults are made of: their kinds, triggers, and the interfaces that their steps act through.

A fault is a frozen pydantic model in a file of its own. Its fields are its options in YAML, its
docstring is its documentation. Nothing here does I/O: a fault is handed the peers that it acts on.
"""

import ast
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, StrEnum
from functools import cache
from inspect import cleandoc, getsource
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, StrictInt, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from faultproxy.faults.pattern import Pattern
from faultproxy.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    Duration,
    PositiveDuration,
    Size,
    format_duration,
    format_size,
    quote,
)

ClientSees = Literal[
    "ECONNREFUSED",
    "ECONNRESET",
    "EPIPE",
    "ECONNABORTED",
    "ETIMEDOUT",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "EOF",
    "silence",
    "delay",
    "change",
    "nothing",
]


class YamlModel(BaseModel):
    """What stands in YAML as a mapping. The docstring of a field is what editors and docs say of its key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema)["properties"]
        models = (model for model in cls.__mro__[::-1] if issubclass(model, YamlModel))
        texts = {name: text for model in models for name, text in _field_docs(model)}
        for name, field in cls.model_fields.items():
            if name in texts:
                properties[field.alias or name]["description"] = texts[name]
        return schema


def _field_docs(model: type) -> Iterator[tuple[str, str]]:
    """The docstring of each field of a class, from its source; a class that was made as the program runs has none.

    pydantic can do that too, but for every class when it is made, which takes longer than all else that it does then.
    """
    body = _classes(model.__module__).get(model.__name__, [])
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            yield field.target.id, cleandoc(ast.literal_eval(text.value))


@cache
def _classes(module: str) -> Mapping[str, list[ast.stmt]]:
    try:
        tree = ast.parse(getsource(sys.modules[module]))
    except OSError:  # a frozen program has no sources
        return {}
    return {each.name: each.body for each in tree.body if isinstance(each, ast.ClassDef)}


class Need(StrEnum):
    """What a host must allow for a fault to be exact (docs/privileges.md)."""

    NOTHING = "nothing"
    FILTER = "a socket filter"
    INTERCEPTION = "raw sockets, and a socket filter on the listener"
    DESTROY = "to end the client's own socket, in this network namespace"


class ListenerMode(Enum):
    """What becomes of a client's SYN: the kernel refuses it, completes the handshake, drops it, or leaves it to us."""

    CLOSED = "closed"
    OPEN = "open"
    SILENT = "silent"
    INTERCEPTING = "intercepting"


class Direction(StrEnum):
    """Which way bytes go: ``upstream`` from client to server, ``downstream`` from server to client."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


class Side(StrEnum):
    """One of the two peers of a connection."""

    CLIENT = "client"
    SERVER = "server"


_KINDS = frozenset({"bytes", "time", "idle", "match"})


class Trigger(YamlModel):
    """When a fault is injected: after so many bytes delivered in a direction, or so long after the accept.

    Written ``4KiB``, ``2s``, or a mapping with exactly one of ``bytes``, ``time``, ``idle`` and ``match``. ``idle``
    is a time in which no byte was delivered (or thrown away by a ``blackhole``) either way, or in the ``direction``
    that is given, counted from the last byte, or from when the rule reached the connection. ``match`` is just after
    the last byte of the first match of a regular expression; with ``nth: 3`` of the third. One match begins behind the
    end of the one before it. A ``live`` rule that reaches an open connection counts its bytes and its time from then.
    """

    bytes: Size | None = None
    """Once so many bytes were delivered: the receiver has that many, no more, no fewer."""
    time: Duration | None = None
    """So long after the connection was accepted."""
    idle: PositiveDuration | None = None
    """Once no byte has moved either way, or in the direction, for so long."""
    match: Pattern | None = None
    """Just after the last byte of the first match of this regular expression was delivered."""
    nth: Annotated[StrictInt, Field(ge=1, lt=2**31, examples=[3])] | None = None
    """With match: after this match instead of the first."""
    direction: Direction | None = None
    """Which way the bytes go; without it downstream, and for idle both ways."""

    @property
    def at_once(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.bytes == 0 or self.time == 0

    @property
    def counted(self) -> Direction:
        """Which way the bytes go that are counted or searched."""
        return self.direction or Direction.DOWNSTREAM

    @property
    def counts_bytes(self) -> bool:
        """Whether it waits for bytes."""
        return bool(self.bytes or self.match)

    def __str__(self) -> str:
        if self.at_once:
            return "at once"
        if self.time is not None:
            return format_duration(self.time)
        if self.idle is not None:
            return f"{format_duration(self.idle)} idle{f' {self.direction}' if self.direction else ''}"
        if self.match is not None:
            number = "" if self.nth is None else f" {self.nth}"
            return f"match{number} of {quote(self.match)} {self.counted}"
        return f"{format_size(self.bytes or 0)} {self.counted}"

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: object) -> object:
        if isinstance(value, dict):
            if len(_KINDS & value.keys()) != 1:
                raise PydanticCustomError(
                    "trigger", "needs exactly one of bytes, time, idle and match, such as {bytes: 4KiB}"
                )
            if "nth" in value and "match" not in value:
                raise PydanticCustomError("trigger", "nth counts matches; add match, or remove nth")
            return value
        if isinstance(value, str) and re.match(SIZE_PATTERN, value):
            return {"bytes": value}
        if isinstance(value, str) and re.match(DURATION_PATTERN, value):
            return {"time": value}
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise PydanticCustomError("unit", f"{quote(value)} has no unit; write {value}B, {value}KiB or {value}s")
        raise PydanticCustomError("trigger", f"{quote(value)} is neither a size nor a duration; write 4KiB or 2s")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        mapping = handler.resolve_ref_schema(super().__get_pydantic_json_schema__(core_schema, handler)).copy()
        mapping["oneOf"] = [{"required": [key]} for key in sorted(_KINDS)]
        mapping["dependentRequired"] = {"nth": ["match"]}
        texts = ({"type": "string", "pattern": pattern} for pattern in (SIZE_PATTERN, DURATION_PATTERN))
        return {"anyOf": [*texts, mapping]}


AT_ONCE = Trigger(bytes="0B")  # type: ignore[arg-type]  # validated from its text, as a user writes it


Report = Callable[[str | None], None]
"""Is called when a fault takes effect: with the reason if that is less than exact, else None. The first call counts."""


class Peers(Protocol):
    """The two sockets of a connection, and what a fault's steps are made of. Implemented in connection.peers."""

    @property
    def client_has_eof(self) -> bool:
        """Whether the client was already sent FIN: its next error is then EPIPE, not ECONNRESET."""

    def stop(self) -> None:
        """Carry no more bytes and drop those that are held. Whatever is open afterwards is ended with FIN."""

    @property
    def is_open(self) -> bool:
        """Whether bytes may still be carried."""

    async def flush(self, side: Side, until: float = math.inf) -> str | None:
        """Wait until the side's kernel has acknowledged all that was sent to it; if it has not by then, why."""

    async def settle(self) -> None:
        """Wait a moment, so that what follows is an event of its own for the peer."""

    def fin(self, side: Side) -> None:
        """Send FIN to a side, after all data."""

    async def fin_sent(self, side: Side) -> None:
        """Wait until the FIN has left."""

    def rst(self, side: Side) -> None:
        """Reset a side."""

    def why_no_rst(self, side: Side) -> str | None:
        """Why a side cannot be reset, if it cannot."""

    def client_on_rst(self) -> ClientSees:
        """What a client that is reset now sees. On a Unix socket it reads EOF if all that it sent has been read."""

    def destroy_client(self) -> str | None:
        """Destroy the client's own socket; if that is not possible here, why."""

    def end(self, direction: Direction) -> bool:
        """End one direction: FIN to its receiver, and what its sender still sends is read and thrown away.

        Returns whether it had not been ended so before.
        """

    def discard(self, direction: Direction) -> None:
        """Throw away what is held for a direction and what its sender still sends; only the end is passed on."""

    def freeze(self, for_s: float | None) -> None:
        """Move nothing and end nothing, for so many seconds, or for ever; then every byte goes on."""

    def partition(self) -> str | None:
        """Take in nothing that the peers send, not even an acknowledgement; if that is not possible here, why."""


class HalfOpen(Protocol):
    """A client whose SYN has no answer yet. The answer that it gets is given to its retransmissions too."""

    def refuse(self) -> None:
        """As a host answers on whose port nobody listens."""

    def unreachable(self, what: Literal["host", "net"]) -> None:
        """As a router answers that knows no way to the host, or to its network."""

    def ignore(self) -> None:
        """Not at all."""


class Connect(YamlModel):
    """A fault that comes before the connection exists: the client's connect() itself fails."""

    key: ClassVar[str]
    needs: ClassVar[Need] = Need.INTERCEPTION
    client_sees: ClassVar[ClientSees]
    mode_for_all: ClassVar[ListenerMode | None] = None
    """The mode in which the listener does this to every client, if there is one."""

    def connect_returns(self) -> ClientSees:
        """What the client sees with these options."""
        return self.client_sees

    def answer(self, client: HalfOpen) -> None:
        """Answer the client's SYN."""
        raise NotImplementedError


class ConnectDelay(YamlModel):
    """A fault that delays the handshake, and ends nothing. Those of several rules add up."""

    key: ClassVar[str]
    needs: ClassVar[Need] = Need.INTERCEPTION
    client_sees: ClassVar[ClientSees] = "delay"

    delay: PositiveDuration
    """How much later the handshake completes."""


class TriggeredFault(YamlModel):
    """A fault that is injected when its trigger is reached. Most end the connection, or a direction of it."""

    key: ClassVar[str]

    after: Trigger = AT_ONCE
    """When it is injected: a size, a duration, or a mapping; at once without it."""

    @property
    def needs(self) -> Need:
        """What a host must allow for it to be exact."""
        return Need.NOTHING

    @property
    def touches_server(self) -> bool:
        """Whether the server sees this fault, so that it must be dialled even if there is nothing to wait for."""
        return True

    @property
    def silences(self) -> bool:
        """Whether no byte moves any more, either way, once it is injected."""
        return True

    @property
    def discards(self) -> frozenset[Direction]:
        """The directions that lose bytes from then on, for as long as the rule stands."""
        return frozenset()

    def client_sees(self, peers: Peers) -> ClientSees:
        """What the client's next system call returns, in the state that the connection is in."""
        raise NotImplementedError

    def client_sees_instead(self, peers: Peers) -> ClientSees:
        """The same, where this host cannot inject it exactly."""
        return self.client_sees(peers)

    async def inject(self, peers: Peers, report: Report, until: float) -> None:
        """Do it, and report when it takes effect.

        ``until`` is when the connection's next fault is due (trio.current_time()): one that lets the connection go on
        waits no longer.
        """
        raise NotImplementedError

    async def flushed(self, peers: Peers, side: Side) -> str | None:
        """Wait until a side has what the trigger counted; why not, if it has not. Does not wait for a time trigger."""
        return await peers.flush(side) if self.after.counts_bytes else None


Segment = tuple[float, bytes, bool]
"""When bytes are due, the bytes, and whether they leave in a segment of their own."""

Draw = Callable[[object], float]
"""A number in [0, 1) that depends on the seed, the proxy, the rule, the connection, and on what is given."""

MAX_BUFFERED = 4 * 2**20
MAX_READ = 256 * 2**10


class Shaper:
    """A shape at work in one direction of one connection. Pure but for what it has seen: no clock, no socket.

    ``rate`` is the bytes a second that it lets through at most, ``delay_s`` the seconds that it keeps
    bytes: together they say how much the pipe must buffer. ``max_read`` is how many bytes it takes at once.
    ``changed`` is how many bytes it has changed.
    """

    rate = math.inf
    delay_s = 0.0
    max_read = MAX_READ
    changed = 0

    def shape(self, due: float, offset: int, data: bytes) -> list[Segment]:
        """What becomes of bytes that would leave at ``due`` and begin at ``offset`` of the direction."""
        return [(due, data, False)]

    def end(self, due: float, *, fin: bool) -> float:
        """When the end of the stream leaves that would leave at ``due``."""
        return due


Join = Callable[[], Shaper]
"""A line that streams share: makes the shaper of one of them."""


class Shape(YamlModel):
    """A fault that changes how a connection fares, and ends nothing. Shapes of several rules add up."""

    key: ClassVar[str]
    needs: ClassVar[Need] = Need.NOTHING
    client_sees: ClassVar[ClientSees] = "delay"

    direction: Literal["both", "upstream", "downstream"] = "both"
    """Which way the bytes or packets go that it shapes: upstream to the server, downstream to the client."""

    def acts_on(self, direction: Direction) -> bool:
        """Whether it shapes this direction."""
        return self.direction in ("both", direction.value)


class PacketShape(Shape):
    """A shape that keeps packets from the proxy's kernel, of which bytes know nothing."""

    needs: ClassVar[Need] = Need.FILTER

    @property
    def loss(self) -> float:
        """The fraction of the packets that do not arrive."""
        raise NotImplementedError


class StreamShape(Shape):
    """A shape that changes how bytes travel."""

    @property
    def is_shared(self) -> bool:
        """Whether all connections of the proxy that its rule picks share one line."""
        return False

    def line(self, before: Join | None) -> Join | None:
        """A line to share, in place of the one before, if there was one; None if nothing is shared."""
        return None

    def shaper(self, draw: Draw) -> Shaper:
        """The shape at work in one direction, for which ``draw`` draws."""
        raise NotImplementedError


class Verdict(YamlModel):
    """Ends the reading of the rules and does nothing else."""

    key: ClassVar[str]
    needs: ClassVar[Need] = Need.NOTHING


Fault = Connect | ConnectDelay | TriggeredFault | Shape | Verdict


def options(fault: Fault) -> dict[str, Any]:
    """A fault's options as they would stand in YAML, defaults included."""
    return fault.model_dump(mode="json", by_alias=True, exclude_none=True)
