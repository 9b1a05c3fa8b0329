"""starts_with, matches and sni: what the client says first. Each holds, does not, or is not known yet (None)."""

from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, ClassVar, Self

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    RootModel,
    StrictStr,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from faultproxy.faults.base import YamlModel
from faultproxy.faults.pattern import Pattern, Regex
from faultproxy.rules.client_hello import NotYet, server_name
from faultproxy.rules.conditions.base import Condition, Stage, one_or_list
from faultproxy.rules.facts import MOST_FIRST_BYTES, ConnectionFacts, RuleState
from faultproxy.units import one_or_many, quote

_HEX_PATTERN = r"^(?:[0-9A-Fa-f]{2} ?)+$"
_NAME_PATTERN = r"^[A-Za-z0-9_*?](?:[A-Za-z0-9_.*?-]{0,252})$"


class StartsWith(Condition, YamlModel):
    """Clients that begin with these bytes: text, which stands for its UTF-8, or ``{hex: "16 03"}``."""

    key: ClassVar[str] = "starts_with"
    stage: ClassVar[Stage] = Stage.FIRST_BYTES

    text: Annotated[StrictStr, Field(min_length=1, max_length=MOST_FIRST_BYTES)] | None = None
    hex: Annotated[StrictStr, Field(pattern=_HEX_PATTERN, max_length=3 * MOST_FIRST_BYTES)] | None = None

    @cached_property
    def wanted(self) -> bytes:
        """The bytes themselves."""
        return bytes.fromhex(self.hex) if self.hex is not None else (self.text or "").encode()

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool | None:
        """Decided at the first byte that differs, or with the last that is asked for."""
        if facts.first_bytes.startswith(self.wanted):
            return True
        return None if self.wanted.startswith(facts.first_bytes) else False

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return _explain(self.key, facts, holds=holds)

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
        if len(self.wanted) > MOST_FIRST_BYTES:
            raise PydanticCustomError("prefix", "is longer than the 4 KiB that are looked at; write fewer bytes")
        return self

    @model_serializer
    def _as_written(self) -> str | dict[str, str]:
        return {"hex": self.hex} if self.hex is not None else self.text or ""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        by_text = {"type": "string", "minLength": 1, "maxLength": MOST_FIRST_BYTES, "examples": ["GET "]}
        by_hex = {
            "type": "object",
            "properties": {
                "hex": {
                    "type": "string",
                    "pattern": _HEX_PATTERN,
                    "maxLength": 3 * MOST_FIRST_BYTES,
                    "description": "The bytes, each as two hexadecimal digits.",
                    "examples": ["16 03"],
                }
            },
            "required": ["hex"],
            "additionalProperties": False,
        }
        return {"anyOf": [by_text, by_hex]}


class Matches(Condition, RootModel[Pattern]):
    """Clients whose first bytes hold a match of a regular expression."""

    key: ClassVar[str] = "matches"
    stage: ClassVar[Stage] = Stage.FIRST_BYTES

    @cached_property
    def _regex(self) -> Regex:
        return Regex(self.root)

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool | None:
        return True if self._regex.find(facts.first_bytes) is not None else None

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return _explain(self.key, facts, holds=holds)


ServerNames = Annotated[
    tuple[Annotated[StrictStr, Field(pattern=_NAME_PATTERN)], ...],
    BeforeValidator(one_or_many),
    Field(min_length=1),
    one_or_list({"type": "string", "pattern": _NAME_PATTERN, "examples": ["*.example.com"]}),
]


class ServerName(Condition, RootModel[ServerNames]):
    """Clients that ask for one of these server names in a TLS ClientHello; ``*`` stands for any characters."""

    key: ClassVar[str] = "sni"
    stage: ClassVar[Stage] = Stage.FIRST_BYTES

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool | None:
        try:
            name = server_name(facts.first_bytes)
        except NotYet:
            return None
        return name is not None and any(fnmatchcase(name, pattern.lower()) for pattern in self.root)

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return _explain(self.key, facts, holds=holds)


def _explain(key: str, facts: ConnectionFacts, *, holds: bool) -> str:
    says = quote(facts.first_bytes.decode(errors="replace")) if facts.first_bytes else "nothing"
    return f"it says {says}" if holds else f"its first bytes are asked for ({key}), and this client says {says}"
