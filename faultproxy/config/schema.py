"""What a configuration file holds, as frozen data. The loader makes these; nothing else does."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, StrictBool, StrictInt, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from faultproxy.faults.base import MODEL
from faultproxy.rules.rule import BaseRule, Rule
from faultproxy.units import Duration, quote

_HOST = r"(?![0-9]+:)[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})"
_IPV6 = r"\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]"
_PORT = r"(?:0|[1-9][0-9]{0,4})"
LISTEN_PATTERN = rf"^(?:{_HOST}|{_IPV6}|):{_PORT}$"
UPSTREAM_PATTERN = rf"^(?:(?:{_HOST}|{_IPV6}):{_PORT}|unix:/[^\x00]{{1,106}})$"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host name or address, and a port. As a place to listen, an empty host means all addresses."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix stream socket (unix(7))."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


UpstreamAddress = TcpAddress | UnixAddress


def _parse_tcp(value: object, pattern: str, forms: str) -> TcpAddress:
    match = re.match(pattern, value) if isinstance(value, str) else None
    if match is None or not isinstance(value, str):
        raise PydanticCustomError("address", "{value} is not an address; write {forms}", {"value": quote(value), "forms": forms})
    host, _, port = value.rpartition(":")
    if int(port) > 65535:
        raise PydanticCustomError("port", "port {port} is too large; write one up to 65535", {"port": port})
    bare = host.removeprefix("[").removesuffix("]")
    if host.startswith("["):
        try:
            IPv6Address(bare)
        except ValueError as error:
            raise PydanticCustomError("address", "{value} is not an IPv6 address: {why}", {"value": quote(host), "why": str(error)}) from None
    return TcpAddress(bare, int(port))


def parse_listen(value: object) -> TcpAddress:
    """A place to listen, from ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``."""
    return _parse_tcp(value, LISTEN_PATTERN, "HOST:PORT, [IPV6]:PORT or :PORT")


def parse_upstream(value: object) -> UpstreamAddress:
    """A server, from ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:/path``."""
    if isinstance(value, str) and value.startswith("unix:") and re.match(UPSTREAM_PATTERN, value):
        return UnixAddress(value.removeprefix("unix:"))
    address = _parse_tcp(value, UPSTREAM_PATTERN, "HOST:PORT, [IPV6]:PORT or unix:/path")
    if address.port == 0:
        raise PydanticCustomError("port", "port 0 cannot be dialled; write the port that the server listens on")
    return address


Listen = Annotated[
    TcpAddress,
    BeforeValidator(parse_listen),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": LISTEN_PATTERN}),
]
Upstream = Annotated[
    UpstreamAddress,
    BeforeValidator(parse_upstream),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": UPSTREAM_PATTERN}),
]
ProxyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]


class LogOptions(BaseModel):
    """How the log is written."""

    model_config = MODEL

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class ProxyConfig(BaseModel):
    """One proxy: where it listens, what it dials, and its rules. Times are in seconds."""

    model_config = MODEL

    listen: Listen
    upstream: Upstream
    dial_timeout: Duration = 5.0
    enabled: StrictBool = True
    rules: Annotated[tuple[Rule, ...], BeforeValidator(lambda value: [] if value is None else value)] = ()

    def dump(self) -> dict[str, Any]:
        """The proxy as it would stand in YAML, defaults of its own included."""
        rules: tuple[BaseRule, ...] = self.rules
        return {**self.model_dump(mode="json", exclude={"rules"}), "rules": [rule.dump() for rule in rules]}


class Config(BaseModel):
    """A whole file."""

    model_config = MODEL

    version: Literal[1] = 1
    seed: Seed | None = None
    log: LogOptions = LogOptions()
    drain: Duration = 5.0
    proxies: Annotated[dict[ProxyName, ProxyConfig], Field(min_length=1)]

    @model_validator(mode="after")
    def _listens_apart(self) -> "Config":
        seen: dict[TcpAddress, str] = {}
        for name, proxy in self.proxies.items():
            if proxy.listen.port and proxy.listen in seen:
                raise PydanticCustomError(
                    "listen_twice",
                    "proxies {one} and {other} both listen on {listen}; give each a port of its own",
                    {"one": seen[proxy.listen], "other": name, "listen": str(proxy.listen)},
                )
            seen[proxy.listen] = name
        return self
