"""A proxy inside a test: the whole program, its log kept as data, in a thread or among a test's own trio tasks."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from difflib import get_close_matches
from signal import SIGTERM
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from faultproxy.config.loader import ConfigError, build
from faultproxy.config.schema import Config, TcpAddress
from faultproxy.daemon import CannotListen, Daemon, Overrides
from faultproxy.events.bus import Bus
from faultproxy.events.history import Fault, History
from faultproxy.events.stats import Stats
from faultproxy.events.types import ConnectionClosed as Connection
from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import Verdict
from faultproxy.lookup import lookups_over
from faultproxy.rules.rule import BaseRule

__all__ = [
    "AsyncProxy",
    "CannotListen",
    "ConfigError",
    "Connection",
    "ExpectationUnmet",
    "Fault",
    "FaultNotSeen",
    "Proxy",
]

Rules = Sequence[Mapping[str, Any]]
MustFire = bool | str | Sequence[str]

_STOP_WITHIN_S = 10.0
_LOOKUPS_OVER_WITHIN_S = 5.0
_ALL_ADDRESSES = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_T = TypeVar("_T")


class FaultNotSeen(AssertionError):
    """A fault that was waited for was not injected in time. The text says what did happen."""


class ExpectationUnmet(AssertionError):
    """A rule injected fewer or more faults than it should have. The text says which, and what did happen."""


class _BaseProxy:
    """What a proxy in a test is made of and tells, whichever way it runs."""

    def __init__(
        self,
        upstream: str,
        rules: Rules = (),
        *,
        name: str = "proxy",
        listen: str = "127.0.0.1:0",
        dial_timeout: str = "5s",
        peek_timeout: str = "1s",
        enabled: bool = True,
        seed: int = 0,
        must_fire: MustFire = False,
    ) -> None:
        """Validate, and open nothing yet.

        The arguments are those of a proxy in a file (rules as mappings). ``seed`` is 0 unless another is given, so
        that a test meets the same faults each time. ``must_fire`` names a rule or several, or says that all are
        meant, of which each must have injected a fault by the end, or would have in a dry run. Raises ConfigError.
        """
        __tracebackhide__ = True
        self._name = name
        self._seed = seed
        self._settings: dict[str, object] = {
            "listen": listen,
            "upstream": upstream,
            "dial_timeout": dial_timeout,
            "peek_timeout": peek_timeout,
            "enabled": enabled,
            "rules": rules,
        }
        self._must_fire = must_fire
        self._rules: dict[str, BaseRule] = {}
        self._address: TcpAddress | None = None
        self._crash: BaseException | None = None
        self._stats = Stats()
        self._history = History(self._stats, self._on_news)
        config = self._config({})
        self._daemon = Daemon(None, config, Overrides(), Bus(self._stats, self._history), self._stats)
        self._in_force(config, {})

    def __repr__(self) -> str:
        listen = f"at {self.address}" if self._address is not None else "not started"
        return f"<{type(self).__name__} {self._name!r} {listen}, for {self._settings['upstream']}>"

    @property
    def name(self) -> str:
        """What its connections are called after: ``proxy#1``."""
        return self._name

    @property
    def seed(self) -> int:
        """What all draws are made from."""
        return self._seed

    @property
    def host(self) -> str:
        """The host that it listens at, or this host's own address if it is all of them."""
        return _ALL_ADDRESSES.get(self._listens.host, self._listens.host)

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._listens.port

    @property
    def address(self) -> str:
        """Host and port, such as ``127.0.0.1:41234``."""
        return str(TcpAddress(self.host, self.port))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that were injected so far, in order; the last 10,000."""
        return self._history.faults

    @property
    def dry_runs(self) -> tuple[Fault, ...]:
        """The faults that dry-run rules would have injected so far; the last 10,000."""
        return self._history.dry_runs

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that are over, in the order of their ends; the last 1,000."""
        return self._history.connections

    def times(self, rule: str) -> int:
        """How often faults of a rule were injected so far. Raises ValueError for a rule that never was."""
        self._check_rule(rule)
        return self._history.count(rule=rule)

    def report(self) -> str:
        """What happened so far, for people.

        Where it listens; how many connections each rule matched, and how many faults it injected into them; the
        faults; the connections that are over.
        """
        listen = self.address if self._address is not None else self._settings["listen"]
        matched = self._daemon.matched(self._name)  # without the rules that an update has removed
        rules = ", ".join(
            f"{name!r} {f'matched {matched[name]}, ' if name in matched else ''}injected {self.times(name)}"
            for name in self._rules
        )
        head = f"{self._name}: {listen} for {self._settings['upstream']}, seed {self._seed}; rules: {rules or 'none'}"
        return "\n".join(filter(None, [head, self._history.report()]))

    def check(self) -> None:
        """Raise ExpectationUnmet if a rule's ``expect``, or ``must_fire``, does not hold at this moment."""
        __tracebackhide__ = True
        unmet = self.unmet()
        if unmet:
            raise ExpectationUnmet("\n".join([*unmet, self.report()]))

    def unmet(self) -> list[str]:
        """The rules of which ``expect`` or ``must_fire`` does not hold at this moment, each as a sentence.

        Raises RuntimeError if a bug of faultproxy's own has shown.
        """
        if self._crash is not None:
            raise RuntimeError("the proxy ended before it was told to") from self._crash
        crashes = self._history.crashes
        if crashes:
            raise RuntimeError(f"a bug in faultproxy ended {len(crashes)} connections; the first:\n{crashes[0]}")
        unmet = self._daemon.unmet()
        for name in self._that_must_fire():
            if name not in self._rules:
                unmet.append(f'{self._name}: there never was a rule "{name}", which must fire')
            elif not self.times(name) and name not in self._stats.dry_runs(self._name):
                unmet.append(f'{self._name}: "{name}" injected no fault, and must have')
        return unmet

    def _on_news(self) -> None:
        """Something has happened that the history keeps."""
        raise NotImplementedError

    async def _live(self, signals: "trio.MemoryReceiveChannel[int]", started: Callable[[], None]) -> None:
        """From start to end, no thread left behind, unless the system's resolver does not let go of one."""
        await self._daemon.run(signals, started)
        with trio.move_on_after(_LOOKUPS_OVER_WITHIN_S):
            await lookups_over()

    @property
    def _listens(self) -> TcpAddress:
        if self._address is None:
            raise RuntimeError("the proxy has not been started; use it in a with statement")
        return self._address

    def _config(self, changes: Mapping[str, object]) -> Config:
        __tracebackhide__ = True
        proxies = {self._name: {**self._settings, **changes}}
        try:
            return build({"seed": self._seed, "drain": "0s", "proxies": proxies})
        except ConfigError as error:
            above = f"proxies.{self._name}."
            raise ConfigError(tuple(line.removeprefix(above) for line in error.errors)) from None

    def _in_force(self, config: Config, changes: Mapping[str, object]) -> None:
        # A copy: what the caller does to its rules afterwards must not come into force with the next update.
        self._settings = deepcopy({**self._settings, **changes})
        rules: tuple[BaseRule, ...] = config.proxies[self._name].rules
        self._rules |= {rule.name: rule for rule in rules}

    def _started(self) -> None:
        self._address = self._daemon.addresses[self._name]

    def _that_must_fire(self) -> Iterator[str]:
        if isinstance(self._must_fire, bool):
            injecting = (rule for rule in self._rules.values() if not all(isinstance(f, Verdict) for f in rule.faults))
            yield from (rule.name for rule in injecting if self._must_fire)
        else:
            yield from [self._must_fire] if isinstance(self._must_fire, str) else self._must_fire

    def _check_rule(self, rule: str | None) -> None:
        if rule is not None and rule not in self._rules:
            there_are = f"write one of {', '.join(map(repr, self._rules))}" if self._rules else "there are no rules"
            raise ValueError(f"no rule is called {rule!r}; {there_are}")

    def _check_awaited(self, fault: str | None, rule: str | None, count: int) -> None:
        keys = [kind.key for kind in CATALOGUE]
        if fault is not None and fault not in keys:
            near = get_close_matches(fault, keys, 1) or [", ".join(keys)]
            raise ValueError(f"no fault is called {fault!r}; write {near[0]}")
        self._check_rule(rule)
        if count < 1:
            raise ValueError(f"a fault cannot be waited for {count} times; write a count of 1 or more")

    def _not_seen(self, what: str, timeout: float) -> FaultNotSeen:
        return FaultNotSeen(f"waited {timeout:g} s in vain for {what}\n{self.report()}")


