"""What faults are made of: their kinds, the trigger of an ending, and the link that endings act on.

A fault is a frozen pydantic model in a file of its own. Its fields are its options in YAML, its
docstring is its documentation. Nothing here does I/O: a fault is handed the link it strikes.
"""

import re
from collections.abc import Callable
from enum import Enum, StrEnum
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
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

MODEL = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

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


class Need(StrEnum):
    """What a host must allow for a fault to be exact (docs/privileges.md)."""

    NOTHING = "nothing"
    FILTER = "a socket filter"
    GATE = "raw sockets, and a socket filter on the listener"
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


class Trigger(BaseModel):
    """When an ending strikes: after so many bytes delivered in a direction, or so long after the accept.

    Written ``4KiB``, ``2s``, or a mapping with exactly one of ``bytes``, ``time`` and ``match``: just after the last
    byte of the first match of a regular expression.
    """

    model_config = MODEL

    bytes: Size | None = None
    time: Duration | None = None
    match: Pattern | None = None
    direction: Direction = Direction.DOWNSTREAM

    @property
    def at_once(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.bytes == 0 or self.time == 0

    def __str__(self) -> str:
        if self.at_once:
            return "at once"
        if self.time is not None:
            return format_duration(self.time)
        if self.match is not None:
            return f"match of {quote(self.match)} {self.direction}"
        return f"{format_size(self.bytes or 0)} {self.direction}"

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: object) -> object:
        if isinstance(value, dict):
            if len({"bytes", "time", "match"} & value.keys()) != 1:
                raise PydanticCustomError(
                    "trigger", "needs exactly one of bytes, time and match, such as {bytes: 4KiB}"
                )
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
        mapping = handler.resolve_ref_schema(handler(core_schema)).copy()
        mapping["oneOf"] = [{"required": [key]} for key in ("bytes", "time", "match")]
        texts = ({"type": "string", "pattern": pattern} for pattern in (SIZE_PATTERN, DURATION_PATTERN))
        return {"anyOf": [*texts, mapping]}


AT_ONCE = Trigger(bytes="0B")  # type: ignore[arg-type]  # validated from its text, as a user writes it


class Link(Protocol):
    """The two sockets of a connection, as an ending sees them. The log is told of a verb as it takes effect."""

    @property
    def client_has_eof(self) -> bool:
        """Whether the client was already sent FIN: its next error is then EPIPE, not ECONNRESET."""

    async def reset(self, *sides: Side) -> None:
        """End the connection: RST to these sides, FIN to the other.

        When the trigger counted bytes, a side is reset once its kernel has acknowledged all of them.
        """

    def shut(self, direction: Direction) -> None:
        """End one direction with FIN to its receiver, and throw away what its sender still sends."""

    async def abort(self) -> None:
        """Destroy the client's own socket once all has been delivered, or else reset it; FIN to the server."""

    async def break_pipe(self) -> None:
        """FIN to the client and RST right behind it, so that its next write fails with EPIPE; FIN to the server."""

    def freeze(self, for_s: float | None) -> None:
        """Move nothing and end nothing, for so many seconds or for ever; then every byte goes on."""

    async def isolate(self, for_s: float | None) -> None:
        """Freeze, and take in nothing that the peers send, so that not even an acknowledgement comes back."""

    async def close(self) -> None:
        """End the connection with FIN to both sides, reading what still comes for up to a second.

        For longer if that is what it takes to deliver what was sent before.
        """


class Knock(Protocol):
    """A client's first packet, as a connect fault sees it. What is answered to it, is to its retransmissions too."""

    def refuse(self) -> None:
        """As a host answers on whose port nobody listens."""

    def unreachable(self, what: Literal["host", "net"]) -> None:
        """As a router answers that knows no way to the host, or to its network."""

    def ignore(self) -> None:
        """Not at all."""


