"""The client's first bytes, looked at and left where they are (recv(2), MSG_PEEK)."""

import select
import socket
from collections.abc import Callable
from typing import NamedTuple

import trio

from faultproxy.kernel import sockets
from faultproxy.relay import Poller
from faultproxy.rules.facts import MOST_FIRST_BYTES


class FirstBytes(NamedTuple):
    """What a client has said so far. ``heard_all``: no more will be waited for. ``was_reset``: it has reset."""

    data: bytes
    heard_all: bool
    was_reset: bool


async def peek(sock: socket.socket, poller: Poller, until: float, decides: Callable[[FirstBytes], bool]) -> FirstBytes:
    """Wait until ``decides`` returns true for what the client has said, it ends, or the time is up; what it has said.

    ``until`` is a moment of trio.current_time(). The socket stays the caller's.
    """
    said = FirstBytes(b"", heard_all=False, was_reset=False)
    while not decides(said) and not said.heard_all:
        sockets.set_low_water(sock, len(said.data) + 1)
        with trio.CancelScope(deadline=until) as patience:
            await poller.wait(sock, select.EPOLLIN)
        said = _look(sock, said, is_late=patience.cancelled_caught)
    sockets.set_low_water(sock, 1)
    return said


def _look(sock: socket.socket, before: FirstBytes, *, is_late: bool) -> FirstBytes:
    try:
        data = sockets.peek(sock, MOST_FIRST_BYTES) or before.data
    except OSError:  # the kernel tells a reset once
        return FirstBytes(before.data, heard_all=True, was_reset=True)
    has_ended = is_late or len(data) == len(before.data) or len(data) >= MOST_FIRST_BYTES
    return FirstBytes(data, heard_all=has_ended, was_reset=False)
