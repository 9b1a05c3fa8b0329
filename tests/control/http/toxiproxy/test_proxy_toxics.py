"""Toxics: what they are among rules, and what they do to the connections that are open."""

import errno
import socket
from pathlib import Path
from typing import Any

import pytest
import trio

from faultproxy.control.edits import put_proxy
from faultproxy.events.types import FaultInjected
from tests.control.http.toxiproxy.calling import called, error
from tests.managing import at, read_exactly
from tests.peers import PATIENCE_S, Upstream


async def test_rules_are_toxics(tmp_path: Path) -> None:
    """What a file or the API's own routes say is shown as a toxic where one says the same, and can be changed as one."""
    async with called(tmp_path) as call:
        rules = [
            {"name": "slow", "latency": {"delay": "100ms", "direction": "downstream"}},
            {"name": "not a toxic", "when": {"first": 3}, "latency": {"delay": "1s"}},
        ]
        await call.its.manager.apply(put_proxy("p", at("localhost:1", *rules)), "api")
        (shown,) = (await call("GET", "/proxies/p/toxics")).json()
        assert (shown["name"], shown["attributes"]) == ("slow", {"latency": 100, "jitter": 0})
        assert error(await call("GET", "/proxies/p/toxics/not%20a%20toxic")) == (404, "toxic not found")
        status, _ = error(await call("POST", "/proxies/p/toxics", {"type": "noop", "name": "not a toxic"}))
        assert status == 409
        await call("PATCH", "/proxies/p/toxics/slow", {"attributes": {"latency": 200}})
        await call.add("p", "noop", "upstream")
        dumped = call.its.manager.config.proxies["p"].dump()["rules"]
        assert [rule["name"] for rule in dumped] == ["slow", "noop_upstream", "not a toxic"]
        assert dumped[0]["latency"]["delay"] == "200ms"


async def test_both_dialects_show_the_same(tmp_path: Path) -> None:
    """What one makes, the other shows, counts and changes; the log knows a toxic by its name."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            await call.create("a:1", upstream.address)
            await call.add("a:1", "reset_peer", timeout=0)
            async with call.joined("a:1", upstream) as (client, _):
                with pytest.raises(trio.BrokenResourceError):
                    await client.receive_some()
            native = (await call("GET", "/v1/proxies/a%3A1")).json()
            assert [(each["name"], each["injected"]) for each in native["rules"]] == [("reset_peer_downstream", 1)]
            fault = await call.its.record.wait_for(FaultInjected)
            assert (fault.rule, fault.client_sees) == ("reset_peer_downstream", "ECONNRESET")
            slow = {"latency": {"delay": "100ms", "direction": "upstream"}}
            assert (await call("PUT", "/v1/proxies/a%3A1/rules/slow", slow)).status_code < 300
            assert (await call("DELETE", "/v1/proxies/a%3A1/rules/reset_peer_downstream")).status_code == 204
            (shown,) = (await call("GET", "/proxies/a%3A1/toxics")).json()
            assert (shown["name"], shown["type"], shown["stream"]) == ("slow", "latency", "upstream")


async def test_calls_at_the_same_time(tmp_path: Path) -> None:
    """Of those that add one name, one does; of those that change one toxic, each changes what it names."""
    async with called(tmp_path) as call:
        await call.create("p", "localhost:1")
        statuses: list[int] = []

        async def ask(method: str, path: str, body: object) -> None:
            statuses.append((await call(method, path, body)).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask, "POST", "/proxies/p/toxics", {"type": "latency", "name": "t"})
        assert sorted(statuses) == [200, *[409] * 9]
        async with trio.open_nursery() as nursery:
            for body in ({"attributes": {"latency": 1}}, {"attributes": {"jitter": 1}}, {"toxicity": 0.5}):
                nursery.start_soon(ask, "PATCH", "/proxies/p/toxics/t", body)
        (shown,) = (await call("GET", "/proxies/p/toxics")).json()
        assert (shown["attributes"], shown["toxicity"]) == ({"latency": 1, "jitter": 1}, 0.5)


async def test_toxics_act_on_open_connections(tmp_path: Path) -> None:
    """Added, it holds the next bytes; removed, they come at once."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            await call.create("p", upstream.address)
            async with call.joined("p", upstream) as (client, server):
                await call.add("p", "latency", latency=3_600_000)
                server.sendall(b"late")
                with trio.move_on_after(0.2) as waited:
                    await client.receive_some()
                assert waited.cancelled_caught
                await call("DELETE", "/proxies/p/toxics/latency_downstream")
                assert await read_exactly(client, 4) == b"late"


