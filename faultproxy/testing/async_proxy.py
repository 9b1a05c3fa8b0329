"""A proxy for tests that run an event loop: asyncio, trio, and anyio on either."""

from types import TracebackType
from typing import Self, Unpack

from faultproxy.events.types import ConnectionClosed
from faultproxy.testing.base import BaseProxy, no_end, no_fault
from faultproxy.testing.history import Fault
from faultproxy.testing.settings import Changes
from faultproxy.testing.waiting import check_loop, finished, wait_until_async


class AsyncProxy(BaseProxy):
    """A proxy in a thread of its own that is awaited, in asyncio, trio and anyio: use it in ``async with``.

    As Proxy does, it listens when the block begins, and judges the rules at its end. Nothing blocks the event loop.
    """

    async def update(self, **changes: Unpack[Changes]) -> None:
        """Change what is given, as an edit of a file would, without closing the listener; returns when it is in force.

        Raises ConfigError, and then nothing has changed; RuntimeError if the proxy does not run, or is ending. What is
        cancelled waits for the edit all the same.
        """
        __tracebackhide__ = True
        await finished(self._runner.call(lambda: self._update(changes)))

    async def wait_for(
        self, fault: str | None = None, *, rule: str | None = None, count: int = 1, timeout: float = 2.0
    ) -> Fault:
        """Wait until this fault (of this rule) was injected ``count`` times since the start; the last of them.

        Raises FaultNotSeen after so many seconds.
        """
        __tracebackhide__ = True
        self._check_started()
        self._settings.check_awaited(fault, rule, count)
        found = await wait_until_async(lambda: self._history.found(fault, rule, count), self._news, timeout)
        if found is None:
            raise no_fault(self, fault, rule, count, timeout)
        return found

    async def wait_closed(self, count: int = 1, *, timeout: float = 2.0) -> tuple[ConnectionClosed, ...]:
        """Wait until ``count`` connections are over; their records. Raises FaultNotSeen after so many seconds."""
        __tracebackhide__ = True
        self._check_started()
        if not await wait_until_async(lambda: self._history.closed >= count, self._news, timeout):
            raise no_end(self, count, timeout)
        return self.connections

    async def __aenter__(self) -> Self:
        await check_loop()
        ready = self._runner.start()
        try:
            await finished(ready)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        await self._stop()
        if error is None:
            self.check()

    async def _stop(self) -> None:
        """Reset what is open, and return when the thread is gone, whatever is cancelled meanwhile."""
        thread = self._runner.thread
        await finished(self._runner.stop())
        if thread is not None:
            thread.join()
