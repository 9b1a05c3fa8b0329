"""Bytes do not wait for what takes a while."""

import threading

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from faultproxy.control.loop import in_batches, in_thread, let_begin


def _fails() -> None:
    raise ValueError("as it does")


async def _no_thread(_: object) -> None:
    raise RuntimeError("can't start new thread")


async def test_it_is_called_elsewhere() -> None:
    """What it returns or raises is returned or raised."""
    assert await in_thread(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ValueError, match="as it does"):
        await in_thread(_fails)


async def test_without_a_thread_it_is_called_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may not have one more still does it."""
    monkeypatch.setattr(trio.to_thread, "run_sync", _no_thread)
    assert await in_thread(threading.current_thread) is threading.current_thread()


async def test_the_loop_turns_between_batches() -> None:
    """Once after so many things, and not in between; all of them come, in order."""
    things = in_batches(range(5), size=2)
    for expected, turns in enumerate([False, False, True, False, True]):
        with assert_checkpoints() if turns else assert_no_checkpoints():
            assert await anext(things) == expected
    assert [thing async for thing in things] == []


async def test_tasks_are_let_begin() -> None:
    """Those that were started, and those that were woken, have taken a step."""
    steps = []
    woken = trio.Event()

    async def wait() -> None:
        await woken.wait()
        steps.append("woken")

    async def start() -> None:
        steps.append("started")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        woken.set()
        nursery.start_soon(start)
        await let_begin()
        assert sorted(steps) == ["started", "woken"]
