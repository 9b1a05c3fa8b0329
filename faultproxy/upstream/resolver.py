"""Resolving a host name: getaddrinfo(3), in a thread that ends with its answer.

One lookup is under way a name at most, and all who ask meanwhile share its answer: so a name whose servers hang takes
one thread, and no other name waits for it. trio would keep a thread for ten seconds more, and a proxy inside a test is
to leave none behind.
"""

import socket
import threading  # noqa: TID251  # trio keeps its own threads for a while
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import trio

from faultproxy.kernel.sockets import SockAddress, family_of

_MOST = 100  # threads at once, each for another name; further names wait their turn
_LOOK_AGAIN_S = 0.001


async def resolve(host: str, port: int) -> Sequence[tuple[int, SockAddress]]:
    """The addresses of a name, best first, each with its family, and with this port; of an address, itself.

    Raises socket.gaierror (an OSError). Cancelled, it leaves the thread to the system's resolver, which cannot be
    interrupted.
    """
    family = family_of(host)
    if family is not None:
        return [(family, (host, port))]
    lookup = _lookups().join(host)
    try:
        await lookup.over.wait()
    finally:
        lookup.asked_by -= 1
    if lookup.error is not None:
        raise type(lookup.error)(*lookup.error.args)  # another for each who asked: a traceback is its own
    return [(family, cast(SockAddress, (address[0], port, *address[2:]))) for family, address in lookup.addresses]


async def lookups_over() -> None:
    """Wait until no thread is left that looks up a name, not even for a task that has given up."""
    while _lookups().under_way:  # noqa: ASYNC110  # at the end of a test, and seldom at all
        await trio.sleep(_LOOK_AGAIN_S)


class _Lookups:
    """The lookups of one event loop."""

    def __init__(self) -> None:
        self.under_way = 0
        self._by_host: dict[str, _Lookup] = {}
        self._waiting: deque[_Lookup] = deque()

    def join(self, host: str) -> "_Lookup":
        """The lookup of a name: the one that is under way, or one that begins, or that waits for its turn."""
        lookup = self._by_host.get(host)
        if lookup is None:
            lookup = self._by_host[host] = _Lookup(host, self)
            self._waiting.append(lookup)
        lookup.asked_by += 1
        self._begin()
        return lookup

    def end(self, lookup: "_Lookup") -> None:
        """Its thread is gone: another may begin."""
        self.under_way -= 1
        self._answer(lookup)
        self._begin()

    def _begin(self) -> None:
        while self._waiting and self.under_way < _MOST:
            lookup = self._waiting.popleft()
            if not lookup.asked_by:
                del self._by_host[lookup.host]  # all who asked have given up
                continue
            try:
                lookup.start()
                self.under_way += 1
            except RuntimeError as error:  # no more threads: pthread_create(3), EAGAIN
                lookup.error = socket.gaierror(socket.EAI_AGAIN, str(error))
                self._answer(lookup)

    def _answer(self, lookup: "_Lookup") -> None:
        del self._by_host[lookup.host]
        lookup.over.set()


class _Lookup(threading.Thread):
    """One call of getaddrinfo; ``over`` is set when its thread is gone, or could not be had."""

    def __init__(self, host: str, lookups: _Lookups) -> None:
        super().__init__(name=f"faultproxy resolves {host}", daemon=True)
        self.host = host
        self.asked_by = 0
        self.over = trio.Event()
        self.addresses: list[tuple[int, tuple[object, ...]]] = []
        self.error: Exception | None = None
        self._lookups = lookups
        self._token = trio.lowlevel.current_trio_token()

    def run(self) -> None:
        """Ask, and hand the answer to the event loop."""
        try:
            infos = socket.getaddrinfo(self.host, None, type=socket.SOCK_STREAM)  # noqa: TID251  # in a thread of its own
            self.addresses = [(family, address) for family, _, _, _, address in infos]
        except UnicodeError as error:  # a label that is empty or too long for IDNA
            self.error = socket.gaierror(socket.EAI_NONAME, str(error))
        except Exception as error:  # noqa: BLE001  # raised again where it is waited for
            self.error = error
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._end)

    def _end(self) -> None:
        self.join()
        self._lookups.end(self)


_LOOKUPS: trio.lowlevel.RunVar[_Lookups] = trio.lowlevel.RunVar("lookups")


def _lookups() -> _Lookups:
    try:
        return _LOOKUPS.get()
    except LookupError:
        lookups = _Lookups()
        _LOOKUPS.set(lookups)
        return lookups
