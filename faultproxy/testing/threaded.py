"""A proxy for tests that block: unittest, a script, any test runner."""

from concurrent.futures import wait
from types import TracebackType
from typing import Self, Unpack

from faultproxy.events.types import ConnectionClosed
from faultproxy.testing.base import BaseProxy, no_end, no_fault
from faultproxy.testing.history import Fault
from faultproxy.testing.settings import Changes
from faultproxy.testing.waiting import wait_until

_STOP_WITHIN_S = 10.0


class Proxy(BaseProxy):
    """A proxy in a thread of its own, for any kind of program: use it in a ``with`` statement.

    It listens when the block begins. At its end open connections are reset and the thread is gone; then the rules'
    ``expect`` and ``must_fire`` are judged, unless the block has raised. It may be asked from any thread.
    """

    def start(self) -> None:
        """Listen. Raises CannotListen."""
        ready = self._runner.start()
        try:
            ready.result()
        except BaseException:
            self.stop()  # after a KeyboardInterrupt it is about to listen, and nobody else would stop it
            raise

    def stop(self) -> None:
        """Reset what is open, and return when the thread is gone. Does nothing the second time."""
        thread = self._runner.thread
        if thread is None:
            return
        if not wait([self._runner.stop()], _STOP_WITHIN_S).done:
            raise RuntimeError(f"the proxy did not stop within {_STOP_WITHIN_S:g} s")
        thread.join()

    def update(self, **changes: Unpack[Changes]) -> None:
        """Change what is given, as an edit of a file would, without closing the listener; returns when it is in force.

        Raises ConfigError, and then nothing has changed; RuntimeError if the proxy does not run, or is ending.
        """
        __tracebackhide__ = True
        self._runner.call(lambda: self._update(changes)).result()

    def wait_for(
        self, fault: str | None = None, *, rule: str | None = None, count: int = 1, timeout: float = 2.0
    ) -> Fault:
        """Block until this fault (of this rule) was injected ``count`` times since the start; the last of them.

        Raises FaultNotSeen after so many seconds.
        """
        __tracebackhide__ = True
        self._check_started()
        self._settings.check_awaited(fault, rule, count)
        found = wait_until(lambda: self._history.found(fault, rule, count), self._news, timeout)
        if found is None:
            raise no_fault(self, fault, rule, count, timeout)
        return found

    def wait_closed(self, count: int = 1, *, timeout: float = 2.0) -> tuple[ConnectionClosed, ...]:
        """Block until ``count`` connections are over; their records. Raises FaultNotSeen after so many seconds."""
        __tracebackhide__ = True
        self._check_started()
        if not wait_until(lambda: self._history.closed >= count, self._news, timeout):
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
