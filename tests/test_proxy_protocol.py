"""Headers of the PROXY protocol are written as the specification has them, and read whatever comes."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultproxy.proxy_protocol import MOST, ConnectionEnds, Header, HeaderVersion, Malformed, header, parse

V2 = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = ConnectionEnds("192.0.2.1", 56324, "198.51.100.2", 443)
SIX = ConnectionEnds("2001:db8::1", 1, "2001:db8::2", 65535)

PORTS = st.integers(0, 65535)
VERSIONS = st.sampled_from(["v1", "v2"])


def _is_not_mapped(address: object) -> bool:
    return getattr(address, "ipv4_mapped", None) is None


def _ends(version: int) -> st.SearchStrategy[ConnectionEnds]:
    address = st.ip_addresses(v=4 if version == 4 else 6).filter(_is_not_mapped).map(str)
    return st.builds(ConnectionEnds, address, PORTS, address, PORTS)


@pytest.mark.parametrize(
    ("version", "ends", "written"),
    [
        ("v1", FOUR, b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"),
        ("v1", SIX, b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"),
        ("v1", ConnectionEnds("unix", 7, "", 0), b"PROXY UNKNOWN\r\n"),
        ("v2", FOUR, V2 + bytes.fromhex("2111000c c0000201 c6336402 dc04 01bb")),
        ("v2", SIX, V2 + bytes.fromhex("21210024") + ip_address(SIX.client).packed + ip_address(SIX.destination).packed + bytes.fromhex("0001 ffff")),
        ("v2", ConnectionEnds("unix", 7, "", 0), V2 + bytes.fromhex("20000000")),
        ("v1", ConnectionEnds("fe80::1%eth0", 1, "fe80::2%eth0", 2), b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"),
        ("v2", ConnectionEnds("10.0.0.1", 1, "::2", 2), V2 + bytes.fromhex("21210024" + 20 * "0" + "ffff0a000001" + 31 * "0" + "2 0001 0002")),
    ],
)  # fmt: skip
def test_a_header_as_it_stands_in_the_specification(
    version: HeaderVersion, ends: ConnectionEnds, written: bytes
) -> None:
    """Both versions, both families; a client without an IP address is unknown, a zone goes, mixed families are mapped."""
    assert header(version, ends) == written


@given(VERSIONS, _ends(4) | _ends(6), st.binary(max_size=50))
def test_what_is_written_is_read(version: HeaderVersion, ends: ConnectionEnds, more: bytes) -> None:
    """The ends come back, and the size leaves the client's bytes alone."""
    written = header(version, ends)
    assert parse(written + more) == Header(len(written), ends)


@given(VERSIONS, _ends(4) | _ends(6), st.data())
def test_a_part_of_a_header_asks_for_more(version: HeaderVersion, ends: ConnectionEnds, data: st.DataObject) -> None:
    """However it is cut, no part is called malformed."""
    written = header(version, ends)
    assert parse(written[: data.draw(st.integers(0, len(written) - 1))]) is None


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: V2 + rest) | st.binary(max_size=200).map(lambda rest: b"PROXY " + rest))  # fmt: skip
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """A header that fits into the bytes, a request for more, or Malformed."""
    try:
        found = parse(data)
    except Malformed:
        return
    assert found is None or 0 < found.size <= len(data)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"PROXY UNKNOWN\r\nGET", 15),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nGET", 35),
        (V2 + bytes.fromhex("20000000"), 16),
        (V2 + bytes.fromhex("2011000c") + bytes(12), 28),
        (V2 + bytes.fromhex("21000004") + bytes(4) + b"x", 20),
        (V2 + bytes.fromhex("21100000"), 16),
    ],
)
def test_a_header_without_ends(data: bytes, size: int) -> None:
    """UNKNOWN, LOCAL (a health check) and AF_UNSPEC: the connection as it is; what they carry all the same is skipped."""
    assert parse(data) == Header(size, None)


def test_extensions_are_skipped() -> None:
    """What follows the addresses, such as the name in a TLS handshake, belongs to the header."""
    data = V2 + bytes.fromhex("21110011 c0000201 c6336402 dc04 01bb") + b"\x02\x00\x02ab"
    assert parse(data + b"GET") == Header(len(data), FOUR)
    assert parse(data[:-1]) is None


def test_a_unix_socket_has_no_address() -> None:
    """AF_UNIX names paths, which stand for no IP address."""
    found = parse(V2 + bytes.fromhex("213100d8") + bytes(216))
    assert found == Header(232, ConnectionEnds("unix", 0, "unix", 0))


def test_a_mapped_address_is_ipv4() -> None:
    """As everywhere else in the program."""
    found = parse(b"PROXY TCP6 ::ffff:10.0.0.1 ::ffff:10.0.0.2 1 2\r\n")
    assert found is not None
    assert found.ends == ConnectionEnds("10.0.0.1", 1, "10.0.0.2", 2)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "neither version's signature"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "two addresses and two ports"),
        (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", "TCP4, TCP6 or UNKNOWN"),
        (b"PROXY TCP4 1.2.3.4 1.2.3 1 2\r\n", "its addresses are none"),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", "not of TCP4"),
        (b"PROXY TCP6 fe80::1%lo fe80::1 1 2\r\n", "not of TCP6"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "its ports are none"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "its ports are none"),
        (b"PROXY " + b"x" * 101, "longer than 107 bytes"),
        (V2 + bytes.fromhex("1111000c"), "0x11 is no version"),
        (V2 + bytes.fromhex("2211000c"), "0x22 is no version"),
        (V2 + bytes.fromhex("2141000c"), "0x41 is no family"),
        (V2 + bytes.fromhex("2113000c"), "0x13 is no family"),
        (V2 + bytes.fromhex("2111000b"), "11 bytes are too few"),
        (V2 + bytes.fromhex("2111ffff"), f"{MOST} are read at most"),
    ],
)  # fmt: skip
def test_what_is_malformed(data: bytes, why: str) -> None:
    """It is said as soon as it can be seen, and why."""
    with pytest.raises(Malformed, match=why):
        parse(data)
