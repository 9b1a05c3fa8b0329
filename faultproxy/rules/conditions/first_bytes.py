"""Conditions on the client's first bytes: whether they hold, do not, or cannot be told yet (None)."""

from fnmatch import fnmatchcase
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    StrictStr,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from faultproxy.faults.base import MODEL
from faultproxy.faults.pattern import compile_pattern
from faultproxy.rules.client_hello import NotYet, server_name
from faultproxy.units import one_or_many, quote

LARGEST_OPENING = 4096
"""How many of the client's first bytes are looked at, at most."""

_HEX_PATTERN = r"^(?:[0-9A-Fa-f]{2} ?)+$"
_NAME_PATTERN = r"^[A-Za-z0-9_*?](?:[A-Za-z0-9_.*?-]{0,252})$"


class Prefix(BaseModel):
    """Bytes that a client may begin with: text, which stands for its UTF-8, or ``{hex: "16 03"}``."""

    model_config = MODEL

    text: Annotated[StrictStr, Field(min_length=1, max_length=LARGEST_OPENING)] | None = None
    hex: Annotated[StrictStr, Field(pattern=_HEX_PATTERN, max_length=3 * LARGEST_OPENING)] | None = None

    @property
    def wanted(self) -> bytes:
        """The bytes themselves."""
        return bytes.fromhex(self.hex) if self.hex is not None else (self.text or "").encode()

    def holds(self, opening: bytes) -> bool | None:
        """Decided at the first byte that differs, or with the last that is asked for."""
        wanted = self.wanted
        if opening.startswith(wanted):
            return True
        return None if wanted.startswith(opening) else False

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: object) -> object:
        if isinstance(value, str):
            return {"text": value}
        if isinstance(value, dict) and set(value) == {"hex"}:
            return value
        raise PydanticCustomError("prefix", f'{quote(value)} is not text; write "GET " or {{hex: "16 03"}}')

    @model_validator(mode="after")
    def _is_short(self) -> Self:
        if len(self.wanted) > LARGEST_OPENING:
            raise PydanticCustomError("prefix", "is longer than the 4 KiB that are looked at; write fewer bytes")
        return self

    @model_serializer
    def _as_written(self) -> str | dict[str, str]:
        return {"hex": self.hex} if self.hex is not None else self.text or ""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        by_text = {"type": "string", "minLength": 1, "maxLength": LARGEST_OPENING, "examples": ["GET "]}
        by_hex = {
            "type": "object",
            "properties": {
                "hex": {
                    "type": "string",
                    "pattern": _HEX_PATTERN,
                    "maxLength": 3 * LARGEST_OPENING,
                    "examples": ["16 03"],
                }
            },
            "required": ["hex"],
            "additionalProperties": False,
        }
        return {"anyOf": [by_text, by_hex]}


def matches(pattern: str, opening: bytes) -> bool | None:
    """Whether the expression is found in the opening; until it is, more may come."""
    return True if compile_pattern(pattern).search(opening) else None


def names(patterns: tuple[str, ...], opening: bytes) -> bool | None:
    """Whether the TLS server name is one of these; ``*`` stands for any characters, dots among them."""
    try:
        name = server_name(opening)
    except NotYet:
        return None
    return name is not None and any(fnmatchcase(name, pattern.lower()) for pattern in patterns)


_NAME: dict[str, object] = {"type": "string", "pattern": _NAME_PATTERN, "examples": ["*.example.com"]}
ServerNames = Annotated[
    tuple[Annotated[StrictStr, Field(pattern=_NAME_PATTERN)], ...],
    BeforeValidator(one_or_many),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [_NAME, {"type": "array", "items": _NAME, "minItems": 1}]}),
]