class Proxy(_BaseProxy):
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
        self._stop, self._signals = trio.open_memory_channel[int](1)
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name=f"faultproxy {self._name}", daemon=True)
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
        """Reset what is open, and end the thread. Does nothing the second time."""
        if self._thread is None or not self._thread.is_alive():
            return
        with suppress(trio.RunFinishedError, trio.WouldBlock):  # it is about to end already
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

        Raises ConfigError, and then nothing has changed.
        """
        __tracebackhide__ = True
        changes = _given(
            rules=rules,
            upstream=upstream,
            enabled=enabled,
            dial_timeout=dial_timeout,
            peek_timeout=peek_timeout,
        )
        config = self._config(changes)
        self._call(self._daemon.apply, config)
        self._in_force(config, changes)

    def wait_for(
        self, fault: str | None = None, *, rule: str | None = None, count: int = 1, timeout: float = 2.0
    ) -> Fault:
        """Block until this fault (of this rule) was injected ``count`` times since the start; the last of them.

        Raises FaultNotSeen after so many seconds.
        """
        __tracebackhide__ = True
        self._check_awaited(fault, rule, count)
        found = self._wait(lambda: self._history.found(fault, rule, count), timeout)
        if found is None:
            raise self._not_seen(_what(fault, rule, count), timeout)
        return found

    def wait_closed(self, count: int = 1, *, timeout: float = 2.0) -> tuple[Connection, ...]:
        """Block until ``count`` connections are over; their records. Raises FaultNotSeen after so many seconds."""
        __tracebackhide__ = True
        if not self._wait(lambda: self._history.closed >= count, timeout):
            raise self._not_seen(_end_of(count), timeout)
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

        def tell() -> None:
            self._started()
            ready.set_result(None)

        await self._live(self._signals, tell)

    def _call(self, function: Callable[[_T], Awaitable[None]], argument: _T) -> None:
        """Call an async function in the proxy's thread, and wait for it."""
        done: Future[None] = Future()

        async def call() -> None:
            try:
                await function(argument)
            except Exception as error:  # noqa: BLE001  # raised again in the thread that called
                done.set_exception(error)
            else:
                done.set_result(None)

        if self._thread is None or not self._thread.is_alive():
            raise RuntimeError("the proxy is not running")
        self._token.run_sync_soon(trio.lowlevel.spawn_system_task, call)
        done.result(_STOP_WITHIN_S)

    def _on_news(self) -> None:
        with self._news:
            self._news.notify_all()

    def _wait(self, look: Callable[[], _T], timeout: float) -> _T:
        if self._thread is None:
            raise RuntimeError("the proxy is not running")
        with self._news:
            return self._news.wait_for(look, timeout)


