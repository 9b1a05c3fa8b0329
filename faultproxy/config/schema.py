"""What a configuration file holds, as frozen data. The loader makes these; nothing else does."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from faultproxy.addresses import Listen, Upstream
from faultproxy.faults.base import MODEL
from faultproxy.rules.conditions.counts import Count
from faultproxy.rules.rule import BaseRule, Rule
from faultproxy.units import (
    DURATION_PATTERN,
    POSITIVE_SIZE_PATTERN,
    Duration,
    PositiveDuration,
    PositiveSize,
    format_duration,
    format_size,
    parse_duration,
    quote,
)

_LONGEST_KEEPALIVE_S = 9 * 3600  # the kernel takes 32,767 s at most
_LEAST_MEMORY = 2**20


def _check_version(value: object) -> object:
    if type(value) is not int or value != 1:
        raise PydanticCustomError(
            "version", f"{quote(value)} is no version of this file; write 1, or leave the key out"
        )
    return value


def _parse_keepalive(value: object) -> float | None:
    if value == "off":
        return None
    idle_s = parse_duration(value)
    if not 1 <= idle_s <= _LONGEST_KEEPALIVE_S:
        raise PydanticCustomError(
            "keepalive", f"{quote(value)} is no time that the kernel takes; write 1s to 9h, or off"
        )
    return idle_s


def _enough(size: int) -> int:
    if size < _LEAST_MEMORY:
        raise PydanticCustomError(
            "memory", f"{quote(format_size(size))} is too little to carry bytes; write 1MiB or more"
        )
    return size


def _check_proxy_name(name: str) -> str:
    if not re.fullmatch(PROXY_NAME_PATTERN, name):
        right = "write at most 100 letters, digits, _ . and -, not . or - first"
        raise PydanticCustomError("proxy_name", f"{quote(name)} cannot name a proxy; {right}")
    return name


PROXY_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"
ProxyName = Annotated[
    str, AfterValidator(_check_proxy_name), WithJsonSchema({"type": "string", "pattern": PROXY_NAME_PATTERN})
]
Keepalive = Annotated[
    float | None,
    BeforeValidator(_parse_keepalive),
    PlainSerializer(lambda idle_s: "off" if idle_s is None else format_duration(idle_s)),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"const": "off"}], "examples": ["60s"]}),
]
Version = Annotated[Literal[1], BeforeValidator(_check_version)]
Memory = Annotated[
    PositiveSize,
    AfterValidator(_enough),
    WithJsonSchema({"type": "string", "pattern": POSITIVE_SIZE_PATTERN, "examples": ["256MiB"]}),
]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]


class LogOptions(BaseModel):
    """How the log is written."""

    model_config = MODEL

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class ProxyConfig(BaseModel):
    """One proxy: where it listens, what it dials, and its rules.

    While ``max_connections`` are open, further clients wait in the listener's queue; None is what leaves the other
    proxies room. A peer that is silent for ``keepalive`` seconds is asked whether it is there (tcp(7)); None: never.
    """

    model_config = MODEL

    listen: Listen
    upstream: Upstream
    dial_timeout: PositiveDuration = 5.0
    peek_timeout: Duration = 1.0
    max_connections: Count | None = None
    keepalive: Keepalive = 60.0
    enabled: StrictBool = True
    rules: Annotated[tuple[Rule, ...], BeforeValidator(lambda value: [] if value is None else value)] = ()  # type: ignore[valid-type]

    def dump(self) -> dict[str, Any]:
        """The proxy as it would stand in YAML, defaults of its own included."""
        rules: tuple[BaseRule, ...] = self.rules
        settings = self.model_dump(mode="json", exclude={"rules"}).items()
        return {
            **{key: value for key, value in settings if value is not None},
            "rules": [rule.dump() for rule in rules],
        }


class Config(BaseModel):
    """A whole file. What rules and proxies must not be to one another is for the loader to see.

    ``memory`` is the most bytes that are held for connections in all; None is a share of what the cgroup allows.
    """

    model_config = MODEL

    version: Version = 1
    seed: Seed | None = None
    log: LogOptions = LogOptions()
    drain: Duration = 5.0
    memory: Memory | None = None
    proxies: Annotated[
        dict[ProxyName, ProxyConfig],
        Field(min_length=1, examples=[{"redis": {"listen": "127.0.0.1:16379", "upstream": "redis:6379"}}]),
    ]
