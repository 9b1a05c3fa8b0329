"""Bytes do not wait for what takes a while."""

import threading

import pytest
import trio

from faultproxy.control.loop import in_batches, in_thread


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
    """Another task gets its turn after each so many things, and all of them come, in order."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        seen = [(thing, turns) async for thing in in_batches(range(6), size=2)]
        nursery.cancel_scope.cancel()
    assert [thing for thing, _ in seen] == [*range(6)]
    assert seen[0][1] == seen[1][1] < seen[2][1] == seen[3][1] < seen[4][1] == seen[5][1]
