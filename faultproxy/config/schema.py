"""What a configuration file holds, as frozen data. The loader makes these; nothing else does."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from faultproxy.addresses import Listen, Upstream
from faultproxy.faults.base import YamlModel
from faultproxy.proxy_protocol import HeaderVersion
from faultproxy.rules.conditions.counts import Count
from faultproxy.rules.rule import Rule
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
    schema_of,
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
        right = "write 1 to 200 characters of one line, no space first or last, and not . or .."
        raise PydanticCustomError("proxy_name", f"{quote(name)} cannot name a proxy; {right}")
    return name


# A name stands in log lines (`redis#17`), and percent-encoded in the API's paths, where . and .. mean other things.
# Toxiproxy takes any; its users have names such as `redis:6379` and `shop/orders`.
_OF_A_LINE = r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029]"
PROXY_NAME_PATTERN = rf"^(?!\.{{1,2}}$)(?! ){_OF_A_LINE}{{0,199}}(?! ){_OF_A_LINE}$"
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
MemorySize = Annotated[PositiveSize, AfterValidator(_enough), schema_of(POSITIVE_SIZE_PATTERN, "256MiB")]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]


class LogOptions(YamlModel):
    """How the log is written. Without a ``format`` it is console on a terminal, and JSON elsewhere."""

    format: Literal["json", "console"] | None = None
    """How lines look: json for programs, console for people. Without it, console on a terminal, json elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """From which level up lines are written; debug has one for each connection."""


class ProxyConfig(YamlModel):
    """One proxy: where it listens, what it dials, and its rules."""

    listen: Listen
    """Where clients connect: HOST:PORT, "[IPV6]:PORT", :PORT (all addresses) or unix:/path; port 0 is any free port."""
    upstream: Upstream
    """The server: HOST:PORT, "[IPV6]:PORT" or unix:/path; a name is resolved for each connection.

    Or original: where each client wanted to go before it was led here (intercept.md).
    """
    dial_timeout: PositiveDuration = 5.0
    """How long dialling the server may take, all of its addresses together."""
    peek_timeout: Duration = 1.0
    """How long a client's first bytes are waited for, where a rule asks for them."""
    max_connections: Count | None = None
    """How many connections may be open; further clients wait. Without it, what leaves the other proxies room."""
    keepalive: Keepalive = 60.0
    """After how long without a byte a peer is asked whether it is still there; off is never."""
    accept_proxy: StrictBool = False
    """True: connections begin with a PROXY protocol header (v1, v2), by which a load balancer names its client."""
    send_proxy: HeaderVersion | None = None
    """Tells the server who the client is by the PROXY protocol: v2, or v1 for servers that read no other."""
    enabled: StrictBool = True
    """False is like a stopped server: connects are refused, open connections are reset."""
    rules: Annotated[tuple[Rule, ...], BeforeValidator(lambda value: [] if value is None else value)] = ()
    """Read from top to bottom for each new connection; the first that matches and holds a verdict ends the reading."""

    def dump(self) -> dict[str, Any]:
        """The proxy as it would stand in YAML, defaults of its own included."""
        return {**self.settings, "rules": [rule.dump() for rule in self.rules]}

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The same without the rules, not to be changed: it is made once."""
        settings = self.model_dump(mode="json", exclude={"rules"})
        return {key: value for key, value in settings.items() if value is not None}

    def written(self) -> dict[str, Any]:
        """The proxy as a person would write it: what is left at its default is left out, and no rules are no key."""
        settings = self.model_dump(mode="json", exclude={"rules"}, exclude_defaults=True)
        return {**settings, **({"rules": [rule.dump() for rule in self.rules]} if self.rules else {})}


class Config(YamlModel):
    """A whole file. What rules and proxies must not be to one another is for the loader to see."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"not": {"required": ["api"]}},
            "then": {"required": ["proxies"], "properties": {"proxies": {"minProperties": 1}}},
        },
    )

    version: Version = 1
    """The version of this format."""
    seed: Seed | None = None
    """What all draws are made from; without it one is drawn and logged, so that any run can be repeated."""
    log: LogOptions = LogOptions()
    """How the log is written, on standard output."""
    api: Listen | None = None
    """Where the API listens: HOST:PORT or unix:/path; nothing listens without it."""
    drain: Duration = 5.0
    """How long open connections may still take at the end, before they are reset."""
    memory: MemorySize | None = None
    """The most bytes that are held for connections in all; without it, a quarter of what the cgroup allows."""
    proxies: Annotated[
        dict[ProxyName, ProxyConfig],
        Field(examples=[{"redis": {"listen": "127.0.0.1:16379", "upstream": "redis:6379"}}]),
    ] = Field(default_factory=dict)
    """The proxies by their names, which every log line carries; only beside an API there may be none."""

    def dump(self) -> dict[str, Any]:
        """The file as a person would write it: what is left at its default is left out."""
        return {**self.settings(), "proxies": {name: proxy.written() for name, proxy in self.proxies.items()}}

    def settings(self) -> dict[str, Any]:
        """The same without the proxies."""
        return self.model_dump(mode="json", exclude={"proxies"}, exclude_defaults=True)
