"""The proxy's thread: started, given commands, stopped, interrupted, and ended by a bug."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic, sleep

import pytest
import trio

import faultproxy
from faultproxy import daemon
from faultproxy.testing import runner
from tests.peers import PATIENCE_S
from tests.testing.clients import RESET, assert_nothing_left, left_behind


def test_nothing_is_left_behind_by_an_interrupted_start(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it is waited for: there is no block yet whose end would stop it."""

    class Interrupted(Future[None]):
        def result(self, timeout: float | None = None) -> None:
            raise KeyboardInterrupt

    before = left_behind()
    monkeypatch.setattr(runner, "Future", Interrupted)
    with pytest.raises(KeyboardInterrupt), faultproxy.Proxy(server):
        pass
    assert_nothing_left(before)


def update_until_stopped(proxy: faultproxy.Proxy, has_begun: threading.Event, reported: list[Exception]) -> None:
    """Update it again and again; keep what ends that."""
    try:
        while True:
            proxy.update(rules=[RESET])
            has_begun.set()
            proxy.update(rules=[])
    except Exception as error:  # noqa: BLE001  # whatever it is, it must be the right one
        reported.append(error)


def test_an_update_during_the_end_gets_the_error(server: str) -> None:
    """In 80 races of two updates against two ends, each update is in force, or gets the error that the proxy does not run."""
    for race in range(80):
        proxy, has_begun, reported = faultproxy.Proxy(server), threading.Event(), list[Exception]()
        proxy.start()
        updates = [threading.Thread(target=update_until_stopped, args=(proxy, has_begun, reported)) for _ in range(2)]
        ends = [threading.Thread(target=proxy.stop) for _ in range(2)]
        for thread in updates:
            thread.start()
        assert has_begun.wait(PATIENCE_S)
        sleep(race % 8 / 4000)
        began = monotonic()
        for thread in ends:
            thread.start()
        for thread in updates + ends:
            thread.join(PATIENCE_S)
        assert [(type(error), str(error)) for error in reported] == [(RuntimeError, "the proxy is not running")] * 2
        assert monotonic() - began < 10
        assert proxy.unmet() == []


def test_an_update_under_way_gets_a_crash(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for what will never come."""
    proxy, is_asked = faultproxy.Proxy(server), trio.Event()

    async def crash(*_: object, ready: Callable[[], object]) -> None:
        ready()
        await is_asked.wait()
        raise ZeroDivisionError("bug")

    async def hang(_: object) -> None:
        is_asked.set()
        await trio.sleep_forever()

    monkeypatch.setattr(daemon, "run", crash)
    monkeypatch.setattr(proxy, "_update", hang)
    proxy.start()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^the proxy is not running$"):
            proxy.update(rules=[])
    proxy.stop()
    with pytest.raises(RuntimeError, match="ended by itself"):
        proxy.check()
