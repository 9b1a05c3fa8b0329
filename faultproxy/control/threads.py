"""What takes a while, where it holds up nobody."""

from collections.abc import Callable
from typing import TypeVar

import trio

_T = TypeVar("_T")


async def in_thread(call: Callable[[], _T]) -> _T:
    """What a call returns, or raises: in a thread, or here, if there is none to be had (pthread_create(3), EAGAIN)."""
    try:
        return await trio.to_thread.run_sync(call)
    except RuntimeError:
        return call()
