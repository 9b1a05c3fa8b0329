"""SOCK_DESTROY on real sockets: exactly the one meant is ended."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from faultproxy.kernel import sock_diag
from tests.network import Namespaces, inside
from tests.peers import connect, read_exactly


@pytest.fixture(params=["127.0.0.1", "::1"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with (
        socket.create_server((request.param, 0), family=family) as listener,
        socket.create_connection(listener.getsockname()[:2], 10) as client,
        listener.accept()[0] as server,
    ):
        yield client, server


def destroy_peer(sock: socket.socket) -> None:
    try:
        sock_diag.destroy_peer(sock)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP):
            pytest.skip(f"sockets may not be destroyed here: {error}")
        raise


def test_the_peer_is_aborted(ends: tuple[socket.socket, socket.socket]) -> None:
    """It reads what had arrived, then gets ECONNABORTED; the other end gets ECONNRESET."""
    client, server = ends
    server.sendall(b"last words")
    destroy_peer(server)
    assert client.recv(100) == b"last words"
    with pytest.raises(ConnectionAbortedError):
        client.recv(1)
    server.settimeout(10)
    with pytest.raises(ConnectionResetError):
        server.recv(1)


def test_a_peer_that_is_gone_is_not_found(ends: tuple[socket.socket, socket.socket]) -> None:
    """Nobody else's socket is ended instead."""
    client, server = ends
    destroy_peer(server)
    with pytest.raises((FileNotFoundError, OSError)):
        sock_diag.destroy_peer(client)


@pytest.mark.parametrize("host", [Namespaces.SERVER, Namespaces.SERVER6])
def test_a_peer_in_another_namespace_is_not_found(host: str) -> None:
    """Neither is it ended, nor a listener of all addresses that has the peer's port here."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        namespaces = stack.enter_context(Namespaces())
        with inside(namespaces.server):
            listener = stack.enter_context(socket.create_server((host, 5001), family=family))
            bystander = stack.enter_context(socket.create_server(("", 5002), family=family))
        with inside(namespaces.client):
            client = stack.enter_context(socket.socket(family))
            client.settimeout(10)
            client.bind(("", 5002))
            client.connect((host, 5001))
        server = stack.enter_context(listener.accept()[0])
        with inside(namespaces.server):
            with pytest.raises(FileNotFoundError):
                sock_diag.destroy_peer(server)
            with connect((host, 5002)), bystander.accept()[0]:
                pass
        server.sendall(b"still there")
        assert read_exactly(client, 11) == b"still there"
