"""A proxy among the tasks of a test that runs trio itself."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from signal import SIGTERM
from types import TracebackType
from typing import Self, TypeVar

import trio

from faultproxy.events.history import Fault
from faultproxy.events.types import ConnectionClosed
from faultproxy.testing.base import NOT_RUNNING, BaseProxy, Rules, no_end, no_fault
from faultproxy.testing.settings import given

_T = TypeVar("_T")


class AsyncProxy(BaseProxy):
    """A proxy among the trio tasks of the test itself: use it in an ``async with`` statement.

    As Proxy does, it listens when the block begins, and judges the rules at its end. What the block raises comes out
    as it is, in no group.
    """

    _is_running = False

    async def update(
        self,
        *,
        rules: Rules | None = None,
        upstream: str | None = None,
        enabled: bool | None = None,
        dial_timeout: str | None = None,
        peek_timeout: str | None = None,
    ) -> None:
        """Change what is given, as an edit of a file would, without closing the listener; returns when it is in force.

        Raises ConfigError, and then nothing has changed; RuntimeError if the proxy does not run, or is ending.
        """
        __tracebackhide__ = True
        changes = given(
            rules=rules,
            upstream=upstream,
            enabled=enabled,
            dial_timeout=dial_timeout,
            peek_timeout=peek_timeout,
        )
        config = self._settings.config(changes)
        if not self._is_running:
            raise RuntimeError(NOT_RUNNING)
        await self._apply(config)
        self._settings.adopt(config, changes)

    async def wait_for(
        self, fault: str | None = None, *, rule: str | None = None, count: int = 1, timeout: float = 2.0
    ) -> Fault:
        """Wait until this fault (of this rule) was injected ``count`` times since the start; the last of them.

        Raises FaultNotSeen after so many seconds.
        """
        __tracebackhide__ = True
        self._settings.check_awaited(fault, rule, count)
        found = await self._wait(lambda: self._history.found(fault, rule, count), timeout)
        if found is None:
            raise no_fault(self, fault, rule, count, timeout)
        return found

    async def wait_closed(self, count: int = 1, *, timeout: float = 2.0) -> tuple[ConnectionClosed, ...]:
        """Wait until ``count`` connections are over; their records. Raises FaultNotSeen after so many seconds."""
        __tracebackhide__ = True
        if not await self._wait(lambda: self._history.closed >= count, timeout):
            raise no_end(self, count, timeout)
        return self.connections

    async def __aenter__(self) -> Self:
        if self._address is not None:
            raise RuntimeError("a proxy is started once; make another")
        self._news = trio.Event()
        self._ended = trio.Event()
        self._running = self._run()
        await self._running.__aenter__()
        if self._crash is not None:
            await self._running.__aexit__(None, None, None)
            raise self._crash
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        # What the block raised never passes through the nursery, which would put it into a group.
        await self._running.__aexit__(None, None, None)
        if error is None:
            self.check()

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        stop, signals = trio.open_memory_channel[int](1)
        ready = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, signals, ready)
            try:
                await ready.wait()
                yield
            finally:
                self._is_running = False
                stop.send_nowait(SIGTERM)  # also when the start was cancelled, which the proxy is shielded from
            with trio.CancelScope(shield=True):
                await self._ended.wait()
                while nursery.child_tasks:
                    await trio.lowlevel.checkpoint()

    async def _serve(self, signals: "trio.MemoryReceiveChannel[int]", ready: trio.Event) -> None:
        def started() -> None:
            self._is_running = True
            ready.set()

        try:
            with trio.CancelScope(shield=True):
                await self._live(signals, started)
        except Exception as error:  # noqa: BLE001  # raised again where the block begins or ends
            self._crash = error
        finally:
            self._is_running = False
            ready.set()
            self._ended.set()

    def _on_news(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    async def _wait(self, look: Callable[[], _T], timeout: float) -> _T:
        if self._address is None:
            raise RuntimeError(NOT_RUNNING)
        with trio.move_on_after(timeout):
            while not look():
                await self._news.wait()
        return look()
