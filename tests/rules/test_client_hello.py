"""The server name is read from what real TLS clients send, in whatever pieces it comes."""

import ssl
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faultproxy.rules.client_hello import NotYet, server_name

PROPERTY = settings(derandomize=True, deadline=None, max_examples=300)
NOTHING_YET = object()


def client_hello(name: str | None, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def in_records(data: bytes, size: int) -> bytes:
    """A record's payload, dealt out to records of at most ``size`` bytes of payload each."""
    payload = data[5:]
    pieces = (payload[at : at + size] for at in range(0, len(payload), size))
    return b"".join(data[:3] + len(piece).to_bytes(2) + piece for piece in pieces)


def reported(data: bytes) -> object:
    """The server name, or NOTHING_YET."""
    try:
        return server_name(data)
    except NotYet:
        return NOTHING_YET


HELLO = client_hello("db.example.com")
SPLIT = in_records(HELLO, 7)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_name(version: ssl.TLSVersion) -> None:
    """The name that the client asks for, in lower case."""
    assert server_name(client_hello("DB.Example.com", version=version)) == "db.example.com"


def test_no_name() -> None:
    """A client that asks for no name has none; to an address OpenSSL sends none either."""
    assert server_name(client_hello(None)) is None
    assert server_name(client_hello("127.0.0.1")) is None


@pytest.mark.parametrize("name", ["db.example.com", None])
@pytest.mark.parametrize("record_size", [1, 7, 100, 16384])
def test_cut_anywhere(name: str | None, record_size: int) -> None:
    """However little has come, and however it is split over records: nothing is answered until it is known, then always it."""
    hello = in_records(client_hello(name), record_size)
    answers = [reported(hello[:end]) for end in range(len(hello) + 1)]
    first = next(end for end, answer in enumerate(answers) if answer is not NOTHING_YET)
    assert answers[first:] == [name] * (len(answers) - first)


def test_what_follows_does_not_matter() -> None:
    """Early data behind the ClientHello changes nothing."""
    assert server_name(HELLO + b"\x17\x03\x03\x00\x04data") == "db.example.com"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # PostgreSQL asks whether TLS is spoken
        b"\x15\x03\x01\x00\x02\x01\x00",  # an alert
        b"\x16\x04",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # a ServerHello
        b"S",
    ],
)
def test_no_tls(data: bytes) -> None:
    """What is no ClientHello has no name, and the first byte that shows it suffices."""
    assert server_name(data) is None


def test_old_hello() -> None:
    """A ClientHello without extensions, as before RFC 3546, has no name."""
    body = b"\x03\x01" + bytes(32) + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3) + body
    assert server_name(b"\x16\x03\x01" + len(message).to_bytes(2) + message) is None


@PROPERTY
@given(st.binary(max_size=600))
@example(b"")
@example(b"\x16\x03\x01\x00\x00" * 800)
def test_any_bytes(data: bytes) -> None:
    """No bytes make it fail, but for saying that more must come."""
    reported(data)


@PROPERTY
@given(st.sampled_from([HELLO, SPLIT]), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4))
def test_spoilt(hello: bytes, changes: list[tuple[int, int]]) -> None:
    """Nor does a ClientHello in which a few bytes are wrong, however long it says its parts are."""
    data = bytearray(hello)
    for at, value in changes:
        data[at % len(data)] = value
    name = reported(bytes(data))
    assert name is None or name is NOTHING_YET or isinstance(name, str)
