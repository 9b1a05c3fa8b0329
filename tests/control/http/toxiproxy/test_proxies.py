"""What Toxiproxy's calls do to proxies, and to the connections that are open."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from faultproxy.addresses import host_port
from faultproxy.control.edits import put_proxy
from faultproxy.rules.rule import BaseRule
from tests.control.http.toxiproxy.calling import called, error
from tests.managing import at, connect, read_exactly
from tests.peers import Upstream


async def test_disabled_is_down(tmp_path: Path) -> None:
    """Connects are refused, open connections are reset, toxics and the address are kept; enabled, it is back."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            created = await call.create("p", upstream.address)
            toxic = await call.add("p", "latency", latency=1)
            async with call.joined("p", upstream) as (client, _):
                shown = (await call("POST", "/proxies/p", {"enabled": False})).json()
                assert shown == {**created, "enabled": False, "toxics": [toxic]}
                with pytest.raises(trio.BrokenResourceError):
                    await client.receive_some()
            with pytest.raises(OSError, match=r"\[Errno 111\]"):
                await call.its.connect("p")
            assert (await call("POST", "/proxies/p", {"enabled": True})).json()["listen"] == created["listen"]
            async with call.joined("p", upstream) as (client, server):
                server.sendall(b"hi")
                assert await read_exactly(client, 2) == b"hi"


async def test_created_disabled(tmp_path: Path) -> None:
    """It refuses, at the address that it will have."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            created = await call.create("p", upstream.address, enabled=False)
            assert created["enabled"] is False
            with pytest.raises(OSError, match=r"\[Errno 111\]"):
                await call.its.connect("p")
            listen = host_port(*call.its.address("p"))
            enabled = {**created, "enabled": True, "listen": listen}
            assert (await call("POST", "/proxies/p", {"enabled": True})).json() == enabled
            async with call.joined("p", upstream):
                pass


@pytest.mark.parametrize(
    ("listen", "host"),
    [
        ("localhost:0", "127.0.0.1"),
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "[::1]"),
        ("localhost:", "127.0.0.1"),
        ("", "[::]"),
        (":", "[::]"),
        (":0", "[::]"),
        ("0.0.0.0:0", "[::]"),
        (None, "[::]"),
    ],
)
async def test_listen_is_shown_as_it_is(tmp_path: Path, listen: str | None, host: str) -> None:
    """With the address of the name, and the port that the kernel chose; sent back, it is no change."""
    async with called(tmp_path) as call:
        created = await call.create("p", "localhost:1", listen=listen)
        assert created["listen"].rpartition(":")[0] == host
        assert not created["listen"].endswith(":0")
        listener = call.its.manager.proxies["p"].listener
        for method, enabled in (("PATCH", False), ("POST", True)):
            sent = {**created, "enabled": enabled}
            assert (await call(method, "/proxies/p", sent)).json() == sent
        assert call.its.manager.proxies["p"].listener is listener


async def test_a_change_restarts_the_proxy(tmp_path: Path) -> None:
    """Another listen or upstream drops the connections and keeps the toxics; what is the same drops none."""
    with Upstream() as upstream, Upstream() as other:
        async with called(tmp_path) as call:
            created = await call.create("p", upstream.address)
            toxic = await call.add("p", "latency", latency=1)
            async with call.joined("p", upstream) as (client, server):
                same = {"listen": created["listen"], "upstream": upstream.address, "enabled": True}
                assert (await call("POST", "/proxies/p", same)).json()["listen"] == created["listen"]
                server.sendall(b"hi")
                assert await read_exactly(client, 2) == b"hi"
                shown = (await call("POST", "/proxies/p", {"upstream": other.address})).json()
                assert shown == {**created, "upstream": other.address, "toxics": [toxic]}
                with pytest.raises(trio.BrokenResourceError):
                    await client.receive_some()
            async with call.joined("p", other) as (client, _):
                with socket.socket() as free:
                    free.bind(("127.0.0.1", 0))
                    listen = host_port(*free.getsockname())
                assert (await call("PATCH", "/proxies/p", {"listen": listen})).json()["listen"] == listen
                with pytest.raises(trio.BrokenResourceError):
                    await client.receive_some()
            async with call.joined("p", other):
                pass


async def test_a_removed_proxy_drops_its_connections(tmp_path: Path) -> None:
    """And its address is free again."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            created = await call.create("p", upstream.address)
            async with call.joined("p", upstream) as (client, _):
                await call("DELETE", "/proxies/p")
                with pytest.raises(trio.BrokenResourceError):
                    await client.receive_some()
            assert (await call.create("q", upstream.address, listen=created["listen"]))["listen"] == created["listen"]