class Connect(BaseModel):
    """A fault that strikes before the connection exists: the client's connect() itself fails."""

    model_config = MODEL
    key: ClassVar[str]
    needs: ClassVar[Need] = Need.GATE
    client_sees: ClassVar[ClientSees]
    mode_for_all: ClassVar[ListenerMode | None] = None
    """The mode in which the listener does this to every client, if there is one."""

    def connect_returns(self) -> ClientSees:
        """What the client sees with these options."""
        return self.client_sees

    def answer(self, knock: Knock) -> None:
        """Answer the client's first packet."""
        raise NotImplementedError


class ConnectShape(BaseModel):
    """A fault that changes how a client gets in, and ends nothing. Those of several rules add up."""

    model_config = MODEL
    key: ClassVar[str]
    needs: ClassVar[Need] = Need.GATE
    client_sees: ClassVar[ClientSees] = "delay"

    delay: PositiveDuration


class Ending(BaseModel):
    """A fault that ends a connection, or a direction of it, when its trigger is reached."""

    model_config = MODEL
    key: ClassVar[str]

    after: Trigger = AT_ONCE

    @property
    def needs(self) -> Need:
        """What a host must allow for it to be exact."""
        return Need.NOTHING

    @property
    def touches_server(self) -> bool:
        """Whether the server sees this ending, so that it must be dialled even if the ending strikes at once."""
        return True

    @property
    def silences(self) -> bool:
        """Whether no byte moves any more, either way, once it has struck."""
        return True

    def client_sees(self, link: Link) -> ClientSees:
        """What the client's next system call returns, in the state that the link is in."""
        raise NotImplementedError

    def client_sees_instead(self, link: Link) -> ClientSees:
        """The same, where this host cannot strike exactly."""
        return self.client_sees(link)

    async def strike(self, link: Link) -> None:
        """Do it."""
        raise NotImplementedError


Segment = tuple[float, bytes, bool]
"""When bytes are due, the bytes, and whether they leave in a segment of their own."""

Roll = Callable[[object], float]
"""A number in [0, 1) that depends on the seed, the proxy, the rule, the connection, and on what is given."""

MAX_BUFFERED = 4 * 2**20
MAX_READ = 256 * 2**10


class Shaper(Protocol):
    """A shape at work in one direction of one connection. Pure but for what it has seen: no clock, no socket.

    ``rate`` is the bytes a second that it lets through at most, ``delay_s`` the seconds that it keeps
    bytes: together they say how much the pipe must buffer. ``max_read`` is how many bytes it takes at once.
    """

    rate: float
    delay_s: float
    max_read: int

    def shape(self, due: float, offset: int, data: bytes) -> list[Segment]:
        """What becomes of bytes that would leave at ``due`` and begin at ``offset`` of the direction."""

    def end(self, due: float, *, fin: bool) -> float:
        """When the end of the stream leaves that would leave at ``due``."""


class Shape(BaseModel):
    """A fault that changes how a connection fares, and ends nothing. Shapes of several rules add up."""

    model_config = MODEL
    key: ClassVar[str]
    needs: ClassVar[Need] = Need.NOTHING
    client_sees: ClassVar[ClientSees] = "delay"


class PacketShape(Shape):
    """A shape that keeps packets from the proxy's kernel, of which bytes know nothing."""

    needs: ClassVar[Need] = Need.FILTER

    @property
    def loss(self) -> float:
        """The fraction of the client's packets that do not arrive."""
        raise NotImplementedError


class StreamShape(Shape):
    """A shape that changes how bytes travel."""

    direction: Literal["both", "upstream", "downstream"] = "both"

    def acts_on(self, direction: Direction) -> bool:
        """Whether it shapes this direction."""
        return self.direction in ("both", direction.value)

    def shaper(self, roll: Roll) -> Shaper:
        """The shape at work in one direction, for which the rolls are made."""
        raise NotImplementedError


class Verdict(BaseModel):
    """Ends the reading of the rules and does nothing else."""

    model_config = MODEL
    key: ClassVar[str]
    needs: ClassVar[Need] = Need.NOTHING


Fault = Connect | ConnectShape | Ending | Shape | Verdict


def options(fault: Fault) -> dict[str, Any]:
    """A fault's options as they would stand in YAML, defaults included."""
    return fault.model_dump(mode="json", by_alias=True, exclude_none=True)
