"""Addresses are read as users write them, and written as they are read."""

import pytest
from pydantic_core import PydanticCustomError

from faultproxy.addresses import OriginalDestination, TcpAddress, UnixAddress, host_port, parse_listen, parse_upstream


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("redis:6379", TcpAddress("redis", 6379)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("[0:0::1]:80", TcpAddress("::1", 80)),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
        ("unix:/run/redis.sock", UnixAddress("/run/redis.sock")),
        ("original", OriginalDestination()),
    ],
)
def test_upstream(text: str, address: TcpAddress | UnixAddress | OriginalDestination) -> None:
    """A host and a port, the path of a socket, or where the client wanted to go; IPv6 addresses have one spelling."""
    assert parse_upstream(text) == address
    assert parse_upstream(str(address)) == address


@pytest.mark.parametrize(
    ("text", "address"), [(":80", TcpAddress("", 80)), ("127.0.0.1:0", TcpAddress("127.0.0.1", 0))]
)
def test_listen(text: str, address: TcpAddress) -> None:
    """An empty host means all addresses, port 0 any free port."""
    assert parse_listen(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "redis", ":6379", "redis:0", "redis:65536", "5432:54", "10.0.1:80", "::1:80", "[::x]:80", "unix:/", 80, None],
)
def test_no_upstream(text: object) -> None:
    """What cannot be dialled is an error."""
    with pytest.raises(PydanticCustomError):
        parse_upstream(text)


def test_a_host_and_a_port() -> None:
    """Brackets stand around what has colons of its own."""
    assert [host_port("10.0.0.1", 80), host_port("::1", 80)] == ["10.0.0.1:80", "[::1]:80"]
