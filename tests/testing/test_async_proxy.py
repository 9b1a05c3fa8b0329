"""A proxy that is awaited: in trio, in asyncio, and in anyio on either."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import trio

import faultproxy
from tests.peers import PATIENCE_S, nobody
from tests.testing.clients import REFUSE, RESET, assert_nothing_left, left_behind


async def open_client(proxy: faultproxy.AsyncProxy) -> trio.SocketStream:
    return await trio.open_tcp_stream(proxy.host, proxy.port)


async def test_an_async_proxy(server: str) -> None:
    """It injects, reports and waits as the other does, and leaves no descriptor."""
    before = left_behind()
    async with faultproxy.AsyncProxy(server, [{"name": "cut", "reset": {"after": "1B"}}], must_fire=True) as proxy:
        async with await open_client(proxy) as client:
            await client.send_all(b"hi")
            assert await client.receive_some(2) == b"h"
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some(1)
        fault = await proxy.wait_for("reset", timeout=PATIENCE_S)
        assert (fault.bytes_upstream, fault.bytes_downstream) == (2, 1)
        await proxy.update(rules=[])
        async with await open_client(proxy) as client:
            await client.send_all(b"hi")
            assert await client.receive_some(2) == b"hi"
        records = await proxy.wait_closed(2, timeout=PATIENCE_S)
        assert {record.connection: record.ended_by for record in records} == {"proxy#1": "fault", "proxy#2": "client"}
    assert_nothing_left(before)


async def test_an_async_update_is_in_force_when_it_returns(server: str) -> None:
    """Also where the listener must be closed or opened for it."""
    async with faultproxy.AsyncProxy(server) as proxy:
        for _ in range(10):
            await proxy.update(rules=[REFUSE])
            with pytest.raises(OSError, match=r"refused|attempts"):
                await open_client(proxy)
            await proxy.update(rules=[])
            await (await open_client(proxy)).aclose()


async def test_an_async_wait_in_vain(server: str) -> None:
    """It says what did happen."""
    async with faultproxy.AsyncProxy(server, [RESET]) as proxy:
        with pytest.raises(
            faultproxy.FaultNotSeen, match=r"^waited 0\.01 s in vain for reset of 'cut' to be injected\n"
        ):
            await proxy.wait_for("reset", rule="cut", timeout=0.01)
        with pytest.raises(faultproxy.FaultNotSeen, match="in vain for 2 connections to be over"):
            await proxy.wait_closed(2, timeout=0.01)


async def test_an_async_block_raises_what_it_raises(server: str) -> None:
    """No group is put around it, and the proxy is gone."""
    with pytest.raises(KeyError):
        async with faultproxy.AsyncProxy(server) as proxy:
            raise KeyError
    with pytest.raises(OSError, match=r"refused|attempts"):
        await open_client(proxy)


async def test_an_async_block_can_be_cancelled(server: str) -> None:
    """A timeout around the block ends it, and the proxy with it."""
    with trio.move_on_after(0.02) as scope:
        async with faultproxy.AsyncProxy(server) as proxy:
            await trio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(OSError, match=r"refused|attempts"):
        await open_client(proxy)


async def test_an_async_block_can_be_cancelled_before_it_begins(server: str) -> None:
    """A timeout that is over already ends the start, and the proxy with it."""
    before = left_behind()
    with trio.move_on_after(0) as scope:
        async with faultproxy.AsyncProxy(server):
            raise AssertionError("it began")
    assert scope.cancelled_caught
    assert_nothing_left(before)


async def test_an_async_proxy_that_does_not_run(server: str) -> None:
    """It is reported, as the other proxy reports it."""
    proxy = faultproxy.AsyncProxy(server)
    for ask_it in (proxy.wait_for, proxy.wait_closed, proxy.update):
        with pytest.raises(RuntimeError, match="the proxy is not running"):
            await ask_it()
    async with proxy:
        pass
    with pytest.raises(RuntimeError, match="the proxy is not running"):
        await proxy.update(rules=[])


async def test_an_async_proxy_cannot_listen(server: str) -> None:
    """It is reported where the block begins."""
    with nobody() as taken, pytest.raises(faultproxy.CannotListen, match="Address already in use"):
        async with faultproxy.AsyncProxy(server, listen=taken):
            pass


async def test_an_async_proxy_judges_its_rules(server: str) -> None:
    """expect and must_fire fail the test at the end of the block."""
    with pytest.raises(faultproxy.ExpectationUnmet, match="expected at least 1"):
        async with faultproxy.AsyncProxy(server, [{**RESET, "expect": {"min": 1}}]):
            pass
    with pytest.raises(faultproxy.ExpectationUnmet, match="injected no fault"):
        async with faultproxy.AsyncProxy(server, [RESET], must_fire=True):
            pass


async def test_an_async_update_during_the_end_gets_the_error(server: str) -> None:
    """It never edits what is being taken down."""

    async def update(proxy: faultproxy.AsyncProxy) -> None:
        while True:
            await proxy.update(rules=[RESET])

    async with trio.open_nursery() as nursery, faultproxy.AsyncProxy(server) as proxy:
        nursery.start_soon(reported, update, proxy)
        await trio.sleep(0.01)


async def reported(update: Callable[[faultproxy.AsyncProxy], Awaitable[None]], proxy: faultproxy.AsyncProxy) -> None:
    with pytest.raises(RuntimeError, match=r"^the proxy is not running$"):
        await update(proxy)


def test_in_asyncio(server: str) -> None:
    """The same in asyncio; while it is waited for, the loop goes on."""

    async def main() -> None:
        async with faultproxy.AsyncProxy(server, [{"name": "cut", "reset": {"after": "1B"}}], must_fire=True) as proxy:
            waiting = asyncio.create_task(proxy.wait_for("reset", timeout=PATIENCE_S))
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            writer.write(b"hi")
            assert await reader.read(1) == b"h"
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            writer.close()
            assert (await waiting).client_sees == "ECONNRESET"
            await proxy.update(rules=[])
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            writer.write(b"hi")
            assert await reader.readexactly(2) == b"hi"
            writer.close()
            await writer.wait_closed()
            assert len(await proxy.wait_closed(2, timeout=PATIENCE_S)) == 2
            with pytest.raises(faultproxy.FaultNotSeen, match="in vain for reset to be injected 2 times"):
                await proxy.wait_for("reset", count=2, timeout=0.01)

    before = left_behind()
    asyncio.run(main())
    assert_nothing_left(before)


def test_an_asyncio_block_can_be_cancelled(server: str) -> None:
    """A timeout around the block, or around its start, ends the proxy too; so does a task's cancellation."""

    async def use(proxy: faultproxy.AsyncProxy) -> None:
        async with proxy:
            await asyncio.Event().wait()

    async def main() -> None:
        for timeout_s in (0, 0.001, 0.05):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(use(faultproxy.AsyncProxy(server)), timeout_s)
        task = asyncio.create_task(use(faultproxy.AsyncProxy(server)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = left_behind()
    asyncio.run(main())
    assert_nothing_left(before)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_anyio(server: str, backend: str) -> None:
    """Also where anyio cancels again and again, until the block is over."""
    anyio = pytest.importorskip("anyio", reason="anyio is not installed")

    async def main() -> None:
        async with faultproxy.AsyncProxy(server, [{"name": "cut", "reset": {"after": "1B"}}]) as proxy:
            async with await anyio.connect_tcp(proxy.host, proxy.port) as stream:
                await stream.send(b"hi")
                assert await stream.receive() == b"h"
                with pytest.raises(anyio.BrokenResourceError):
                    await stream.receive()
            await proxy.wait_for("reset", timeout=PATIENCE_S)
        with anyio.move_on_after(0.05) as scope:
            async with faultproxy.AsyncProxy(server):
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with faultproxy.AsyncProxy(server):
                await anyio.sleep(0)
                raise AssertionError("it went on")

    before = left_behind()
    anyio.run(main, backend=backend)
    assert_nothing_left(before)


def test_without_a_loop(server: str) -> None:
    """The error says what to use instead, and no thread is started."""
    before = left_behind()
    with pytest.raises(RuntimeError, match=r"faultproxy\.Proxy is for everything else"):
        faultproxy.AsyncProxy(server).__aenter__().send(None)
    assert_nothing_left(before)
