"""Bytes do not wait for what takes a while."""

import threading

import pytest
import trio

from faultproxy.control.threads import in_thread


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
