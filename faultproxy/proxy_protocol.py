"""The PROXY protocol, versions 1 and 2: a header before the client's first byte says who the client is. Pure.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, sections 2.1 and 2.2. Version 2 extensions (TLVs)
are skipped; what comes without addresses (UNKNOWN, LOCAL, AF_UNSPEC) stands for the connection as it is.
"""

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

HeaderVersion = Literal["v1", "v2"]

MOST = 4096
"""How many bytes of a header are read at most, extensions included."""

_V1_PREFIX = b"PROXY "
_V1_MOST = 107
_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD = 16
_V2_VERSION = 0x20
_LOCAL, _PROXY = 0, 1
_UNSPEC, _INET, _INET6, _UNIX = 0, 1, 2, 3
_STREAM, _DATAGRAM = 1, 2
_SIZES = {_UNSPEC: 0, _INET: 12, _INET6: 36, _UNIX: 216}
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")


class Malformed(Exception):
    """What came is no header; the text says why."""


@dataclass(frozen=True, slots=True)
class ConnectionEnds:
    """Who connects, and to where: addresses without zone, and ports. ``client`` is ``unix`` for a Unix socket's."""

    client: str
    client_port: int
    destination: str
    destination_port: int


@dataclass(frozen=True, slots=True)
class Header:
    """A whole header of so many bytes; ``ends`` is None if it names none, as with a health check."""

    size: int
    ends: ConnectionEnds | None


def header(version: HeaderVersion, ends: ConnectionEnds) -> bytes:
    """The header that tells a server of these ends; of what are no IP addresses, that they are unknown."""
    try:
        client, destination = _alike(ends.client, ends.destination)
    except ValueError:
        return b"PROXY UNKNOWN\r\n" if version == "v1" else _V2_SIGNATURE + bytes((_V2_VERSION | _LOCAL, 0, 0, 0))
    if version == "v1":
        return (
            f"PROXY TCP{client.version} {client} {destination} {ends.client_port} {ends.destination_port}\r\n".encode()
        )
    family = _INET if client.version == 4 else _INET6
    addresses = client.packed + destination.packed + struct.pack("!HH", ends.client_port, ends.destination_port)
    head = struct.pack("!BBH", _V2_VERSION | _PROXY, family << 4 | _STREAM, len(addresses))
    return _V2_SIGNATURE + head + addresses


def parse(data: bytes) -> Header | None:
    """The header that these bytes begin with; None while more of them are needed. Raises Malformed."""
    if data.startswith(_V2_SIGNATURE):
        return _parse_v2(data)
    if data.startswith(_V1_PREFIX):
        return _parse_v1(data)
    if _V2_SIGNATURE.startswith(data) or _V1_PREFIX.startswith(data):
        return None
    raise Malformed("it begins with neither version's signature")


def _parse_v1(data: bytes) -> Header | None:
    line, end, _ = data[:_V1_MOST].partition(b"\r\n")
    if not end:
        if len(data) >= _V1_MOST:
            raise Malformed(f"its line is longer than {_V1_MOST} bytes")
        return None
    size = len(line) + 2
    words = line.decode("ascii", "replace").split(" ")[1:]
    if words[0] == "UNKNOWN":
        return Header(size, None)
    if len(words) != 5 or words[0] not in {"TCP4", "TCP6"}:
        raise Malformed("its line is not PROXY, TCP4, TCP6 or UNKNOWN, two addresses and two ports")
    kind, client, destination, *ports = words
    try:
        pair = ip_address(client), ip_address(destination)
    except ValueError:
        raise Malformed("its addresses are none") from None
    if any(address.version != int(kind[-1]) for address in pair) or "%" in client + destination:
        raise Malformed(f"its addresses are not of {kind}")
    if any(not _PORT.fullmatch(port) or int(port) > 65535 for port in ports):
        raise Malformed("its ports are none")
    return Header(size, ConnectionEnds(_plain(pair[0]), int(ports[0]), _plain(pair[1]), int(ports[1])))


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < _V2_HEAD:
        return None
    version_and_command, protocol, length = struct.unpack_from("!BBH", data, len(_V2_SIGNATURE))
    command, family, transport = version_and_command & 0xF, protocol >> 4, protocol & 0xF
    if version_and_command & 0xF0 != _V2_VERSION or command not in {_LOCAL, _PROXY}:
        raise Malformed(f"0x{version_and_command:02x} is no version and command")
    if family not in _SIZES or transport not in {_UNSPEC, _STREAM, _DATAGRAM}:
        raise Malformed(f"0x{protocol:02x} is no family and transport")
    if _V2_HEAD + length > MOST:
        raise Malformed(f"it is {_V2_HEAD + length} bytes long; {MOST} are read at most")
    has_addresses = command == _PROXY and _UNSPEC not in {family, transport}
    if has_addresses and length < _SIZES[family]:
        raise Malformed(f"{length} bytes are too few for its addresses")
    if len(data) < _V2_HEAD + length:
        return None
    return Header(_V2_HEAD + length, _ends(family, data[_V2_HEAD:]) if has_addresses else None)


def _ends(family: int, data: bytes) -> ConnectionEnds:
    if family == _UNIX:
        return ConnectionEnds("unix", 0, "unix", 0)
    make, size = (IPv4Address, 4) if family == _INET else (IPv6Address, 16)
    client_port, destination_port = struct.unpack_from("!HH", data, 2 * size)
    client, destination = _plain(make(data[:size])), _plain(make(data[size : 2 * size]))
    return ConnectionEnds(client, client_port, destination, destination_port)


def _plain(address: IPv4Address | IPv6Address) -> str:
    """As text; an IPv4-mapped address is IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _alike(client: str, destination: str) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """Both addresses, of one family. Raises ValueError."""
    one, other = (ip_address(text.partition("%")[0]) for text in (client, destination))
    if one.version == other.version:
        return one, other
    return _mapped(one), _mapped(other)


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")
