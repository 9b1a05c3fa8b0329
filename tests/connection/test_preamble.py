"""The server reads a header of the PROXY protocol before the client's first byte, and no count has it."""

import socket

import pytest
import trio

from faultproxy import proxy_protocol
from faultproxy.connection import preamble
from faultproxy.events.types import ConnectionClosed, FaultInjected
from faultproxy.kernel import sockets
from faultproxy.proxy_protocol import ConnectionEnds, HeaderVersion
from faultproxy.rules.facts import ConnectionFacts
from tests.managing import at, managed, read_exactly
from tests.peers import PATIENCE_S, Upstream
from tests.relay.relaying import tcp_pair

FACTS = ConnectionFacts(1, "10.0.0.1", 0.0, 1, client_port=5, destination="10.0.0.2", destination_port=6)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("listen", ["127.0.0.1:0", ":0"])
async def test_the_server_learns_who_the_client_is(version: HeaderVersion, listen: str) -> None:
    """Its address and port, and where it has connected to; a byte trigger and both byte counts know nothing of it."""
    cut = {"name": "cut", "reset": {"after": {"bytes": "3B", "direction": "upstream"}, "to": "client"}}
    with Upstream() as upstream:
        proxy = at(upstream.address, cut, listen=listen, send_proxy=version)
        async with managed({"proxies": {"p": proxy}}) as its, await its.connect("p") as client:
            server = trio.SocketStream(trio.socket.from_stdlib_socket(await trio.to_thread.run_sync(upstream.accept)))
            own, where = client.socket.getsockname(), client.socket.getpeername()
            expected = proxy_protocol.header(version, ConnectionEnds(*own, *where))
            assert await read_exactly(server, len(expected)) == expected
            await client.send_all(b"123456")
            assert await read_exactly(server, 10) == b"123"
            injected = await its.record.wait_for(FaultInjected)
            assert (injected.bytes_upstream, injected.bytes_downstream) == (3, 0)
            await server.aclose()
            assert (await its.record.wait_for(ConnectionClosed)).bytes_upstream == 3


async def test_the_header_comes_before_a_server_that_speaks_first_is_answered() -> None:
    """It is sent when the server is reached, whether or not the client says anything."""
    with Upstream() as upstream:
        proxy = at(upstream.address, send_proxy="v2")
        async with managed({"proxies": {"p": proxy}}) as its, await its.connect("p"):
            with await trio.to_thread.run_sync(upstream.accept) as server:
                assert server.recv(12, socket.MSG_WAITALL) == b"\r\n\r\n\0\r\nQUIT\n"


async def test_a_client_of_a_unix_socket_has_no_address(tmp_path: object) -> None:
    """The server is told that it is unknown."""
    with Upstream() as upstream:
        proxy = at(upstream.address, listen=f"unix:{tmp_path}/p.sock", send_proxy="v1")
        async with managed({"proxies": {"p": proxy}}):
            client = await trio.open_unix_socket(f"{tmp_path}/p.sock")
            async with client:
                with await trio.to_thread.run_sync(upstream.accept) as server:
                    assert server.recv(15, socket.MSG_WAITALL) == b"PROXY UNKNOWN\r\n"


def test_a_server_that_has_reset_already() -> None:
    """It is said, as the kernel reports a reset once."""
    one, other = tcp_pair()
    with one, other:
        assert preamble.send(one, "v2", FACTS)
        sockets.reset(other)
        one.settimeout(PATIENCE_S)
        with pytest.raises(ConnectionResetError):
            one.recv(1)
        assert not preamble.send(one, "v2", FACTS)
