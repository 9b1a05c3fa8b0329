"""Where a client wanted to go is known, whether its connection was translated or only led here."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from faultproxy.kernel import original_dst
from tests.network import Namespaces, inside
from tests.peers import PATIENCE_S
from tests.servers import program

REDIRECT = "table inet t { chain c { type nat hook output priority -100; tcp dport 80 redirect to :8080; }; }"


@contextmanager
def redirected(host: str, listen: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client that has connected to port 80 of a host, and the socket that was accepted for it at port 8080 here."""
    nft = program("nft")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with Namespaces() as namespaces, inside(namespaces.client):
        if subprocess.run([nft, "-f", "-"], input=REDIRECT.encode(), capture_output=True, check=False).returncode:
            pytest.skip("nftables are not allowed here")
        is_dual = listen == "" and socket.has_dualstack_ipv6()
        with (
            socket.create_server(
                (listen, 8080), family=socket.AF_INET6 if is_dual else family, dualstack_ipv6=is_dual
            ) as listener,
            socket.create_connection((host, 80), PATIENCE_S) as client,
            listener.accept()[0] as accepted,
        ):
            yield client, accepted


@pytest.mark.parametrize(
    ("host", "listen"),
    [(Namespaces.SERVER, "127.0.0.1"), (Namespaces.SERVER6, "::1"), (Namespaces.SERVER, ""), (Namespaces.SERVER6, "")],
)
def test_behind_a_redirect(host: str, listen: str) -> None:
    """Of both families, also where one socket listens for both."""
    with redirected(host, listen) as (client, accepted):
        assert client.getpeername()[:2] == (host, 80)
        assert accepted.getsockname()[1] == 8080
        assert original_dst.original_destination(accepted) == (host, 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_nobody_has_led_it_here(host: str) -> None:
    """It wanted to go where it is; a Unix socket's client nowhere else either."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        address = listener.getsockname()[:2]
        with socket.create_connection(address), listener.accept()[0] as accepted:
            assert original_dst.original_destination(accepted) == address
    one, other = socket.socketpair()
    with one, other:
        assert original_dst.original_destination(one) == ("unix", 0)


@pytest.mark.parametrize(("family", "foreign"), [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")])
def test_a_transparent_socket_may_have_any_address(family: int, foreign: str) -> None:
    """Which is what TPROXY asks of a listener; it can be taken back."""
    with socket.socket(family) as sock:
        try:
            original_dst.set_transparent(sock, on=True)
        except PermissionError as error:
            pytest.skip(f"IP_TRANSPARENT is not allowed here: {error}")
        sock.bind((foreign, 0))
    with socket.socket(family) as sock:
        original_dst.set_transparent(sock, on=True)
        original_dst.set_transparent(sock, on=False)
        with pytest.raises(OSError, match="Cannot assign requested address"):
            sock.bind((foreign, 0))
