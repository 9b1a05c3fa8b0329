"""How a program waits for what happens in the proxy's thread: blocking, or in the event loop that it runs."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Protocol, TypeVar

import trio

_T = TypeVar("_T")
_NO_LOOP = (
    "AsyncProxy is for asyncio, trio and anyio, and none of them runs here; faultproxy.Proxy is for everything else"
)


class News:
    """Calls those who listen, in the thread of whoever publishes, when something has happened."""

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[], object], ...] = ()
        self._lock = threading.Lock()

    def publish(self) -> None:
        """Something has happened."""
        for listener in self._listeners:
            listener()

    @contextmanager
    def heard_by(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call the listener each time within the block."""
        with self._lock:
            self._listeners += (listener,)
        try:
            yield
        finally:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not listener)


class Waiter(Protocol):
    """Waits in a task of one event loop for a wake() from any thread."""

    def wake(self) -> None: ...

    async def wait(self, timeout_s: float) -> None: ...

    async def wait_uncancelled(self) -> None: ...


class TrioWaiter:
    """A Waiter for trio."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._event = trio.Event()

    def wake(self) -> None:
        """End a wait, this one or the next."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        """Return at a wake(), or after so many seconds."""
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        self._event = trio.Event()

    async def wait_uncancelled(self) -> None:
        """Return at a wake(), whatever is cancelled meanwhile."""
        with trio.CancelScope(shield=True):
            await self._event.wait()


class AsyncioWaiter:
    """A Waiter for asyncio, and so for anyio on it. Raises RuntimeError where that does not run."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        """End a wait, this one or the next."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        """Return at a wake(), or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        self._event.clear()

    async def wait_uncancelled(self) -> None:
        """Return at a wake(); a cancellation that comes meanwhile is raised then."""
        cancelled: asyncio.CancelledError | None = None
        while not self._event.is_set():
            try:
                await self._event.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


def wait_until(look: Callable[[], _T], news: News, timeout_s: float) -> _T:
    """Block until look() returns something true, or for so long; what it returned last."""
    changed = threading.Event()
    deadline = monotonic() + timeout_s
    with news.heard_by(changed.set):
        while not (seen := look()) and (left := deadline - monotonic()) > 0:
            changed.wait(left)
            changed.clear()
    return seen


async def wait_until_async(look: Callable[[], _T], news: News, timeout_s: float) -> _T:
    """The same for a task of the event loop that runs."""
    waiter = _waiter()
    deadline = monotonic() + timeout_s
    with news.heard_by(waiter.wake):
        while not (seen := look()) and (left := deadline - monotonic()) > 0:
            await waiter.wait(left)
    return seen


async def check_loop() -> None:
    """Raise RuntimeError where no event loop runs that can wait; in trio also Cancelled, if that is due."""
    _waiter()
    if _in_trio():
        await trio.lowlevel.checkpoint_if_cancelled()


async def finished(future: "Future[None]") -> None:
    """Wait until it is done, whatever is cancelled meanwhile; raises what it raises."""
    waiter = _waiter()
    future.add_done_callback(lambda _: waiter.wake())
    await waiter.wait_uncancelled()
    future.result()


def _waiter() -> Waiter:
    if _in_trio():
        return TrioWaiter()
    try:
        return AsyncioWaiter()
    except RuntimeError:
        raise RuntimeError(_NO_LOOP) from None


def _in_trio() -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True
