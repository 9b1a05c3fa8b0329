"""The thread in which the proxy of a test runs, and how it gets its commands."""

import math
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from signal import SIGTERM

import trio

from faultproxy import daemon
from faultproxy.addresses import Address
from faultproxy.control.manager import Manager
from faultproxy.events.stats import Stats
from faultproxy.upstream.resolver import lookups_over

NOT_RUNNING = "the proxy is not running"
_LOOKUPS_OVER_WITHIN_S = 5.0
_Call = Callable[[], Awaitable[None]]


class Runner:
    """Runs a manager's proxies in a thread of its own. Its methods may be called from any thread; they return futures.

    ``thread`` is None until it was started. ``addresses`` are where the proxies listen, ``crash`` is what has ended the
    thread if nobody had asked for its end.
    """

    def __init__(self, name: str, manager: Manager, stats: Stats) -> None:
        self.thread: threading.Thread | None = None
        self.addresses: dict[str, Address] = {}
        self.crash: BaseException | None = None
        self._name = name
        self._manager = manager
        self._stats = stats
        self._token: trio.lowlevel.TrioToken | None = None
        self._ready: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._calls: set[Future[None]] = set()

    def start(self) -> "Future[None]":
        """Listen. Done when clients may come; fails with CannotListen."""
        if self.thread is not None:
            raise RuntimeError("a proxy is started once; make another")
        thread = threading.Thread(target=self._run, name=f"faultproxy {self._name}", daemon=True)
        thread.start()
        self.thread = thread
        return self._ready

    def stop(self) -> "Future[None]":
        """Reset what is open, once it has started and calls are over. Done when the thread has nothing more to do."""
        self._ready.add_done_callback(lambda _: self._put(None))
        return self._ended

    def call(self, function: _Call) -> "Future[None]":
        """Call an async function in the thread, after those before it. Fails with RuntimeError if it ends before."""
        done: Future[None] = Future()

        async def call() -> None:
            try:
                await function()
            except Exception as error:  # noqa: BLE001  # raised again where it is waited for
                done.set_exception(error)
            else:
                done.set_result(None)

        self._calls.add(done)  # the end of the thread fails those that it has overtaken
        done.add_done_callback(self._calls.discard)
        if not self._put(call):
            _fail(done)
        return done

    def _put(self, call: _Call | None) -> bool:
        """Have the thread call it, or end; whether it runs."""
        with suppress(trio.RunFinishedError):
            if self._token is not None:
                self._token.run_sync_soon(self._send.send_nowait, call)
                return True
        return False

    async def _work(self, calls: "trio.MemoryReceiveChannel[_Call | None]", stop: Callable[[int], None]) -> None:
        """Do what comes, one after the other, up to the end."""
        while (call := await calls.receive()) is not None:
            await call()
        stop(SIGTERM)

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that is to know
            if self._ready.done():
                self.crash = error
            else:
                self._ready.set_exception(error)
        for call in tuple(self._calls):
            _fail(call)
        self._ended.set_result(None)

    async def _serve(self) -> None:
        """From start to end, no thread left behind, unless the system's resolver does not let go of one."""
        stop, signals = trio.open_memory_channel[int](1)
        self._send, calls = trio.open_memory_channel[_Call | None](math.inf)
        self._token = trio.lowlevel.current_trio_token()
        trio.lowlevel.spawn_system_task(self._work, calls, stop.send_nowait)
        await daemon.run(self._manager, self._stats, signals, ready=self._started)
        with trio.move_on_after(_LOOKUPS_OVER_WITHIN_S):
            await lookups_over()

    def _started(self) -> None:
        self.addresses = self._manager.addresses
        self._ready.set_result(None)


def _fail(call: "Future[None]") -> None:
    with suppress(InvalidStateError):  # the thread ends, and whoever calls has seen that too
        call.set_exception(RuntimeError(NOT_RUNNING))
