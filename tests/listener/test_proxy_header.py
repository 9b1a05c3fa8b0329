"""What a load balancer says of its client is read, whatever the pieces, and what comes behind it is left."""

import socket
from collections.abc import Callable

import pytest
import trio

from faultproxy.events.types import ConnectionClosed, ConnectionOpened, FaultInjected, ProxyHeaderRejected, ProxyStopped
from faultproxy.kernel import sockets
from faultproxy.proxy_protocol import ConnectionEnds, HeaderVersion, header
from tests.managing import Managed, at, managed, read_exactly
from tests.network import needs_syn_interception
from tests.peers import PATIENCE_S, Upstream

V2 = b"\r\n\r\n\0\r\nQUIT\n"
ENDS = ConnectionEnds("192.0.2.7", 4711, "198.51.100.2", 443)
CUT = {"name": "cut", "when": {"client": "192.0.2.0/24"}, "reset": {"after": "2B"}}


async def outcome(its: Managed, data: bytes, *, then: bytes = b"") -> bytes | str:
    """What somebody gets who sends these bytes: three bytes of an answer, or how it ends."""
    async with await its.connect("p") as client:
        try:
            await client.send_all(data)
            if then:
                await client.send_all(then)
            return await read_exactly(client, 3)
        except trio.BrokenResourceError as error:
            return type(error.__cause__).__name__


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("cut", [None, 1, 20])
async def test_rules_and_the_log_see_the_real_client(server: str, version: HeaderVersion, cut: int | None) -> None:
    """Whether the header comes whole, with the client's bytes, or in pieces; nothing of it reaches the server."""
    data = header(version, ENDS) + b"abc"
    async with managed({"proxies": {"p": at(server, CUT, accept_proxy=True)}}) as its:
        assert await outcome(its, data[:cut], then=data[cut:] if cut else b"") == "ConnectionResetError"
        injected = await its.record.wait_for(FaultInjected)
        assert (injected.client, injected.bytes_downstream) == ("192.0.2.7:4711", 2)
        assert [event.client for event in its.record.of(ConnectionOpened)] == ["192.0.2.7:4711"]


async def test_another_client_is_served(server: str) -> None:
    """By the header, not by the peer's own address."""
    other = header("v2", ConnectionEnds("203.0.113.1", 1, "198.51.100.2", 443))
    async with managed({"proxies": {"p": at(server, CUT, accept_proxy=True)}}) as its:
        assert await outcome(its, other + b"abc") == b"abc"


@pytest.mark.parametrize("health_check", [V2 + bytes.fromhex("20000000"), b"PROXY UNKNOWN\r\n"])
async def test_a_health_check_has_its_own_address(server: str, health_check: bytes) -> None:
    """LOCAL and UNKNOWN: the connection is the load balancer's own, and is judged as such."""
    rule = {**CUT, "when": {"client": "127.0.0.1"}}
    async with managed({"proxies": {"p": at(server, rule, accept_proxy=True)}}) as its:
        assert await outcome(its, health_check + b"abc") == "ConnectionResetError"
        assert (await its.record.wait_for(FaultInjected)).client.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("data", "reason", "count"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "malformed: it begins with neither version's signature", 18),
        (V2 + bytes.fromhex("2111000b") + bytes(11), "malformed: 11 bytes are too few for its addresses", 27),
        (V2, "peek_timeout is over before there was one", 12),
        (b"", "peek_timeout is over before there was one", 0),
    ],
)
async def test_without_a_header_it_is_reset(server: str, data: bytes, reason: str, count: int) -> None:
    """It is logged as that and as nothing else: no rule counts it, no server is dialled, its room is given back."""
    first = {"name": "first", "when": {"first": 1}, "close": {"after": "1B"}}
    async with managed({"proxies": {"p": at(server, first, accept_proxy=True, peek_timeout="200ms")}}) as its:
        assert await outcome(its, data) == "ConnectionResetError"
        rejected = await its.record.wait_for(ProxyHeaderRejected, connection="p#1")
        assert (rejected.reason, rejected.bytes) == (reason, count)
        assert rejected.client.startswith("127.0.0.1:")
        assert not its.record.of(ConnectionOpened)
        assert its.manager.proxies["p"].status().rules["first"]["considered"] == 0
        assert its.manager.proxies["p"]._limit.connections == 0
        assert await outcome(its, header("v1", ENDS) + b"abc") == b"a"


