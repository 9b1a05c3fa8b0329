"""A proxy in a thread of its own, for tests of any kind."""

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from signal import SIGTERM
from types import TracebackType
from typing import Self, TypeVar

import trio

from faultproxy.config.schema import Config
from faultproxy.events.history import Fault
from faultproxy.events.types import ConnectionClosed
from faultproxy.testing.base import NOT_RUNNING, BaseProxy, Rules, no_end, no_fault
from faultproxy.testing.settings import given

_STOP_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.1
_T = TypeVar("_T")


class Proxy(BaseProxy):
    """A proxy in a thread of its own, for any kind of program: use it in a ``with`` statement.

    It listens when the block begins. At its end open connections are reset and the thread is gone; then the rules'
    ``expect`` and ``must_fire`` are judged, unless the block has raised. It may be asked from any thread.
    """

    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. Raises CannotListen."""
        if self._thread is not None:
            raise RuntimeError("a proxy is started once; make another")
        self._news = threading.Condition()
        self._turn = threading.RLock()  # who has it starts, updates or begins to stop the proxy; nobody else does then
        self._is_ending = False
        self._stop, self._signals = trio.open_memory_channel[int](1)
        ready: Future[None] = Future()
        with self._turn:
            self._thread = threading.Thread(
                target=self._run, args=(ready,), name=f"faultproxy {self.name}", daemon=True
            )
            try:
                self._thread.start()
                ready.result()
            except BaseException:
                # It cannot listen; or it is about to, after a KeyboardInterrupt, and nobody else would stop it.
                if wait([ready], _STOP_WITHIN_S).done and ready.exception() is None:
                    self.stop()
                self._thread.join(_STOP_WITHIN_S)
                raise

    def stop(self) -> None:
        """Reset what is open, and return when the thread is gone. Does nothing the second time."""
        if self._thread is None:
            return
        with self._turn:
            if not self._is_ending and self._thread.is_alive():
                self._is_ending = True
                with suppress(trio.RunFinishedError):  # it has ended by itself
                    self._token.run_sync_soon(self._stop.send_nowait, SIGTERM)
        self._thread.join(_STOP_WITHIN_S)
        if self._thread.is_alive():
            raise RuntimeError(f"the proxy did not stop within {_STOP_WITHIN_S:g} s")

    def update(
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
        if self._thread is None:
            raise RuntimeError(NOT_RUNNING)
        changes = given(
            rules=rules,
            upstream=upstream,
            enabled=enabled,
            dial_timeout=dial_timeout,
            peek_timeout=peek_timeout,
        )
        with self._turn:
            config = self._settings.config(changes)
            self._call(self._thread, self._apply, config)
            self._settings.adopt(config, changes)

    def wait_for(
        self, fault: str | None = None, *, rule: str | None = None, count: int = 1, timeout: float = 2.0
    ) -> Fault:
        """Block until this fault (of this rule) was injected ``count`` times since the start; the last of them.

        Raises FaultNotSeen after so many seconds.
        """
        __tracebackhide__ = True
        self._settings.check_awaited(fault, rule, count)
        found = self._wait(lambda: self._history.found(fault, rule, count), timeout)
        if found is None:
            raise no_fault(self, fault, rule, count, timeout)
        return found

    def wait_closed(self, count: int = 1, *, timeout: float = 2.0) -> tuple[ConnectionClosed, ...]:
        """Block until ``count`` connections are over; their records. Raises FaultNotSeen after so many seconds."""
        __tracebackhide__ = True
        if not self._wait(lambda: self._history.closed >= count, timeout):
            raise no_end(self, count, timeout)
        return self.connections

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        __tracebackhide__ = True
        self.stop()
        if error is None:
            self.check()

    def _run(self, ready: "Future[None]") -> None:
        try:
            trio.run(self._serve, ready)
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that is to know
            if ready.done():
                self._crash = error
            else:
                ready.set_exception(error)

    async def _serve(self, ready: "Future[None]") -> None:
        self._token = trio.lowlevel.current_trio_token()
        await self._live(self._signals, lambda: ready.set_result(None))

    def _call(self, thread: threading.Thread, function: Callable[[Config], Awaitable[None]], config: Config) -> None:
        """Call an async function in the proxy's thread, and wait for it. The caller has the turn: nobody stops it."""
        done: Future[None] = Future()

        async def call() -> None:
            try:
                await function(config)
            except BaseException as error:
                is_over = not isinstance(error, Exception)  # a crash of the proxy cancels it
                done.set_exception(RuntimeError(NOT_RUNNING) if is_over else error)
                if is_over:
                    raise
            else:
                done.set_result(None)

        if self._is_ending or not thread.is_alive():
            raise RuntimeError(NOT_RUNNING)
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(trio.lowlevel.spawn_system_task, call)
        while not wait([done], _LOOK_EVERY_S).done:
            if not thread.is_alive() and not done.done():
                raise RuntimeError(NOT_RUNNING)
        done.result()

    def _on_news(self) -> None:
        with self._news:
            self._news.notify_all()

    def _wait(self, look: Callable[[], _T], timeout: float) -> _T:
        if self._thread is None:
            raise RuntimeError(NOT_RUNNING)
        with self._news:
            return self._news.wait_for(look, timeout)