async def test_an_address_that_is_taken(tmp_path: Path) -> None:
    """500 at once, or when a proxy is enabled whose address another has taken meanwhile; then it stays disabled."""
    with Upstream() as upstream, Upstream() as busy:
        async with called(tmp_path) as call:
            body = {"name": "p", "upstream": upstream.address, "listen": busy.address}
            said = "listen tcp {}: bind: address already in use"
            assert error(await call("POST", "/proxies", body)) == (500, said.format(busy.address))
            created = await call.create("p", upstream.address)
            listen = created["listen"].replace("127.0.0.1", "localhost")
            answer = await call("POST", "/proxies", {**body, "name": "q", "listen": listen})
            assert error(answer) == (500, said.format(created["listen"]))
            await call.create("q", upstream.address)
            assert error(await call("PATCH", "/proxies/q", {"listen": listen})) == (500, said.format(created["listen"]))
            await call("POST", "/proxies/p", {"enabled": False})
            host, _, port = created["listen"].rpartition(":")
            with socket.socket() as thief:
                thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                thief.bind((host, int(port)))
                thief.listen()
                for call_again in (call("POST", "/proxies/p", {"enabled": True}), call("POST", "/reset")):
                    assert error(await call_again) == (500, said.format(created["listen"]))
                    assert (await call("GET", "/proxies/p")).json()["enabled"] is False
            assert (await call("POST", "/reset")).status_code == 204
            async with call.joined("p", upstream):
                pass


async def test_a_proxy_whose_address_was_taken(tmp_path: Path) -> None:
    """It is disabled, and can be changed, populated in vain, moved elsewhere, and back once the address is free."""
    async with called(tmp_path) as call:
        created = await call.create("p", "localhost:1", toxics=[{"type": "noop"}])
        host, port = call.its.address("p")
        said = f"listen tcp {created['listen']}: bind: address already in use"
        await call("PATCH", "/proxies/p", {"enabled": False})
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind((host, port))
            thief.listen()
            changed = (await call("PATCH", "/proxies/p", {"upstream": "localhost:2"})).json()
            assert changed == {**created, "upstream": "localhost:2", "enabled": False}
            body = {"name": "p", "listen": created["listen"], "upstream": "localhost:3"}
            assert (await call("POST", "/populate", [body])).json() == {"error": said, "status": 500, "proxies": None}
            moved = (await call("PATCH", "/proxies/p", {"listen": "127.0.0.1:0", "enabled": True})).json()
            assert moved["enabled"] is True
            assert error(await call("PATCH", "/proxies/p", {"listen": created["listen"]})) == (500, said)
            assert (await call("GET", "/proxies/p")).json() == moved
        back = (await call("PATCH", "/proxies/p", {"listen": created["listen"]})).json()
        assert (back["listen"], back["enabled"]) == (created["listen"], True)


