"""What can be told of a connection, while it is open and after."""

import socket

import trio

from faultproxy.faults.reset import Reset
from tests.connection.connecting import match, scene
from tests.relay.relaying import read_exactly, send_all, until


async def test_open_then_over() -> None:
    """Its rule, its faults and bytes as they come; at the end when that was, and who ended it."""
    async with scene() as it:
        made, client, server = await it.joined(match("slow", latency={"delay": "1ms"}))
        await send_all(client, b"question")
        assert await read_exactly(server, 8) == b"question"
        record = made.record()
        assert (record.proxy, record.rule, record.facts.number) == ("redis", "slow", 17)
        assert record.carried == (8, 8, 0, 0)
        assert [fault.fault for fault in record.injected] == ["latency"]
        assert (record.ended_at_s, record.ended_by) == (None, None)
        client.shutdown(socket.SHUT_WR)
        server.shutdown(socket.SHUT_WR)
        await it.closed()
        now = trio.current_time()
        assert made.record(now)[-2:] == (now, "client")


async def test_by_hand() -> None:
    """A fault that no rule asked for says so, is the connection's, and leaves its rule as it was."""
    async with scene() as it:
        made, client, server = await it.joined(match("slow", latency={"delay": "1ms"}))
        made.inject_by_hand(match(latency={"delay": "1ms"}).faults)
        await send_all(client, b"x")
        await read_exactly(server, 1)
        made.inject_by_hand([Reset()])
        await it.closed()
        record = made.record()
        said = [(fault.rule, fault.source, fault.ordinal, fault.fault) for fault in record.injected]
        assert sorted(said, key=str) == sorted(
            [("slow", None, 1, "latency"), (None, "api", None, "latency"), (None, "api", None, "reset")], key=str
        )
        assert record.rule == "slow"
        made.inject_by_hand([Reset()])  # it is over
        made.let_go_by_hand()


async def test_what_is_let_go() -> None:
    """A hang by hand ends, a fault that waits is withdrawn, a shape acts no more: those of rules stay."""
    async with scene() as it:
        made, client, server = await it.joined(match("cut", reset={"after": "1h"}))
        hang, *_ = match(hang={}).faults
        reset, *_ = match(reset={"after": "1h"}).faults
        corrupt, *_ = match(corrupt={"probability": 1.0}).faults
        made.inject_by_hand([corrupt, hang, reset])
        await until(lambda: bool(made.record().injected))
        await send_all(client, b"question")
        made.let_go_by_hand()
        assert await read_exactly(server, 8) == b"question"
        assert (made.awaits(""), made.awaits("cut")) == (False, True)
