"""Addresses as users write them: where a proxy listens, and what it dials."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from faultproxy.units import quote

# A host of digits and dots only is an IPv4 address or a mistake: `5432:54`, `10.0.1:80`. Labels are as DNS has them.
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST = rf"(?:{_IPV4}|(?![0-9.]+:)(?![^:]{{254}}){_LABEL}(?:\.{_LABEL})*\.?)"
_IPV6 = r"\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]"
_PORT = r"[1-9][0-9]{0,4}"
LISTEN_PATTERN = rf"^(?:{_HOST}|{_IPV6}|):(?:0|{_PORT})$"
_TCP_UPSTREAM_PATTERN = rf"^(?:{_HOST}|{_IPV6}):{_PORT}$"
_UNIX_PATTERN = r"^unix:/[^\u0000]{1,106}$"
_ORIGINAL_PATTERN = "^original$"
_UNIX_PATH_BYTES = 107  # sun_path of unix(7), less its closing NUL


def host_port(host: str, port: int) -> str:
    """Host and port as they are written: ``127.0.0.1:80``, ``[::1]:80``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host name or address, and a port. As a place to listen, an empty host means all addresses."""

    host: str
    port: int

    def __str__(self) -> str:
        return host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix stream socket (unix(7))."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class OriginalDestination:
    """As an upstream: where each client wanted to go, before it was led to the proxy."""

    def __str__(self) -> str:
        return "original"


Address = TcpAddress | UnixAddress


def _parse_tcp(value: object, pattern: str, forms: str) -> TcpAddress:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise PydanticCustomError("address", f"{quote(value)} is not an address; write {forms}")
    host, _, port = value.rpartition(":")
    if int(port) > 65535:
        raise PydanticCustomError("port", f"port {port} is too large; write one up to 65535")
    return TcpAddress(_parse_ipv6(host) if host.startswith("[") else host, int(port))


def _parse_ipv6(host: str) -> str:
    try:
        return str(IPv6Address(host[1:-1]))
    except ValueError:
        raise PydanticCustomError(
            "address", f'{quote(host)} is not an IPv6 address; write one such as "[::1]:80"'
        ) from None


def parse_listen(value: object) -> Address:
    """A place to listen, from ``HOST:PORT``, ``[IPV6]:PORT``, ``:PORT`` or ``unix:/path``."""
    if isinstance(value, str) and value.startswith("unix:/"):
        return _parse_unix(value)
    return _parse_tcp(value, LISTEN_PATTERN, 'HOST:PORT, "[IPV6]:PORT", :PORT or unix:/path')


def parse_upstream(value: object) -> Address | OriginalDestination:
    """A server, from ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:/path``; or ``original``."""
    if value == "original":
        return OriginalDestination()
    if isinstance(value, str) and value.startswith("unix:/"):
        return _parse_unix(value)
    if isinstance(value, str) and re.fullmatch(LISTEN_PATTERN, value) and value.endswith(":0"):
        raise PydanticCustomError("port", "port 0 cannot be dialled; write the port that the server listens on")
    return _parse_tcp(value, _TCP_UPSTREAM_PATTERN, 'HOST:PORT, "[IPV6]:PORT" or unix:/path')


def _parse_unix(value: str) -> UnixAddress:
    path = value.removeprefix("unix:")
    size = len(path.encode())
    if size > _UNIX_PATH_BYTES:
        right = f"write one of at most {_UNIX_PATH_BYTES} bytes"
        raise PydanticCustomError("address", f"the path of a Unix socket cannot be {size} bytes long; {right}")
    if path == "/" or "\0" in path:
        raise PydanticCustomError(
            "address", f"{quote(value)} is no path of a socket; write one such as unix:/run/redis.sock"
        )
    return UnixAddress(path)


def _json_schema(example: str, *patterns: str) -> WithJsonSchema:
    ways = [{"type": "string", "pattern": pattern} for pattern in (*patterns, _UNIX_PATTERN)]
    return WithJsonSchema({"anyOf": ways, "examples": [example]})


Listen = Annotated[
    Address, BeforeValidator(parse_listen), PlainSerializer(str), _json_schema("127.0.0.1:16379", LISTEN_PATTERN)
]
Upstream = Annotated[
    Address | OriginalDestination,
    BeforeValidator(parse_upstream),
    PlainSerializer(str),
    _json_schema("redis:6379", _TCP_UPSTREAM_PATTERN, _ORIGINAL_PATTERN),
]
