"""Dialling the upstream: resolve its name, then try its addresses in order."""

import errno
import select
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import trio

from faultproxy.addresses import host_port
from faultproxy.kernel import sockets
from faultproxy.kernel.sockets import SockAddress
from faultproxy.relay import Poller
from faultproxy.upstream.circles import Note
from faultproxy.upstream.resolver import resolve

_UNIX = int(socket.AF_UNIX)
_ETHERNET_SEGMENT = 1460
_QUEUE_FULL_RETRY_S, _QUEUE_FULL_RETRY_MOST_S = 0.01, 0.25


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream, and how it is dialled; parsed once, as dialling is part of every connection.

    ``family`` and ``address`` are what connect(2) takes; where ``family`` is None, ``host`` is a name, to be looked up
    at every dial; or it is empty, and the target is each client's own: towards() it is dialled. ``keepalive_s`` as
    kernel.sockets.keep_alive() has it. ``segment_size`` is the most data that the server is to put into a packet;
    None: as much as the way to it carries.
    """

    family: int | None
    address: SockAddress
    host: str = ""
    port: int = 0
    keepalive_s: float | None = 60.0
    segment_size: int | None = None

    def __str__(self) -> str:
        if self.family == _UNIX:
            return f"unix:{self.address}"
        return "original" if self.is_original else host_port(self.host, self.port)

    @property
    def is_original(self) -> bool:
        """Whether it is where each client wanted to go."""
        return self.family is None and not self.host

    def towards(self, host: str, port: int) -> "Target":
        """What is dialled for a client that wanted to go to this IP address and port."""
        return Target.tcp(host, port, self.keepalive_s) if self.is_original else self

    @classmethod
    def tcp(cls, host: str, port: int, keepalive_s: float | None = 60.0) -> "Target":
        """A server at an IP address or a host name."""
        return cls(sockets.family_of(host), (host, port), host, port, keepalive_s)

    def in_small_packets(self) -> "Target":
        """The same, but a packet holds what it does on Ethernet: loopback's hold 64 KiB, and there are few to lose."""
        return replace(self, segment_size=_ETHERNET_SEGMENT)

    @classmethod
    def original(cls, keepalive_s: float | None = 60.0) -> "Target":
        """Where each client wanted to go."""
        return cls(None, ("", 0), keepalive_s=keepalive_s)

    @classmethod
    def unix(cls, path: str) -> "Target":
        """A server at a Unix stream socket (unix(7))."""
        return cls(_UNIX, path)


async def dial(
    target: Target, poller: Poller, begun: socket.socket | None = None, note: Note | None = None
) -> socket.socket:
    """A non-blocking socket connected to the upstream, which the caller closes.

    A host name is resolved anew at every dial. Raises the OSError of the last address tried, or
    socket.gaierror (an OSError too). The caller bounds the time, of which each address may take its share of what
    is left, so that one that never answers does not keep the dial from the next. A connect that begin() has
    begun is finished. ``note`` is called with the socket and the address of each connect that has begun.
    """
    if begun is not None:
        return await _finish(begun, poller)
    addresses: Sequence[tuple[int, SockAddress]]
    if target.family is None:
        addresses = await resolve(target.host, target.port)
    else:
        addresses = [(target.family, target.address)]
    for left, (family, address) in zip(range(len(addresses), 1, -1), addresses, strict=False):
        now = trio.current_time()
        share_s = (trio.current_effective_deadline() - now) / left
        with suppress(OSError), trio.CancelScope(deadline=now + share_s):
            return await _connect(family, address, target, poller, note)
    return await _connect(*addresses[-1], target, poller, note)


def begin(target: Target, note: Note | None = None) -> tuple[socket.socket, bool] | None:
    """Begin to dial, without waiting for anything; None if that is not possible, as with a name to be looked up.

    Returns a socket, which the caller has dial() finish, or closes, and whether it is connected already: on loopback
    it mostly is. Raises OSError, as dial() would.
    """
    if target.family is None:
        return None
    try:
        return _begin(target.family, target.address, target, note)
    except BlockingIOError:
        return None


def error_name(error: OSError) -> str:
    """The errno's name, such as ECONNREFUSED; for a name that cannot be resolved, EAI_NONAME and the like."""
    if isinstance(error, socket.gaierror):
        names = {value: name for name, value in vars(socket).items() if name.startswith("EAI_")}
        return names.get(error.errno or 0, "EAI_FAIL")
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


async def _connect(
    family: int, address: SockAddress, target: Target, poller: Poller, note: Note | None
) -> socket.socket:
    pause_s = _QUEUE_FULL_RETRY_S
    while True:
        try:
            sock, is_over = _begin(family, address, target, note)
            return sock if is_over else await _finish(sock, poller)
        except BlockingIOError:  # a Unix listener whose queue is full (connect(2), EAGAIN); no event tells of room
            await trio.sleep(pause_s)
            pause_s = min(pause_s * 2, _QUEUE_FULL_RETRY_MOST_S)


def _begin(family: int, address: SockAddress, target: Target, note: Note | None) -> tuple[socket.socket, bool]:
    if family == _UNIX:
        sock = socket.socket(family, sockets.STREAM)
    else:
        sock = sockets.tcp_socket(family, target.keepalive_s, target.segment_size)
    try:
        is_over = sockets.start_connect(sock, address)
        if note is not None:
            note(sock, address)
        return sock, is_over
    except BaseException:
        sock.close()
        raise


async def _finish(sock: socket.socket, poller: Poller) -> socket.socket:
    try:
        await poller.wait(sock, select.EPOLLOUT)
        sockets.finish_connect(sock)
    except BaseException:
        sockets.reset(sock)
        raise
    return sock
