"""What faults are made of: their kinds, the trigger of an ending, and the link that endings act on.

A fault is a frozen pydantic model in a file of its own. Its fields are its options in YAML, its
docstring is its documentation. Nothing here does I/O: a fault is handed the link it strikes.
"""

import re
from enum import StrEnum
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from faultproxy.units import DURATION_PATTERN, SIZE_PATTERN, Duration, Size, format_duration, format_size, quote

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

    Written ``4KiB``, ``2s``, or a mapping with exactly one of ``bytes`` and ``time``.
    """

    model_config = MODEL

    bytes: Size | None = None
    time: Duration | None = None
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
        return f"{format_size(self.bytes or 0)} {self.direction}"

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: object) -> object:
        if isinstance(value, dict):
            if len({"bytes", "time"} & value.keys()) != 1:
                raise PydanticCustomError("trigger", "needs exactly one of bytes and time, such as {bytes: 4KiB}")
            return value
        if isinstance(value, str) and re.match(SIZE_PATTERN, value):
            return {"bytes": value}
        if isinstance(value, str) and re.match(DURATION_PATTERN, value):
            return {"time": value}
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise PydanticCustomError("unit", f"{quote(value)} has no unit; write {value}B, {value}KiB or {value}s")
        raise PydanticCustomError("trigger", f"{quote(value)} is neither a size such as 4KiB nor a duration such as 2s")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        mapping = handler.resolve_ref_schema(handler(core_schema)).copy()
        mapping["oneOf"] = [{"required": ["bytes"]}, {"required": ["time"]}]
        texts = ({"type": "string", "pattern": pattern} for pattern in (SIZE_PATTERN, DURATION_PATTERN))
        return {"anyOf": [*texts, mapping]}


AT_ONCE = Trigger(bytes="0B")  # type: ignore[arg-type]  # validated from its text, as a user writes it


class Link(Protocol):
    """The two sockets of a connection, as an ending sees them. What a verb does is told in the log as it takes effect."""

    @property
    def client_has_eof(self) -> bool:
        """Whether the client was already sent FIN: its next error is then EPIPE, not ECONNRESET."""

    async def reset(self, *sides: Side) -> None:
        """End the connection: RST to these sides, FIN to the other.

        When the trigger counted bytes, a side is reset once its kernel has acknowledged all of them.
        """

    def shut(self, direction: Direction) -> None:
        """End one direction with FIN to its receiver, and throw away what its sender still sends."""

    async def close(self) -> None:
        """End the connection with FIN to both sides, reading what still comes for up to a second."""


class Connect(BaseModel):
    """A fault that strikes before the connection exists: the client's connect() itself fails."""

    model_config = MODEL
    key: ClassVar[str]
    client_sees: ClassVar[ClientSees]


class Ending(BaseModel):
    """A fault that ends a connection, or a direction of it, when its trigger is reached."""

    model_config = MODEL
    key: ClassVar[str]

    after: Trigger = AT_ONCE

    @property
    def touches_server(self) -> bool:
        """Whether the server sees this ending, so that it must be dialled even if the ending strikes at once."""
        return True

    def client_sees(self, link: Link) -> ClientSees:
        """What the client's next system call returns, in the state that the link is in."""
        raise NotImplementedError

    async def strike(self, link: Link) -> None:
        """Do it."""
        raise NotImplementedError


class Verdict(BaseModel):
    """Ends the reading of the rules and does nothing else."""

    model_config = MODEL
    key: ClassVar[str]


Fault = Connect | Ending | Verdict


def options(fault: Fault) -> dict[str, Any]:
    """A fault's options as they would stand in YAML, defaults included."""
    return fault.model_dump(mode="json", exclude_none=True)