@pytest.mark.parametrize("end", [sockets.end, sockets.reset])
async def test_a_peer_that_goes_before(server: str, end: Callable[[socket.socket], None]) -> None:
    """It is not waited for."""
    async with managed({"proxies": {"p": at(server, accept_proxy=True, peek_timeout="1h")}}) as its:
        with socket.create_connection(its.address("p")) as client:
            client.sendall(b"PROXY ")
            end(client)
        rejected = await its.record.wait_for(ProxyHeaderRejected)
        assert rejected.reason == "the connection has ended before there was one"


async def test_what_the_client_says_is_waited_for_behind_the_header(server: str) -> None:
    """Rules that look at its first bytes see those, not the header's."""
    get = {"name": "get", "when": {"starts_with": "GET", "client": "192.0.2.7"}, "reset": {"after": "2B"}}
    async with managed({"proxies": {"p": at(server, get, accept_proxy=True)}}) as its:
        assert await outcome(its, header("v2", ENDS), then=b"GET") == "ConnectionResetError"
        assert await outcome(its, header("v2", ENDS), then=b"PUT") == b"PUT"


async def test_an_edit_reaches_who_is_waited_for(server: str) -> None:
    """A proxy that is disabled resets those whose header has not come, and drains without them."""
    async with managed({"proxies": {"p": at(server, accept_proxy=True, peek_timeout="1h")}}) as its:
        async with await its.connect("p") as client:
            with trio.fail_after(PATIENCE_S):
                while not its.manager.proxies["p"].status().open:
                    await trio.lowlevel.checkpoint()
            await its.edit(p=at(server, accept_proxy=True, peek_timeout="1h", enabled=False))
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()
        assert (await its.record.wait_for(ConnectionClosed)).ended_by == "fault"


async def test_a_proxy_that_drains_waits_for_no_header(server: str) -> None:
    """The last who was to say who it is, and does not, is the end of a proxy that was removed."""
    async with managed({"proxies": {"p": at(server, accept_proxy=True, peek_timeout="1h")}}) as its:
        async with await its.connect("p"):
            with trio.fail_after(PATIENCE_S):
                while not its.manager.proxies["p"].status().open:
                    await trio.lowlevel.checkpoint()
            await its.edit(q=at(server))
        await its.record.wait_for(ProxyHeaderRejected, proxy="p")
        await its.record.wait_for(ProxyStopped, proxy="p")


@needs_syn_interception
async def test_connect_faults_are_the_load_balancers(server: str) -> None:
    """They are decided at its SYN; rules that ask who the client is wait for the header, and count it then."""
    refuse = {"name": "refuse", "when": {"nth": 2}, "refuse": {}}
    async with managed({"proxies": {"p": at(server, {**CUT, "stop": False}, refuse, accept_proxy=True)}}) as its:
        assert await outcome(its, header("v2", ENDS) + b"abc") == "ConnectionResetError"
        with pytest.raises(ConnectionRefusedError):
            await its.connect("p")
        refused = await its.record.wait_for(FaultInjected, fault="refuse")
        assert refused.client.startswith("127.0.0.1:")
        other = header("v2", ConnectionEnds("203.0.113.1", 1, "198.51.100.2", 443))
        assert await outcome(its, other + b"abc") == b"abc"
        rules = its.manager.proxies["p"].status().rules
        assert (rules["cut"]["considered"], rules["refuse"]["considered"]) == (1, 3)


async def test_what_it_says_is_passed_on() -> None:
    """send_proxy behind accept_proxy tells the server what the load balancer told."""
    with Upstream() as upstream:
        proxy = at(upstream.address, accept_proxy=True, send_proxy="v1")
        async with managed({"proxies": {"p": proxy}}) as its, await its.connect("p") as client:
            await client.send_all(header("v2", ENDS))
            with await trio.to_thread.run_sync(upstream.accept) as taken:
                assert taken.recv(len(header("v1", ENDS)), socket.MSG_WAITALL) == header("v1", ENDS)