class AsyncProxy(_BaseProxy):
    """A proxy among the trio tasks of the test itself: use it in an ``async with`` statement.

    As Proxy does, it listens when the block begins, and judges the rules at its end. What the block raises comes out
    as it is, in no group.
    """

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

        Raises ConfigError, and then nothing has changed.
        """
        __tracebackhide__ = True
        changes = _given(
            rules=rules,
            upstream=upstream,
            enabled=enabled,
            dial_timeout=dial_timeout,
            peek_timeout=peek_timeout,
        )
        config = self._config(changes)
        if self._address is None or self._ended.is_set():
            raise RuntimeError("the proxy is not running")
        await self._daemon.apply(config)
        self._in_force(config, changes)

    async def wait_for(
        self, fault: str | None = None, *, rule: str | None = None, count: int = 1, timeout: float = 2.0
    ) -> Fault:
        """Wait until this fault (of this rule) was injected ``count`` times since the start; the last of them.

        Raises FaultNotSeen after so many seconds.
        """
        __tracebackhide__ = True
        self._check_awaited(fault, rule, count)
        found = await self._wait(lambda: self._history.found(fault, rule, count), timeout)
        if found is None:
            raise self._not_seen(_what(fault, rule, count), timeout)
        return found

    async def wait_closed(self, count: int = 1, *, timeout: float = 2.0) -> tuple[Connection, ...]:
        """Wait until ``count`` connections are over; their records. Raises FaultNotSeen after so many seconds."""
        __tracebackhide__ = True
        if not await self._wait(lambda: self._history.closed >= count, timeout):
            raise self._not_seen(_end_of(count), timeout)
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
                stop.send_nowait(SIGTERM)  # also when the start was cancelled, which the proxy is shielded from
            with trio.CancelScope(shield=True):
                await self._ended.wait()
                while nursery.child_tasks:
                    await trio.lowlevel.checkpoint()

    async def _serve(self, signals: "trio.MemoryReceiveChannel[int]", ready: trio.Event) -> None:
        def tell() -> None:
            self._started()
            ready.set()

        try:
            with trio.CancelScope(shield=True):
                await self._live(signals, tell)
        except Exception as error:  # noqa: BLE001  # raised again where the block begins or ends
            self._crash = error
        finally:
            ready.set()
            self._ended.set()

    def _on_news(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    async def _wait(self, look: Callable[[], _T], timeout: float) -> _T:
        if self._address is None:
            raise RuntimeError("the proxy is not running")
        with trio.move_on_after(timeout):
            while not look():
                await self._news.wait()
        return look()


def _given(**changes: object) -> dict[str, object]:
    return {key: value for key, value in changes.items() if value is not None}


def _what(fault: str | None, rule: str | None, count: int) -> str:
    of_rule = f" of {rule!r}" if rule is not None else ""
    return f"{fault or 'a fault'}{of_rule} to be injected{f' {count} times' if count > 1 else ''}"


def _end_of(count: int) -> str:
    return f"{count} connections to be over" if count > 1 else "a connection to be over"
