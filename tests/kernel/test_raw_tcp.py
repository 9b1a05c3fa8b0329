"""Packets as bytes: against known ones, with odd lengths and options, and whatever hypothesis thinks of."""

import socket
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultproxy.kernel import raw_tcp
from faultproxy.kernel.raw_tcp import Syn

# A SYN of a Linux client over Ethernet, ports 36082 to 6379, with MSS, SACK, timestamps and window scale.
OPTIONS = bytes.fromhex("020405b4 0402080a 8e9b2c5e 00000000 01030307")
CLIENT4, SERVER4 = ip_address("10.9.0.1").packed, ip_address("10.9.0.2").packed
CLIENT6, SERVER6 = ip_address("fd09::1").packed, ip_address("fd09::2").packed
SEQUENCE = 0xFFFFFFFF


def internet_checksum(data: bytes) -> int:
    """RFC 1071 word by word, as its section 4.1 has it in C."""
    total = 0
    for at in range(0, len(data) - 1, 2):
        total += data[at] << 8 | data[at + 1]
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """What a transport checksum covers of the IP header (RFC 9293, section 3.1; RFC 8200, section 8.1)."""
    if len(source) == 4:
        return source + destination + struct.pack("!BBH", 0, protocol, length)
    return source + destination + struct.pack("!IBBBB", length, 0, 0, 0, protocol)


def syn_segment(
    source: bytes, destination: bytes, *, payload: bytes = b"", flags: int = 0x02, unfinished: bool = False
) -> bytes:
    """A TCP segment with options; its checksum left as the kernel leaves it for a device, if asked."""
    head = struct.pack("!HHIIBBHHH", 36082, 6379, SEQUENCE, 0, 10 << 4, flags, 64240, 0, 0)
    segment = head + OPTIONS + payload
    covered = pseudo(source, destination, 6, len(segment))
    check = internet_checksum(covered) ^ 0xFFFF if unfinished else internet_checksum(covered + segment)
    return segment[:16] + check.to_bytes(2) + segment[18:]


def ipv4(segment: bytes, *, options: bytes = b"", fragment: int = 0x4000, protocol: int = 6) -> bytes:
    """An IPv4 packet from the client to the server."""
    length = 20 + len(options)
    head = struct.pack("!BBHHHBBH", 0x40 | length // 4, 0x10, length + len(segment), 0x1C46, fragment, 64, protocol, 0)
    head += CLIENT4 + SERVER4 + options
    return head[:10] + internet_checksum(head).to_bytes(2) + head[12:] + segment


def syn4(**kwargs: bytes) -> Syn:
    syn = raw_tcp.parse_ipv4(ipv4(syn_segment(CLIENT4, SERVER4, **kwargs)))  # type: ignore[arg-type]
    assert syn is not None
    return syn


def syn6(**kwargs: bytes) -> Syn:
    syn = raw_tcp.parse_ipv6(syn_segment(CLIENT6, SERVER6, **kwargs), CLIENT6, SERVER6)  # type: ignore[arg-type]
    assert syn is not None
    return syn


def assert_is_sound(packet: bytes) -> None:
    """Every checksum of a packet is right."""
    if packet[0] >> 4 == 4:
        start = (packet[0] & 0xF) * 4
        assert internet_checksum(packet[:start]) == 0
        protocol, source, destination = packet[9], packet[12:16], packet[16:20]
        assert int.from_bytes(packet[2:4]) == len(packet)
    else:
        start, protocol, source, destination = 40, packet[6], packet[8:24], packet[24:40]
        assert int.from_bytes(packet[4:6]) == len(packet) - 40
    message = packet[start:]
    covered = b"" if protocol == socket.IPPROTO_ICMP else pseudo(source, destination, protocol, len(message))
    assert internet_checksum(covered + message) == 0


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("0001 f203 f4f5 f6f7", 0xDDF2 ^ 0xFFFF),  # RFC 1071, section 3
        ("4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", 0xB861),  # the header known from textbooks
        ("", 0xFFFF),
        ("01", 0xFEFF),
        ("0001f2", 0x0DFE),
        ("ffff", 0),
    ],
)
def test_known_checksums(data: str, expected: int) -> None:
    """Even and odd lengths; the last byte of an odd one is the high half of a word."""
    assert raw_tcp.checksum(bytes.fromhex(data)) == expected


