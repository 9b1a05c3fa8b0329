"""Dialling the upstream: resolve its name, then try its addresses in order."""

import errno
import select
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import trio

from faultproxy.addresses import TcpAddress, UnixAddress, UpstreamAddress
from faultproxy.kernel import sockets
from faultproxy.lookup import look_up
from faultproxy.relay import Poller

_BACKLOG_FULL_RETRY_S = 0.01


class Attempt(NamedTuple):
    """A connect that has begun; whoever holds it finishes it, or closes its socket."""

    sock: socket.socket
    is_over: bool


async def dial(upstream: UpstreamAddress, poller: Poller, begun: Attempt | None = None) -> socket.socket:
    """A non-blocking socket connected to the upstream, which the caller closes.

    A host name is resolved anew at every dial. Raises the OSError of the last address tried, or
    socket.gaierror (an OSError too). The caller bounds the time, of which each address may take its share of what
    is left, so that one that never answers does not keep the dial from the next. An attempt that begin() has
    begun is finished.
    """
    if begun is not None:
        return await _finish(begun, poller)
    addresses = await _addresses(upstream)
    for left, (family, address) in zip(range(len(addresses), 1, -1), addresses, strict=False):
        now = trio.current_time()
        share_s = (trio.current_effective_deadline() - now) / left
        with suppress(OSError), trio.CancelScope(deadline=now + share_s):
            return await _connect(family, address, poller)
    return await _connect(*addresses[-1], poller)


def begin(upstream: UpstreamAddress) -> Attempt | None:
    """Begin to dial, without waiting for anything; None if that is not possible, as with a name to be looked up.

    On loopback it is over at once. Raises OSError, as dial() would.
    """
    known = _known(upstream)
    with suppress(BlockingIOError):
        return _begin(*known) if known is not None else None
    return None


def error_name(error: OSError) -> str:
    """The errno's name, such as ECONNREFUSED; for a name that cannot be resolved, EAI_NONAME and the like."""
    if isinstance(error, socket.gaierror):
        names = {value: name for name, value in vars(socket).items() if name.startswith("EAI_")}
        return names.get(error.errno or 0, "EAI_FAIL")
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


async def _addresses(upstream: UpstreamAddress) -> Sequence[tuple[int, sockets.Address]]:
    known = _known(upstream)
    if known is not None:
        return [known]
    assert isinstance(upstream, TcpAddress)
    return await look_up(upstream.host, upstream.port)


def _known(upstream: UpstreamAddress) -> tuple[int, sockets.Address] | None:
    """What needs not be looked up."""
    if isinstance(upstream, UnixAddress):
        return socket.AF_UNIX, upstream.path
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):  # no address of this family; a name is none of either
            socket.inet_pton(family, upstream.host)
            return family, (upstream.host, upstream.port)
    return None


async def _connect(family: int, address: sockets.Address, poller: Poller) -> socket.socket:
    while True:
        try:
            return await _finish(_begin(family, address), poller)
        except BlockingIOError:  # a Unix listener whose queue is full: connect(2), EAGAIN
            await trio.sleep(_BACKLOG_FULL_RETRY_S)


def _begin(family: int, address: sockets.Address) -> Attempt:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sockets.set_up(sock)
        return Attempt(sock, sockets.start_connect(sock, address))
    except BaseException:
        sock.close()
        raise


async def _finish(attempt: Attempt, poller: Poller) -> socket.socket:
    sock, is_over = attempt
    try:
        if not is_over:
            await poller.wait(sock, select.EPOLLOUT)
            sockets.finish_connect(sock)
    except BaseException:
        sockets.reset(sock)
        raise
    return sock
