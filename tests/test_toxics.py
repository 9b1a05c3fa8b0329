"""Toxiproxy's toxics on connections that are open: each acts at once, is changed at once, and goes at once."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any

import pytest
import trio

from faultproxy.control.http.toxiproxy.toxics import TYPES, from_rule, parse, to_rule
from faultproxy.events.types import ConnectionClosed, FaultInjected
from tests.managing import Managed, at, managed, read_exactly
from tests.peers import PATIENCE_S, name_of, pattern

FOR_EVER_MS = 3_600_000
MOMENT_S = 0.2
SLOW_MS = 300
NATIVE = {"name": "native", "latency": {"delay": f"{SLOW_MS}ms", "direction": "downstream"}}


class Joined:
    """Both ends of a connection through the proxy."""

    def __init__(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        self.client = client
        self.server = server

    async def talk(self, size: int = 4) -> None:
        """So many bytes each way, at once."""
        for one, other in ((self.client, self.server), (self.server, self.client)):
            await one.send_all(pattern(size))
            assert await read_exactly(other, size) == pattern(size)

    async def has_ended(self, how: str = "EOF") -> None:
        """Both ends read this next."""
        assert [await end_of(self.client), await end_of(self.server)] == [how, how]


class Poisoned:
    """A proxy whose toxics are set, and the server behind it."""

    def __init__(self, its: Managed, listener: trio.SocketListener, upstream: str) -> None:
        self.its = its
        self._listener = listener
        self._upstream = upstream
        self._ends: list[trio.SocketStream] = []

    async def set(self, *toxics: dict[str, Any], rules: tuple[dict[str, Any], ...] = ()) -> None:
        """Have these toxics and no others, and these rules below them. It is in force when this returns."""
        made = [to_rule(parse(toxic)) for toxic in toxics]
        with trio.fail_after(PATIENCE_S):
            await self.its.edit(p=at(self._upstream, *made, *rules))
        running = self.its.manager.config.proxies["p"].rules[: len(made)]
        assert [from_rule(rule) for rule in running] == [parse(toxic) for toxic in toxics]

    async def join(self) -> Joined:
        """One more connection, open on both sides."""
        client = await self.its.connect("p")
        joined = Joined(client, await self._listener.accept())
        self._ends += [joined.client, joined.server]
        return joined

    async def injected(self, fault: str, nth: int = 1) -> FaultInjected:
        """The fault in the log."""
        return await self.its.record.wait_for(FaultInjected, nth, fault=fault)

    async def holds(self, size: int) -> None:
        """Wait until so many bytes are held, as the reader does not take them."""
        memory = self.its.manager._services.poller.memory  # what it holds, it tells nobody
        with trio.fail_after(PATIENCE_S):
            while memory.held < size:  # noqa: ASYNC110
                await trio.sleep(0.01)

    async def close(self) -> None:
        for end in self._ends:
            await trio.aclose_forcefully(end)


@asynccontextmanager
async def poisoned(*toxics: dict[str, Any]) -> AsyncIterator[Poisoned]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        upstream = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        async with managed({"proxies": {"p": at(upstream, *(to_rule(parse(toxic)) for toxic in toxics))}}) as its:
            it = Poisoned(its, listener, upstream)
            try:
                yield it
            finally:
                await it.close()


def toxic(kind: str, stream: str = "downstream", toxicity: float = 1, **attributes: int) -> dict[str, Any]:
    return {"name": "t", "type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes}


async def end_of(stream: trio.SocketStream) -> str:
    """What the next read gets: bytes, EOF, or the errno's name."""
    try:
        with trio.fail_after(PATIENCE_S):
            got = await stream.receive_some(65536)
    except trio.BrokenResourceError as error:
        assert isinstance(error.__cause__, OSError)
        return name_of(error.__cause__)
    return repr(got) if got else "EOF"