async def test_a_changed_toxic_acts_on_open_connections(tmp_path: Path) -> None:
    """A rate of 0 stalls; another rate lets go on."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            await call.create("p", upstream.address, toxics=[{"type": "bandwidth", "attributes": {"rate": 0}}])
            async with call.joined("p", upstream) as (client, server):
                server.sendall(b"late")
                with trio.move_on_after(0.2) as waited:
                    await client.receive_some()
                assert waited.cancelled_caught
                await call("POST", "/proxies/p/toxics/bandwidth_downstream", {"attributes": {"rate": 1000}})
                assert await read_exactly(client, 4) == b"late"


async def test_a_timeout_that_is_removed_closes(tmp_path: Path) -> None:
    """What came while it was there is lost, and the connection ends."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            await call.create("p", upstream.address)
            await call.add("p", "timeout", timeout=0)
            async with call.joined("p", upstream) as (client, server):
                server.sendall(b"lost")
                with trio.move_on_after(0.2) as waited:
                    await client.receive_some()
                assert waited.cancelled_caught
                await call("DELETE", "/proxies/p/toxics/timeout_downstream")
                assert await client.receive_some() == b""


async def test_reset_peer(tmp_path: Path) -> None:
    """The client's read fails with ECONNRESET."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            await call.create("p", upstream.address)
            async with call.joined("p", upstream) as (client, _):
                await call.add("p", "reset_peer", timeout=0)
                with pytest.raises(trio.BrokenResourceError) as raised:
                    await client.receive_some()
                cause: Any = raised.value.__cause__
                assert cause.errno == errno.ECONNRESET


async def test_toxicity_0_does_nothing(tmp_path: Path) -> None:
    """Not even to how the connection ends: EOF stays EOF."""
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            toxic = {"type": "reset_peer", "toxicity": 0, "attributes": {"timeout": 0}}
            await call.create("p", upstream.address, toxics=[toxic])
            async with call.joined("p", upstream) as (client, server):
                server.sendall(b"hi")
                server.close()
                assert await read_exactly(client, 3) == b"hi"


@pytest.mark.parametrize("kind", ["latency", "bandwidth", "slicer", "slow_close", "limit_data", "noop"])
async def test_no_call_waits_for_a_reader(tmp_path: Path, kind: str) -> None:
    """A client that does not read holds up no call; and not one byte is lost, whatever comes and goes meanwhile."""
    attributes: Any = {
        "latency": {"latency": 1},
        "bandwidth": {"rate": 1_000_000},
        "slicer": {"average_size": 30_000},
        "slow_close": {"delay": 1},
        "limit_data": {"bytes": 2**40},
        "noop": {},
    }[kind]
    data = bytes(range(256)) * (2**14)  # 4 MiB
    with Upstream() as upstream:
        async with called(tmp_path) as call:
            await call.create("p", upstream.address)
            async with call.joined("p", upstream) as (client, server), trio.open_nursery() as nursery:

                async def send() -> None:
                    await trio.to_thread.run_sync(server.sendall, data)
                    server.shutdown(socket.SHUT_WR)

                nursery.start_soon(send)
                path = f"/proxies/p/toxics/{kind}_downstream"
                with trio.fail_after(PATIENCE_S / 2):
                    for _ in range(3):
                        await call.add("p", kind, **attributes)
                        await call("POST", path, {"attributes": attributes, "toxicity": 0.9})
                        assert (await call("DELETE", path)).status_code == 204
                assert await read_exactly(client, len(data) + 1) == data
