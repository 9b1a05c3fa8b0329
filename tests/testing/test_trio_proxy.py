"""A proxy among the tasks of a trio program: as the one in a thread, but awaited."""

from collections.abc import Awaitable, Callable

import pytest
import trio

import faultproxy
from tests.peers import PATIENCE_S, nobody
from tests.testing.clients import REFUSE, RESET, assert_nothing_left, left_behind


async def open_client(proxy: faultproxy.AsyncProxy) -> trio.SocketStream:
    return await trio.open_tcp_stream(proxy.host, proxy.port)


async def test_an_async_proxy(server: str) -> None:
    """It strikes, tells and waits as the other does, in the test's own loop, and leaves no descriptor."""
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
    """Also where the listener must be shut or opened for it."""
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
    """It is told, as the other proxy tells it."""
    proxy = faultproxy.AsyncProxy(server)
    for ask_it in (proxy.wait_for, proxy.wait_closed, proxy.update):
        with pytest.raises(RuntimeError, match="the proxy is not running"):
            await ask_it()
    async with proxy:
        pass
    with pytest.raises(RuntimeError, match="the proxy is not running"):
        await proxy.update(rules=[])


async def test_an_async_proxy_cannot_listen(server: str) -> None:
    """It is told where the block begins."""
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


async def test_an_async_update_that_meets_the_end_is_told_so(server: str) -> None:
    """It never edits what is being taken down."""

    async def update(proxy: faultproxy.AsyncProxy) -> None:
        while True:
            await proxy.update(rules=[RESET])

    async with trio.open_nursery() as nursery, faultproxy.AsyncProxy(server) as proxy:
        nursery.start_soon(told, update, proxy)
        await trio.sleep(0.01)


async def told(update: Callable[[faultproxy.AsyncProxy], Awaitable[None]], proxy: faultproxy.AsyncProxy) -> None:
    with pytest.raises(RuntimeError, match=r"^the proxy is not running$"):
        await update(proxy)
