"""TCP segments and ICMP errors as bytes: parsed and built by pure functions.

Sources: RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP), RFC 792 and RFC 4443 (ICMP), RFC 1071 (the checksum).
Addresses are packed, as in inet_pton(3). What is no sound SYN parses as None; no packet, however malformed, raises.
"""

import socket
import struct
from typing import Literal, NamedTuple

_IPV4_HEADER, _IPV6_HEADER, _TCP_HEADER = 20, 40, 20
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_DONT_FRAGMENT = 0x4000
_FRAGMENT_BITS = 0x3FFF  # more fragments, and the offset
_TTL = 64
_ICMP_UNREACHABLE = 3
_ICMPV6_UNREACHABLE = 1
_ICMP_CODE = {"net": 0, "host": 1}
_ICMPV6_CODE = {"net": 0, "host": 3}
_MOST_QUOTED_IPV6 = 1280 - _IPV6_HEADER - 8


class Syn(NamedTuple):
    """The first segment of a connection.

    ``header`` is the IP header as it came, IPv4's with its options; ``segment`` the TCP header, its options, and what
    it carries (TCP Fast Open).
    """

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    sequence: int
    header: bytes
    segment: bytes

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return socket.AF_INET if len(self.source) == 4 else socket.AF_INET6


def parse_ipv4(packet: bytes) -> Syn | None:
    """The SYN in an IPv4 packet; None if it holds none that is sound."""
    if len(packet) < _IPV4_HEADER + _TCP_HEADER:
        return None
    version_and_length, _, total, _, fragment, _, protocol = struct.unpack_from("!BBHHHBB", packet)
    start = (version_and_length & 0xF) * 4
    if version_and_length >> 4 != 4 or start < _IPV4_HEADER or protocol != socket.IPPROTO_TCP:
        return None
    if fragment & _FRAGMENT_BITS or not start <= total <= len(packet):
        return None
    return _parse(packet[:start], packet[12:16], packet[16:20], packet[start:total])


def parse_ipv6(segment: bytes, source: bytes, destination: bytes, traffic_class: int = 0) -> Syn | None:
    """The SYN in a TCP segment whose IPv6 header a raw socket does not give; None if it is not a sound one."""
    if len(segment) > 0xFFFF:
        return None
    header = _ipv6_header(source, destination, socket.IPPROTO_TCP, len(segment), traffic_class)
    return _parse(header, source, destination, segment)


def again(syn: Syn) -> bytes:
    """The packet as it came, with the checksums that the kernel may not have finished."""
    return _ip_checksum(syn.header) + _tcp_checksum(syn.segment, syn.source, syn.destination)


def refusal(syn: Syn) -> bytes:
    """What a host sends on whose port nobody listens: RST, acknowledging the SYN (RFC 9293, section 3.10.7.1)."""
    taken = 1 + len(syn.segment) - (syn.segment[12] >> 4) * 4
    acknowledged = (syn.sequence + taken) & 0xFFFFFFFF
    reset = struct.pack(
        "!HHIIBBHHH", syn.destination_port, syn.source_port, 0, acknowledged, 5 << 4, _RST | _ACK, 0, 0, 0
    )
    return _reply(syn, socket.IPPROTO_TCP, _tcp_checksum(reset, syn.destination, syn.source))


def unreachable(syn: Syn, what: Literal["host", "net"]) -> bytes:
    """What a router sends that knows no way to the host, or to its network, quoting the packet (RFC 792, RFC 4443)."""
    if syn.family == socket.AF_INET:
        message = struct.pack("!BBHI", _ICMP_UNREACHABLE, _ICMP_CODE[what], 0, 0) + syn.header + syn.segment[:8]
        return _reply(syn, socket.IPPROTO_ICMP, _with_checksum(message, 2, checksum(message)))
    quoted = (syn.header + syn.segment)[:_MOST_QUOTED_IPV6]
    message = struct.pack("!BBHI", _ICMPV6_UNREACHABLE, _ICMPV6_CODE[what], 0, 0) + quoted
    pseudo = _pseudo_sum(syn.destination, syn.source, socket.IPPROTO_ICMPV6, len(message))
    return _reply(syn, socket.IPPROTO_ICMPV6, _with_checksum(message, 2, checksum(message, pseudo)))


def checksum(data: bytes, start: int = 0) -> int:
    """The Internet checksum (RFC 1071): the complement of the one's complement sum, odd lengths padded with zero."""
    return _fold(start + _words(data)) ^ 0xFFFF


def _parse(header: bytes, source: bytes, destination: bytes, segment: bytes) -> Syn | None:
    if len(segment) < _TCP_HEADER or _is_no_peer(source) or _is_no_peer(destination):
        return None
    source_port, destination_port, sequence, _, offset, flags = struct.unpack_from("!HHIIBB", segment)
    if flags & (_FIN | _SYN | _RST | _ACK) != _SYN or not _TCP_HEADER <= (offset >> 4) * 4 <= len(segment):
        return None
    if not _is_sound(segment, source, destination):
        return None
    return Syn(source, destination, source_port, destination_port, sequence, header, segment)


def _is_sound(segment: bytes, source: bytes, destination: bytes) -> bool:
    """Whether the checksum is right, or left to a device that was never passed, as over loopback and veth."""
    pseudo = _pseudo_sum(source, destination, socket.IPPROTO_TCP, len(segment))
    unfinished = int.from_bytes(segment[16:18])
    return checksum(segment, pseudo) == 0 or unfinished == _fold(pseudo)


def _is_no_peer(address: bytes) -> bool:
    """Whether an address is a group's or nobody's: TCP never answers such (RFC 1122, section 4.2.3.10)."""
    if len(address) == 4:
        return address[0] >= 0xE0 or not any(address)
    return address[0] == 0xFF or not any(address)


def _reply(syn: Syn, protocol: int, message: bytes) -> bytes:
    if syn.family == socket.AF_INET6:
        return _ipv6_header(syn.destination, syn.source, protocol, len(message)) + message
    total = _IPV4_HEADER + len(message)
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, total, 0, _DONT_FRAGMENT, _TTL, protocol, 0, syn.destination, syn.source
    )
    return _ip_checksum(header) + message


def _ipv6_header(source: bytes, destination: bytes, protocol: int, length: int, traffic_class: int = 0) -> bytes:
    first = 6 << 28 | (traffic_class & 0xFF) << 20
    return struct.pack("!IHBB16s16s", first, length, protocol, _TTL, source, destination)


def _ip_checksum(header: bytes) -> bytes:
    if header[0] >> 4 == 6:
        return header
    blank = _with_checksum(header, 10, 0)
    return _with_checksum(blank, 10, checksum(blank))


def _tcp_checksum(segment: bytes, source: bytes, destination: bytes) -> bytes:
    blank = _with_checksum(segment, 16, 0)
    pseudo = _pseudo_sum(source, destination, socket.IPPROTO_TCP, len(segment))
    return _with_checksum(blank, 16, checksum(blank, pseudo))


def _with_checksum(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + value.to_bytes(2) + data[at + 2 :]


def _pseudo_sum(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    return _words(source) + _words(destination) + protocol + length


def _words(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
