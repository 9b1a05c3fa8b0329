"""Where the task of a connection sleeps."""

import trio

from faultproxy.relay import Poller


class Sleeper:
    """One task's place to sleep until something has happened. ``scope`` is what the task runs in."""

    __slots__ = ("_is_woken", "_poller", "_task", "scope")

    def __init__(self, poller: Poller) -> None:
        self.scope = trio.CancelScope()
        self._poller = poller
        self._task: trio.lowlevel.Task | None = None
        self._is_woken = False

    async def sleep(self, until: float) -> None:
        """Until wake() is called, or was since the last sleep; or until then, at a moment of trio.current_time()."""
        if self._is_woken:
            self._is_woken = False
            return

        def forget(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        with trio.CancelScope(deadline=until):
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(forget)
        self._is_woken = False

    def wake(self) -> None:
        """Have the task look again, soon."""
        self._is_woken = True
        self._poller.yield_soon = True
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)