@given(st.binary(max_size=300))
def test_checksums_agree_with_the_rfcs_own_code(data: bytes) -> None:
    """Whatever the bytes."""
    assert raw_tcp.checksum(data) == internet_checksum(data)


def test_a_syn_is_read() -> None:
    """Addresses, ports, sequence number; the header and the options are kept."""
    packet = ipv4(syn_segment(CLIENT4, SERVER4))
    syn = raw_tcp.parse_ipv4(packet)
    assert syn is not None
    assert (syn.source, syn.destination, syn.source_port, syn.destination_port) == (CLIENT4, SERVER4, 36082, 6379)
    assert (syn.sequence, syn.header, syn.family) == (SEQUENCE, packet[:20], socket.AF_INET)
    assert syn.segment[20:40] == OPTIONS
    assert syn6().family == socket.AF_INET6


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize("payload", [b"", b"x", b"GET / HTTP/1.0\r\n\r\n!"])
@pytest.mark.parametrize("ip_options", [b"", bytes([1] * 8)])
def test_a_syn_passes_again_as_it_came(unfinished: bool, payload: bytes, ip_options: bytes) -> None:
    """Byte for byte, options and data included, and with the checksum that loopback leaves unfinished."""
    segment = syn_segment(CLIENT4, SERVER4, payload=payload)
    whole = ipv4(segment, options=ip_options)
    came = ipv4(syn_segment(CLIENT4, SERVER4, payload=payload, unfinished=unfinished), options=ip_options)
    syn = raw_tcp.parse_ipv4(came + b"\0\0padding")
    assert syn is not None
    assert raw_tcp.again(syn) == whole
    came6 = syn_segment(CLIENT6, SERVER6, payload=payload, unfinished=unfinished)
    syn = raw_tcp.parse_ipv6(came6, CLIENT6, SERVER6, traffic_class=0x12)
    assert syn is not None
    packet = raw_tcp.again(syn)
    assert packet[:40] == bytes.fromhex("61200000") + len(came6).to_bytes(2) + bytes([6, 64]) + CLIENT6 + SERVER6
    assert packet[40:] == syn_segment(CLIENT6, SERVER6, payload=payload)


@pytest.mark.parametrize("payload", [b"", b"odd"])
@pytest.mark.parametrize("make", [syn4, syn6])
def test_a_refusal_acknowledges_the_syn_and_its_data(make: type[Syn], payload: bytes) -> None:
    """RST and ACK from the server's port to the client's, the sequence number wrapping round."""
    packet = raw_tcp.refusal(make(payload=payload))  # type: ignore[call-arg]
    assert_is_sound(packet)
    reset = packet[-20:]
    assert struct.unpack("!HHIIBB", reset[:14]) == (6379, 36082, 0, len(payload), 0x50, 0x14)


@pytest.mark.parametrize(("what", "code", "code6"), [("net", 0, 0), ("host", 1, 3)])
def test_an_unreachable_quotes_the_packet(what: str, code: int, code6: int) -> None:
    """ICMP type 3 with the IP header and 8 bytes; ICMPv6 type 1 with all of it."""
    syn = syn4()
    packet = raw_tcp.unreachable(syn, what)  # type: ignore[arg-type]
    assert_is_sound(packet)
    assert packet[9] == socket.IPPROTO_ICMP
    assert packet[12:20] == SERVER4 + CLIENT4
    assert packet[20:22] == bytes([3, code])
    assert packet[28:] == syn.header + syn.segment[:8]
    syn = syn6(payload=b"x" * 2000)
    packet = raw_tcp.unreachable(syn, what)  # type: ignore[arg-type]
    assert_is_sound(packet)
    assert packet[6] == socket.IPPROTO_ICMPV6
    assert packet[40:42] == bytes([1, code6])
    assert len(packet) == 1280
    assert packet[48:] == (syn.header + syn.segment)[: 1280 - 48]


