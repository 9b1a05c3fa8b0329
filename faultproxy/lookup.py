"""Looking up a host name: getaddrinfo(3), in a thread that ends with its answer.

trio would keep the thread for ten seconds more, and a proxy inside a test is to leave none behind.
"""

import socket
import threading  # noqa: TID251  # trio keeps its own threads for a while
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import trio

from faultproxy.kernel.sockets import Address

_MOST = 40  # at once; the others wait
_LOOK_AGAIN_S = 0.001
_UNDER_WAY: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("lookups under way")


async def look_up(host: str, port: int) -> Sequence[tuple[int, Address]]:
    """The addresses of a name, best first, each with its family.

    Raises socket.gaierror. Cancelled, it leaves the thread to the system's resolver, which cannot be interrupted.
    """
    under_way = _under_way()
    lookup = _Lookup(host, port, under_way)
    await under_way.acquire_on_behalf_of(lookup)
    try:
        lookup.start()
    except RuntimeError as error:  # no more threads: pthread_create(3), EAGAIN
        under_way.release_on_behalf_of(lookup)
        raise socket.gaierror(socket.EAI_AGAIN, str(error)) from None
    await lookup.over.wait()
    if lookup.error is not None:
        raise lookup.error
    return lookup.addresses


async def lookups_over() -> None:
    """Wait until no thread is left that looks up a name, not even for a task that has given up."""
    while _under_way().borrowed_tokens:  # noqa: ASYNC110  # at the end of a test, and seldom at all
        await trio.sleep(_LOOK_AGAIN_S)


class _Lookup(threading.Thread):
    """One call of getaddrinfo; ``over`` is set when its thread is gone."""

    def __init__(self, host: str, port: int, under_way: trio.CapacityLimiter) -> None:
        super().__init__(name=f"faultproxy looks up {host}", daemon=True)
        self.over = trio.Event()
        self.addresses: list[tuple[int, Address]] = []
        self.error: Exception | None = None
        self._host, self._port = host, port
        self._under_way = under_way
        self._token = trio.lowlevel.current_trio_token()

    def run(self) -> None:
        """Ask, and tell."""
        try:
            infos = socket.getaddrinfo(  # noqa: TID251  # what it blocks is its own thread
                self._host, self._port, type=socket.SOCK_STREAM
            )
            self.addresses = [(family, cast(Address, address)) for family, _, _, _, address in infos]
        except Exception as error:  # noqa: BLE001  # raised again where it is waited for
            self.error = error
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._end)

    def _end(self) -> None:
        self.join()
        self._under_way.release_on_behalf_of(self)
        self.over.set()


def _under_way() -> trio.CapacityLimiter:
    try:
        return _UNDER_WAY.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_MOST)
        _UNDER_WAY.set(limiter)
        return limiter
