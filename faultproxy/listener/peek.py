"""The client's first bytes, looked at and left where they are (recv(2), MSG_PEEK)."""

import select
import socket
from collections.abc import Callable
from typing import NamedTuple

import trio

from faultproxy.kernel import sockets
from faultproxy.relay import Poller
from faultproxy.rules.facts import MOST_FIRST_BYTES

_LOOK_EVERY_S = 0.005  # at a Unix socket, which SO_RCVLOWAT does not keep from being readable


class FirstBytes(NamedTuple):
    """What a client has said so far.

    ``heard_all``: no more will be waited for; ``timed_out``: because the time is up. ``was_reset``: it has reset.
    """

    data: bytes
    heard_all: bool
    was_reset: bool
    timed_out: bool = False


async def peek(sock: socket.socket, poller: Poller, until: float, decides: Callable[[FirstBytes], bool]) -> FirstBytes:
    """Wait until ``decides`` returns true for what the client has said, it ends, or the time is up; what it has said.

    ``until`` is a moment of trio.current_time(). The socket stays the caller's.
    """
    said = FirstBytes(b"", heard_all=False, was_reset=False)
    while not decides(said) and not said.heard_all:
        sockets.set_low_water(sock, len(said.data) + 1)
        with trio.CancelScope(deadline=until) as patience:
            if said.data and sock.family == socket.AF_UNIX:
                await trio.sleep(_LOOK_EVERY_S)
            else:
                await poller.wait(sock, select.EPOLLIN)
        said = _look(sock, said, is_late=patience.cancelled_caught)
    sockets.set_low_water(sock, 1)
    return said


def _look(sock: socket.socket, before: FirstBytes, *, is_late: bool) -> FirstBytes:
    try:
        data = sockets.peek(sock, MOST_FIRST_BYTES) or before.data
    except OSError:  # the kernel reports a reset once
        return FirstBytes(before.data, heard_all=True, was_reset=True)
    is_all = len(data) >= MOST_FIRST_BYTES or (not is_late and len(data) == len(before.data) and _has_ended(sock))
    return FirstBytes(data, heard_all=is_late or is_all, was_reset=False, timed_out=is_late and not is_all)


def _has_ended(sock: socket.socket) -> bool:
    """Whether a socket that was found readable has nothing new because the stream has ended."""
    return sock.family != socket.AF_UNIX or sockets.has_ended(sock)
