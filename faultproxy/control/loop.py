"""What takes a while, while connections go on: in a thread, a little at a time, or by tasks of their own."""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

import trio

_T = TypeVar("_T")


async def in_thread(call: Callable[[], _T]) -> _T:
    """What a call returns, or raises: in a thread, or here, if there is none to be had (pthread_create(3), EAGAIN)."""
    try:
        return await trio.to_thread.run_sync(call)
    except RuntimeError:
        return call()


async def in_batches(things: Iterable[_T], size: int = 20) -> AsyncIterator[_T]:
    """These things; the loop turns once after so many of them."""
    for number, thing in enumerate(things, start=1):
        yield thing
        if number % size == 0:
            await trio.lowlevel.checkpoint()


async def let_begin() -> None:
    """Go on once each task that was started or woken until now has taken its first step; it is not cancelled."""
    for _ in range(2):
        await trio.lowlevel.cancel_shielded_checkpoint()