GOOD = ipv4(syn_segment(CLIENT4, SERVER4))


def refit(packet: bytes) -> bytes:
    """The packet with a right TCP checksum again."""
    segment = packet[20:36] + b"\0\0" + packet[38:]
    check = internet_checksum(pseudo(packet[12:16], packet[16:20], 6, len(segment)) + segment)
    return packet[:36] + check.to_bytes(2) + packet[38:]


@pytest.mark.parametrize(
    ("what", "packet"),
    [
        ("empty", b""),
        ("cut in the IP header", GOOD[:19]),
        ("cut in the TCP header", GOOD[:39]),
        ("cut in the options", GOOD[:59]),
        ("IPv6", b"\x65" + GOOD[1:]),
        ("IP header too short", b"\x44" + GOOD[1:]),
        ("IP header longer than the packet", b"\x4f" + GOOD[1:60]),
        ("UDP", ipv4(syn_segment(CLIENT4, SERVER4), protocol=17)),
        ("a first fragment", ipv4(syn_segment(CLIENT4, SERVER4), fragment=0x2000)),
        ("a later fragment", ipv4(syn_segment(CLIENT4, SERVER4), fragment=0x0001)),
        ("total length too small", GOOD[:2] + b"\0\x13" + GOOD[4:]),
        ("SYN and ACK", ipv4(syn_segment(CLIENT4, SERVER4, flags=0x12))),
        ("SYN and FIN", ipv4(syn_segment(CLIENT4, SERVER4, flags=0x03))),
        ("TCP header too short", refit(GOOD[:32] + b"\x40" + GOOD[33:])),
        ("TCP header longer than the packet", refit(GOOD[:32] + b"\xf0" + GOOD[33:])),
        ("a wrong checksum", GOOD[:36] + bytes([GOOD[36] ^ 1]) + GOOD[37:]),
        ("from a group", refit(GOOD[:12] + b"\xe0" + GOOD[13:])),
        ("from nobody", refit(GOOD[:12] + bytes(4) + GOOD[16:])),
        ("to everybody", refit(GOOD[:16] + b"\xff\xff\xff\xff" + GOOD[20:])),
    ],
)
def test_what_is_no_sound_syn_is_none(what: str, packet: bytes) -> None:
    """As TCP itself would ignore it."""
    assert raw_tcp.parse_ipv4(packet) is None, what


def answer(syn: Syn | None) -> None:
    """Build all there is to build."""
    if syn is not None:
        for packet in (raw_tcp.refusal(syn), raw_tcp.unreachable(syn, "host"), raw_tcp.unreachable(syn, "net")):
            assert_is_sound(packet)
        assert len(raw_tcp.again(syn)) == len(syn.header + syn.segment)


@given(st.binary(max_size=200), st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_no_bytes_raise(data: bytes, source: bytes, destination: bytes) -> None:
    """Anything at all parses, mostly as None."""
    answer(raw_tcp.parse_ipv4(data))
    answer(raw_tcp.parse_ipv6(data, source, destination))


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4),
    st.integers(0, len(GOOD)),
    st.binary(max_size=70000),
    st.booleans(),
)
def test_no_mutation_of_a_syn_raises(changes: list[tuple[int, int]], cut: int, more: bytes, is_refitted: bool) -> None:
    """A good SYN with bytes changed, cut short, made longer, its checksum right again or not."""
    mutant = bytearray(GOOD)
    for at, value in changes:
        mutant[at] = value
    packet = bytes(mutant[:cut] + more)
    if is_refitted and len(packet) >= 40:
        packet = refit(packet[:65535])
    answer(raw_tcp.parse_ipv4(packet))
    answer(raw_tcp.parse_ipv6(packet[20:], CLIENT6, SERVER6, 255))
