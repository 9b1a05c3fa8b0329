"""Waiting for what happens in another thread: blocking, in trio and in asyncio."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from time import monotonic

import pytest
import trio

from faultproxy.testing.waiting import News, check_loop, finished, wait_until, wait_until_async
from tests.peers import PATIENCE_S


def in_trio(test: Callable[[], Awaitable[None]]) -> None:
    trio.run(test)


def in_asyncio(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


LOOPS = pytest.mark.parametrize("run", [in_trio, in_asyncio])


class Counted:
    """Something that another thread counts to, and says so."""

    def __init__(self, most: int) -> None:
        self.news = News()
        self.count = 0
        self.most = most
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for _ in range(self.most):
            self.count += 1
            self.news.publish()


def test_blocking() -> None:
    """It returns what was looked for as soon as it is there, and what was seen last when time is up."""
    counted = Counted(1000)
    assert wait_until(lambda: counted.count == counted.most, counted.news, PATIENCE_S)
    assert not wait_until(lambda: counted.count > counted.most, counted.news, 0.01)
    counted.thread.join()


@LOOPS
def test_awaiting(run: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
    """The same in an event loop."""

    async def test() -> None:
        counted = Counted(1000)
        assert await wait_until_async(lambda: counted.count == counted.most, counted.news, PATIENCE_S)
        assert not await wait_until_async(lambda: counted.count > counted.most, counted.news, 0.01)
        counted.thread.join()

    run(test)


@LOOPS
def test_a_future_of_another_thread(run: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
    """Its end is waited for, and what it raises is raised."""

    async def test() -> None:
        future: Future[None] = Future()
        timer = threading.Timer(0.01, future.set_exception, [KeyError("it")])
        timer.start()
        with pytest.raises(KeyError):
            await finished(future)
        timer.join()

    run(test)


async def test_a_cancelled_wait_for_a_future_in_trio() -> None:
    """It waits for its end all the same."""
    future: Future[None] = Future()
    timer = threading.Timer(0.05, future.set_result, [None])
    timer.start()
    with trio.move_on_after(0.01):
        await finished(future)
    assert future.done()
    timer.join()


def test_a_cancelled_wait_for_a_future_in_asyncio() -> None:
    """It waits for its end all the same, and is cancelled then."""

    async def main() -> None:
        future: Future[None] = Future()
        timer = threading.Timer(0.05, future.set_result, [None])
        timer.start()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await finished(future)
        assert future.done()
        timer.join()

    asyncio.run(main())


def test_a_cancelled_wait_is_over_at_once() -> None:
    """Nobody listens any more."""
    news = News()

    async def main() -> None:
        began = monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await wait_until_async(lambda: False, news, PATIENCE_S)
        assert monotonic() - began < PATIENCE_S / 2

    asyncio.run(main())
    news.publish()  # the loop is closed; nobody is called


def test_without_a_loop() -> None:
    """The error says what to use."""
    with pytest.raises(RuntimeError, match=r"for asyncio, trio and anyio.*faultproxy\.Proxy is for everything else"):
        check_loop().send(None)
