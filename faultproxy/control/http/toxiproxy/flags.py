"""The flags of Toxiproxy's server, in the syntax of Go's package flag: ``-x v``, ``-x=v``, ``--x=v``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from faultproxy.addresses import host_port

USAGE = """\
Usage of faultproxy toxiproxy:
  -config string
    \tJSON file with the proxies to create at the start
  -host string
    \thost that the API listens on (default "localhost")
  -port string
    \tport that the API listens on (default "8474")
  -proxy-metrics
    \tadd Toxiproxy's own metrics to GET /metrics
  -runtime-metrics
    \tadd the metrics of this process to GET /metrics
  -seed int
    \tseed of all draws; without it one is drawn, and logged
  -version
    \tprint the version
"""

ALL_ADDRESSES = frozenset({"", "0.0.0.0", "::"})
"""The hosts for each of which Go listens on all addresses, of IPv6 and of IPv4."""

_BOOLEANS = MappingProxyType(
    dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True)
    | dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False)
)
_LEVELS = MappingProxyType(
    dict.fromkeys(("trace", "debug"), "debug")
    | dict.fromkeys(("info", ""), "info")
    | dict.fromkeys(("warn", "warning"), "warning")
    | dict.fromkeys(("error", "fatal", "panic", "disabled"), "error")
)


@dataclass(frozen=True, slots=True)
class Flags:
    """What the flags say. ``seed`` is what draws are made from, None for one that is drawn."""

    host: str = "localhost"
    port: str = "8474"
    config: str = ""
    seed: int | None = None
    proxy_metrics: bool = False
    runtime_metrics: bool = False
    version: bool = False

    @property
    def listen(self) -> str:
        """Where the API listens, as it stands in a configuration."""
        return f"{host_port('' if self.host in ALL_ADDRESSES else self.host, 0)[:-1]}{self.port}"


class BadFlag(Exception):
    """A flag that there is not, or a value that it does not take; the text says which."""


class HelpAsked(Exception):
    """-h or -help."""


def parse(arguments: Sequence[str]) -> Flags:
    """The flags up to ``--`` or the first argument that is none; what follows is ignored, as Toxiproxy does.

    Raises BadFlag and HelpAsked.
    """
    known = {field.name.replace("_", "-"): field for field in fields(Flags)}
    said: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument in ("-", "--") or not argument.startswith("-"):
            break
        name, has_value, value = argument.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise BadFlag(f"bad flag syntax: {argument}")
        if name not in known:
            raise HelpAsked if name in ("h", "help") else BadFlag(f"flag provided but not defined: -{name}")
        field = known[name]
        if isinstance(field.default, bool):
            said[field.name] = _boolean(name, value if has_value else "true")
            continue
        if not has_value:
            try:
                value = next(rest)
            except StopIteration:
                raise BadFlag(f"flag needs an argument: -{name}") from None
        said[field.name] = _seed(value) if name == "seed" else value
    return Flags(**said)


def log_level(environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The level that LOG_LEVEL asks for, None if it is not set; and what is wrong with its value, if anything is."""
    value = environment.get("LOG_LEVEL")
    if value is None:
        return None, None
    level = _LEVELS.get(value.lower())
    return level, None if level else f'LOG_LEVEL is "{value}"; write one of {", ".join(filter(None, _LEVELS))}'


def _boolean(name: str, value: str) -> bool:
    if value not in _BOOLEANS:
        raise BadFlag(f'invalid boolean value "{value}" for -{name}: write true or false')
    return _BOOLEANS[value]


def _seed(value: str) -> int:
    """Any 64 bits, in Go's notations; ours are 63, so a sign is dropped."""
    try:
        seed = int(value, 0)
    except ValueError:
        seed = 2**64
    if not -(2**63) <= seed < 2**63:
        raise BadFlag(f'invalid value "{value}" for flag -seed: write a whole number of at most 64 bits')
    return seed & 2**63 - 1