async def is_silent(stream: trio.SocketStream, for_s: float = MOMENT_S) -> bool:
    """Whether nothing comes for a while; what comes is lost."""
    with trio.move_on_after(for_s):
        await stream.receive_some(1)
        return False
    return True


async def took(does: Callable[[], Awaitable[object]]) -> float:
    began = monotonic()
    with trio.fail_after(PATIENCE_S):
        await does()
    return monotonic() - began


async def pass_on(one: trio.SocketStream, other: trio.SocketStream, data: bytes = b"word") -> float:
    """Send it, and how long after it was there whole."""

    async def do() -> None:
        await one.send_all(data)
        assert await read_exactly(other, len(data)) == data

    return await took(do)


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
async def test_latency(stream: str) -> None:
    """One direction of an open connection is slow at once; what is held goes on at once when the toxic is changed."""
    async with poisoned() as it:
        joined = await it.join()
        await joined.talk()
        one, other = joined.client, joined.server
        if stream == "downstream":
            one, other = other, one
        await it.set(toxic("latency", stream, latency=SLOW_MS))
        assert await pass_on(one, other) >= SLOW_MS / 1000
        await it.set(toxic("latency", stream, latency=FOR_EVER_MS))
        await pass_on(other, one)
        await one.send_all(b"held")
        await it.injected("latency", 2)
        assert await is_silent(other)
        await it.set(toxic("latency", stream, latency=SLOW_MS, jitter=SLOW_MS // 3))
        assert await read_exactly(other, 4) == b"held"
        assert await pass_on(one, other) >= SLOW_MS / 1000 * 2 / 3
        await it.set()
        await joined.talk()


async def test_latency_lets_go_of_its_own_delay_only() -> None:
    """What another rule delays goes on being delayed by that."""
    async with poisoned() as it:
        joined = await it.join()
        await it.set(toxic("latency", latency=FOR_EVER_MS), rules=(NATIVE,))
        began = monotonic()
        await joined.server.send_all(b"held")
        await it.injected("latency", 2)
        await it.set(rules=(NATIVE,))
        assert await read_exactly(joined.client, 4) == b"held"
        assert monotonic() - began >= SLOW_MS / 1000


async def test_bandwidth() -> None:
    """A rate holds from the edit on, and so does another."""
    async with poisoned() as it:
        joined = await it.join()
        await joined.talk()
        await it.set(toxic("bandwidth", rate=100))
        assert await pass_on(joined.server, joined.client, pattern(50_000)) >= 0.45
        await it.set(toxic("bandwidth", rate=1))
        await joined.server.send_all(pattern(100_000))
        await it.injected("bandwidth", 2)
        await it.set(toxic("bandwidth", rate=1_000_000))
        assert await read_exactly(joined.client, 100_000) == pattern(100_000)


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
@pytest.mark.parametrize("after", [[], [toxic("bandwidth", rate=1_000_000)]])
async def test_bandwidth_of_nothing(stream: str, after: list[dict[str, Any]]) -> None:
    """A rate of 0 stalls one direction until it is changed or gone; nothing is lost, and FIN waits too."""
    async with poisoned() as it:
        joined = await it.join()
        await joined.talk()
        one, other = joined.client, joined.server
        if stream == "downstream":
            one, other = other, one
        await it.set(toxic("bandwidth", stream, rate=0))
        await it.injected("bandwidth")
        await one.send_all(b"held")
        await one.send_eof()
        assert await is_silent(other)
        await pass_on(other, one)
        await it.set(*after)
        assert await read_exactly(other, 5) == b"held"


async def test_bandwidth_of_nothing_from_the_first_byte_on() -> None:
    """A new connection is stalled too; a client that resets is not waited for."""
    async with poisoned(toxic("bandwidth", "upstream", rate=0)) as it:
        joined = await it.join()
        await joined.client.send_all(b"held")
        assert await is_silent(joined.server)
        joined.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        joined.client.socket.close()
        assert await end_of(joined.server) == "ECONNRESET"


async def test_slow_close() -> None:
    """FIN is late; a toxic that goes gives it free at once."""
    async with poisoned() as it:
        joined = await it.join()
        await joined.talk()
        await it.set(toxic("slow_close", delay=SLOW_MS))
        await joined.server.send_all(b"last")
        assert await read_exactly(joined.client, 4) == b"last"
        began = monotonic()
        await joined.server.send_eof()
        assert await end_of(joined.client) == "EOF"
        assert monotonic() - began >= SLOW_MS / 1000
        await it.set(toxic("slow_close", delay=FOR_EVER_MS))
        held = await it.join()
        await held.server.send_eof()
        await it.injected("slow_close", 2)
        assert await is_silent(held.client)
        await it.set()
        assert await end_of(held.client) == "EOF"


async def test_slicer() -> None:
    """Pieces of about the size come one after the other; those that wait come at once when the toxic goes."""
    async with poisoned() as it:
        joined = await it.join()
        await joined.talk()
        await it.set(toxic("slicer", average_size=2, size_variation=1, delay=20_000))
        began = monotonic()
        await joined.server.send_all(b"0123456789")
        assert await read_exactly(joined.client, 10) == b"0123456789"
        assert monotonic() - began >= 0.06
        await it.set(toxic("slicer", average_size=2, size_variation=1, delay=1000 * FOR_EVER_MS))
        await joined.server.send_all(b"0123456789")
        await it.injected("slice", 2)
        first = await joined.client.receive_some(100)
        assert 1 <= len(first) <= 3
        assert await is_silent(joined.client)
        await it.set()
        assert first + await read_exactly(joined.client, 10 - len(first)) == b"0123456789"


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
async def test_limit_data(stream: str) -> None:
    """Exactly so many bytes of a direction, counted from when the toxic reached the connection; then both ends read EOF."""
    async with poisoned() as it:
        old = await it.join()
        await old.talk(1000)
        await it.set(toxic("limit_data", stream, bytes=100))
        for joined in (old, await it.join()):
            one, other = joined.client, joined.server
            if stream == "downstream":
                one, other = other, one
            await other.send_all(pattern(1000))
            assert await read_exactly(one, 1000) == pattern(1000)
            await one.send_all(pattern(60))
            assert await read_exactly(other, 60) == pattern(60)
            await one.send_all(pattern(500))
            assert await read_exactly(other, 500) == pattern(500)[:40]
            assert await end_of(one) == "EOF"


async def test_limit_data_that_is_changed() -> None:
    """What has passed counts; who is past the new limit is closed at once."""
    async with poisoned(toxic("limit_data", bytes=100)) as it:
        more, fewer = await it.join(), await it.join()
        for joined in (more, fewer):
            await joined.server.send_all(pattern(60))
            assert await read_exactly(joined.client, 60) == pattern(60)
        await fewer.server.send_all(pattern(10))
        assert await read_exactly(fewer.client, 10) == pattern(10)
        await it.set(toxic("limit_data", bytes=65))
        await fewer.has_ended()
        await it.set(toxic("limit_data", bytes=80))
        await more.server.send_all(pattern(60))
        assert await read_exactly(more.client, 60) == pattern(60)[:20]
        await it.set(toxic("limit_data", bytes=0))
        assert await end_of((await it.join()).client) == "EOF"


async def test_timeout() -> None:
    """Data of one direction vanishes; the connection is closed after so long without any, whatever the other does."""
    async with poisoned() as it:
        number, timeout_s, last = 0, 0.03, None
        while True:
            number, timeout_s = number + 1, 10 * timeout_s  # a busy machine may pause for longer than the first
            assert number < 4
            joined, name = await it.join(), f"p#{number}"
            await joined.talk()
            await it.set(toxic("timeout", timeout=int(1000 * timeout_s)))
            last = await write_for(timeout_s, joined.server)
            if last is not None:
                break
            await it.set()

        async def go_on() -> None:
            with suppress(trio.BrokenResourceError):
                while True:
                    await joined.client.send_all(b"on")
                    if await read_exactly(joined.server, 2) != b"on":
                        break
                    await trio.sleep(timeout_s / 6)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on)
            assert await end_of(joined.client) == "EOF"
            nursery.cancel_scope.cancel()
        assert monotonic() - last >= timeout_s
        closed = await it.its.record.wait_for(ConnectionClosed, connection=name)
        assert (closed.ended_by, closed.faults) == ("fault", ("blackhole", "close"))
        assert closed.bytes_downstream == 4
        assert closed.bytes_upstream > 4


async def write_for(timeout_s: float, stream: trio.SocketStream) -> float | None:
    """Write now and then, for longer than this; just before the last one, or None if there was a pause as long."""
    began = last = monotonic()
    longest_s = 0.0
    with suppress(trio.BrokenResourceError):
        while monotonic() - began <= timeout_s:
            longest_s, last = max(longest_s, monotonic() - last), monotonic()
            await stream.send_all(b"lost")
            await trio.sleep(timeout_s / 4)
    return last if max(longest_s, monotonic() - last) < timeout_s else None


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
async def test_timeout_for_ever(stream: str) -> None:
    """0 drops and never closes; another time does not close either; removal closes; who lost nothing goes on."""
    async with poisoned() as it:
        joined = await it.join()
        await joined.talk()
        one, other = joined.client, joined.server
        if stream == "downstream":
            one, other = other, one
        await it.set(toxic("timeout", stream, timeout=0))
        await one.send_all(b"lost")
        assert await is_silent(other)
        await it.set(toxic("timeout", stream, timeout=FOR_EVER_MS))
        await one.send_all(pattern(10_000_000))
        await pass_on(other, one)
        assert await is_silent(other)
        spared = await it.join()
        await it.set()
        await joined.has_ended()
        await spared.has_ended()
        await (await it.join()).talk()


async def test_timeout_passes_the_end_on() -> None:
    """As the original does: a server that closes is not kept from it."""
    async with poisoned(toxic("timeout", timeout=0)) as it:
        joined = await it.join()
        await joined.server.send_all(b"lost")
        await joined.server.send_eof()
        assert await end_of(joined.client) == "EOF"


async def test_reset_peer() -> None:
    """A silent connection is reset on both sides, so long after the toxic came."""
    async with poisoned() as it:
        joined, at_once = await it.join(), None
        await joined.talk()
        await trio.sleep(SLOW_MS / 1000)
        began = monotonic()
        await it.set(toxic("reset_peer", timeout=SLOW_MS))
        await joined.has_ended("ECONNRESET")
        assert monotonic() - began >= SLOW_MS / 1000
        await it.set()
        at_once = await it.join()
        await at_once.talk()
        await it.set(toxic("reset_peer", "upstream", timeout=0))
        await at_once.has_ended("ECONNRESET")


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
async def test_reset_peer_lets_nothing_pass(stream: str) -> None:
    """Neither bytes nor their end: what the peer sees is the reset. The other way they pass."""
    async with poisoned(toxic("reset_peer", stream, timeout=SLOW_MS)) as it:
        joined = await it.join()
        one, other = (joined.client, joined.server) if stream == "upstream" else (joined.server, joined.client)
        await other.send_all(b"passes")
        assert await read_exactly(one, 6) == b"passes"
        await one.send_all(b"held")
        await one.send_eof()
        assert await end_of(other) == "ECONNRESET"


async def test_reset_peer_that_is_removed() -> None:
    """What was held goes on, and the connection stays."""
    async with poisoned(toxic("reset_peer", timeout=FOR_EVER_MS)) as it:
        joined = await it.join()
        await joined.server.send_all(b"held")
        assert await is_silent(joined.client)
        await it.set()
        assert await read_exactly(joined.client, 4) == b"held"
        await joined.talk()


async def test_noop() -> None:
    """It is there, and nothing happens."""
    async with poisoned() as it:
        joined = await it.join()
        await it.set(toxic("noop"))
        await joined.talk()
        await (await it.join()).talk()
        await it.set()
        await joined.talk()


@pytest.mark.parametrize("kind", sorted(TYPES))
async def test_a_toxicity_of_nothing(kind: str) -> None:
    """It does nothing, be the connection new or open, while the toxic is there and when it goes; FIN stays FIN."""
    async with poisoned() as it:
        old = await it.join()
        await old.talk()
        await it.set(toxic(kind, toxicity=0, latency=FOR_EVER_MS, delay=FOR_EVER_MS, average_size=1))
        new = await it.join()
        for joined in (old, new):
            await joined.talk(1000)
        await old.server.send_eof()
        assert await end_of(old.client) == "EOF"
        await it.set()
        await new.talk(1000)
        await new.client.send_eof()
        assert await end_of(new.server) == "EOF"
        assert not it.its.record.of(FaultInjected)


@pytest.mark.parametrize("kind", ["bandwidth", "timeout"])
async def test_a_toxicity_that_is_raised(kind: str) -> None:
    """It is put to open connections again; so is the toxic that comes back under the name of one that was removed."""
    async with poisoned() as it:
        one, other = await it.join(), await it.join()
        await it.set(toxic(kind, toxicity=0))
        await one.talk()
        await it.set(toxic(kind, toxicity=1))
        await one.server.send_all(b"held")
        assert await is_silent(one.client)
        await it.set(toxic(kind, toxicity=0))
        await it.set()
        await it.set(toxic(kind, toxicity=1))
        third = await it.join()
        for joined in (other, third) if kind == "bandwidth" else (third,):
            await joined.server.send_all(b"held")
            assert await is_silent(joined.client)


async def test_toxicity_is_drawn_for_each_connection() -> None:
    """About half of them are hit, for as long as they are open."""
    async with poisoned(toxic("latency", toxicity=0.5, latency=50)) as it:
        joined = [await it.join() for _ in range(40)]
        hit = [await pass_on(each.server, each.client) >= 0.05 for each in joined]
        assert 8 <= len(it.its.record.of(FaultInjected)) <= 32
        assert sum(hit) >= len(it.its.record.of(FaultInjected))
        named = {event.connection for event in it.its.record.of(FaultInjected)}
        for number, each in enumerate(joined, 1):
            await pass_on(each.server, each.client)
            assert hit[number - 1] or f"p#{number}" not in named


CYCLE: list[list[dict[str, Any]]] = [
    [toxic("latency", latency=50, jitter=50)],
    [toxic("latency", latency=5000)],
    [toxic("bandwidth", rate=0)],
    [toxic("bandwidth", rate=50_000)],
    [],
    [toxic("slicer", average_size=1000, size_variation=999, delay=10)],
    [toxic("slow_close", delay=10)],
    [toxic("limit_data", bytes=10**12)],
    [toxic("reset_peer", timeout=FOR_EVER_MS)],
    [toxic("noop")],
]


async def test_a_reader_that_stalls() -> None:
    """Megabytes are held while toxics come, change and go: none waits for the reader, and not a byte is lost."""
    data = pattern(20_000_000)
    async with poisoned(toxic("latency", latency=10)) as it:
        joined = await it.join()
        got = bytearray()
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await joined.server.send_all(data)
                await joined.server.send_eof()

            nursery.start_soon(send)
            await it.injected("latency")
            await it.holds(4 * 2**20)
            for toxics in CYCLE:
                await it.set(*toxics)
            for toxics in CYCLE * 3:
                got += await read_exactly(joined.client, 300_000) if toxics != CYCLE[2] else b""
                await it.set(*toxics)
            await it.set()
            with trio.fail_after(PATIENCE_S):
                while more := await joined.client.receive_some(1 << 20):
                    got += more
        assert bytes(got) == data