async def test_reset(tmp_path: Path) -> None:
    """All are enabled and no toxic is left; rules that are no toxics stay, and so do connections."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            rule = {"name": "r", "when": {"first": 1}, "close": {"after": "1h"}}
            await call.its.manager.apply(put_proxy("native", at(upstream.address, rule)), "api")
            await call.create("p", upstream.address, enabled=False, toxics=[{"type": "noop"}])
            await call.add("native", "latency", latency=60_000)
            async with call.joined("native", upstream) as (client, server):
                server.sendall(b"hi")
                assert (await call("POST", "/reset")).content == b""
                assert await read_exactly(client, 2) == b"hi"
            shown = (await call("GET", "/proxies")).json()
            assert [(each["enabled"], each["toxics"]) for each in shown.values()] == [(True, []), (True, [])]
            rules: Sequence[BaseRule] = call.its.manager.config.proxies["native"].rules
            assert [rule.name for rule in rules] == ["r"]


async def test_populate_leaves_alone_what_is_there(tmp_path: Path) -> None:
    """A proxy with this listen and upstream keeps its toxics and its connections, even if it is to be enabled."""
    with Upstream() as upstream, Upstream() as other:
        async with called(tmp_path) as call:
            same = await call.create("same", upstream.address, toxics=[{"type": "noop"}])
            off = await call.create("off", upstream.address, enabled=False)
            moved = await call.create("moved", upstream.address, toxics=[{"type": "noop"}])
            unnamed = await call.create("unnamed", upstream.address)
            async with call.joined("same", upstream) as (client, server), call.joined("moved", upstream) as (lost, _):
                sent = [
                    {"name": "same", "listen": same["listen"], "upstream": upstream.address},
                    {"name": "off", "listen": off["listen"], "upstream": upstream.address, "enabled": True},
                    {"name": "moved", "listen": moved["listen"], "upstream": other.address},
                ]
                answer = await call("POST", "/populate", sent)
                assert answer.json()["proxies"] == [same, off, {**moved, "upstream": other.address, "toxics": []}]
                with pytest.raises(trio.BrokenResourceError):
                    await lost.receive_some()
                server.sendall(b"hi")
                assert await read_exactly(client, 2) == b"hi"
            assert (await call("GET", "/proxies/unnamed")).json() == unnamed


async def test_populate_twice_on_any_port(tmp_path: Path) -> None:
    """Port 0 is never the same: the proxy is replaced, at another port, and its toxics are gone."""
    async with called(tmp_path) as call:
        body = [{"name": "p", "listen": "localhost:0", "upstream": "localhost:1"}]
        listens = set()
        for _ in range(3):
            (shown,) = (await call("POST", "/populate", body)).json()["proxies"]
            assert shown["toxics"] == []
            listens.add(shown["listen"])
            await call.add("p", "noop")
        assert len(listens) == 3
        with socket.create_connection(call.its.address("p")):
            pass


async def test_an_update_to_any_port(tmp_path: Path) -> None:
    """It is another port, and the old one refuses; an update that names no listen keeps it."""
    async with called(tmp_path) as call:
        before = await call.create("p", "localhost:1")
        address, revision = call.its.address("p"), call.its.manager.revision
        after = (await call("PATCH", "/proxies/p", {"listen": "127.0.0.1:0"})).json()
        assert after["listen"] != before["listen"]
        assert call.its.manager.revision > revision
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        assert (await call("PATCH", "/proxies/p", {"upstream": "localhost:2"})).json()["listen"] == after["listen"]


async def test_a_bare_connect_is_no_error(tmp_path: Path) -> None:
    """Clients look so whether the server is there."""
    async with called(tmp_path) as call:
        for _ in range(3):
            stream = await trio.open_unix_socket(str(tmp_path / "api.sock"))
            await stream.aclose()
        assert (await call("GET", "/version")).status_code == 200


async def test_other_proxies_are_left_alone(tmp_path: Path) -> None:
    """An edit of one proxy touches no connection of another."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            await call.create("p", upstream.address)
            await call.create("q", upstream.address)
            async with await connect(call.its.address("q")) as client:
                with await trio.to_thread.run_sync(upstream.accept) as server:
                    for body in ({"upstream": "localhost:1"}, {"enabled": False}, {"enabled": True}):
                        assert (await call("POST", "/proxies/p", body)).status_code == 200
                    assert (await call("DELETE", "/proxies/p")).status_code == 204
                    server.sendall(b"hi")
                    assert await read_exactly(client, 2) == b"hi"
