"""Stream sockets beyond what the standard library offers (tcp(7), socket(7), ioctl_tty(2))."""

import ctypes
import errno
import os
import select
import socket
import stat
import struct
from array import array
from collections.abc import Iterator, Sequence
from fcntl import ioctl
from functools import lru_cache
from pathlib import Path

_SIOCOUTQ = 0x5411
_SIOCOUTQNSD = 0x894B
_NO_ADDRESS = bytes(16)  # struct sockaddr with AF_UNSPEC
_SO_MEMINFO = 55
_MEMORY = struct.Struct("9I")
_TCP_CLOSE = 7
_UNIX_MODE = 0o660
_CREDENTIALS = struct.Struct("3i")  # struct ucred
_LONGEST_MS = 2**31 - 1
_connect = ctypes.CDLL(None).connect

# Plain numbers: the enums of the socket module cost more than the call that every connection makes with them.
_INET, _INET6, _STREAM = int(socket.AF_INET), int(socket.AF_INET6), int(socket.SOCK_STREAM)
STREAM = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK)  # spares an ioctl(2)

UNIX_CLIENT = "unix"
"""What stands for the address of a client of a Unix socket."""


class TcpSocket(socket.socket):
    """As it is made and closed by C alone, which is cheaper. It has no makefile(), which would put off its close()."""

    __slots__ = ()
    __init__ = socket.SocketType.__init__
    close = socket.SocketType.close

    def __exit__(self, *_: object) -> None:
        self.close()


SocketOptions = Sequence[tuple[int, int, int]]
"""What is to be set on a socket: levels, options and values (setsockopt(2))."""

SockAddress = tuple[str, int] | tuple[str, int, int, int] | str


def family_of(host: str) -> int | None:
    """AF_INET or AF_INET6, for an IP address; None for what is none, as a name (inet_pton(3))."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return int(family)
    return None


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet, at an IP address; an empty host means all, of IPv6 and IPv4 (ipv6(7)).

    Has the options of tcp_socket(). Nothing is looked up, so nothing is waited for: a name is resolved before. Raises
    OSError (EADDRINUSE, EACCES, EADDRNOTAVAIL: bind(2)), of which socket.gaierror, for what is no address, is one. The
    caller closes it.
    """
    infos = socket.getaddrinfo(  # noqa: TID251  # AI_NUMERICHOST: asks nobody
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
    )
    if not host:
        infos.sort(key=lambda info: info[0] != socket.AF_INET6)
    try:
        return _bind(infos[0][0], infos[0][4], dual_stack=not host)
    except OSError as error:
        # A host without IPv6 says so here; :PORT then means all addresses of IPv4.
        if host or len(infos) == 1 or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bind(infos[1][0], infos[1][4], dual_stack=False)


def _bind(family: int, address: tuple[object, ...], *, dual_stack: bool) -> socket.socket:
    sock = socket.socket(family, STREAM)  # no TcpSocket: trio's listeners take no other class
    try:
        _set_options(sock, _carrier_options())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    if address[1] != 0:
        return sock
    # A port that the kernel chose is given up when the listener is closed; one that was asked for is kept.
    with sock:
        return _bind(family, sock.getsockname(), dual_stack=dual_stack)


def bind_unix(path: str) -> socket.socket:
    """A bound Unix stream socket that does not listen yet; its file has mode 0660 (unix(7)). The caller closes it.

    A file that a socket has left behind is replaced. Raises OSError: EADDRINUSE if somebody listens there, EEXIST if
    the file there is no socket; and what bind(2) and connect(2) say of a path, such as ENOENT and EACCES.
    """
    if _is_left_behind(path):
        Path(path).unlink()
    sock = socket.socket(socket.AF_UNIX, STREAM)
    try:
        sock.bind(path)
        Path(path).chmod(_UNIX_MODE)  # nobody can connect yet
    except OSError:
        sock.close()
        raise
    return sock


def _is_left_behind(path: str) -> bool:
    """Whether there is a Unix socket's file without the socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    with socket.socket(socket.AF_UNIX, STREAM) as probe:
        error = probe.connect_ex(path)
    if error == errno.EACCES:
        raise OSError(error, os.strerror(error))
    if error != errno.ECONNREFUSED:  # also EAGAIN, its queue is full, and EPROTOTYPE, it takes datagrams
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return True


def file_identity(path: str) -> tuple[int, int, int]:
    """What a file keeps while its owner, group and mode change, and its successor does not have: numbers are reused.

    Raises OSError.
    """
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns


def tcp_socket(family: int, keepalive_s: float | None = None, segment_size: int | None = None) -> socket.socket:
    """A non-blocking TCP socket to carry bytes of others: without Nagle, urgent data in line (tcp(7), socket(7)).

    ``keepalive_s`` as keep_alive() has it; ``segment_size`` is the most data that the peer is to put into a packet.
    What is accepted from it inherits all. The caller closes it.
    """
    sock: socket.socket = TcpSocket(family, STREAM)
    _set_options(sock, _carrier_options(keepalive_s, segment_size))
    return sock


def _set_options(sock: socket.socket, options: SocketOptions) -> None:
    for level, option, value in options:
        sock.setsockopt(level, option, value)


@lru_cache
def _carrier_options(keepalive_s: float | None = None, segment_size: int | None = None) -> SocketOptions:
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)]
    if keepalive_s is not None:
        options += _keepalive_options(keepalive_s)
    if segment_size is not None:
        options.append((socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment_size))
    return options


def accept_waiting(listener: socket.socket, most: int) -> Iterator[tuple[socket.socket, str, int]]:
    """The connections that wait in a listener's queue, non-blocking, with the client's address and port (accept(2)).

    An IPv4-mapped address is given as IPv4. A connection that its client has already aborted is passed over.
    Raises OSError (EMFILE, ENFILE, ENOBUFS, ENOMEM). The caller closes the sockets, and serves each before it asks for
    the next: to accept all first costs a tenth more.
    """
    for _ in range(most):
        try:
            fd, address = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001  # accept() costs four more system calls
        except BlockingIOError:
            return
        except ConnectionAbortedError:
            continue
        if len(address) == 2:
            sock, host = TcpSocket(_INET, _STREAM, 0, fd), address[0]
        else:
            sock, host = TcpSocket(_INET6, _STREAM, 0, fd), unmapped(address[0])
        sock.setblocking(False)
        yield sock, host, address[1]


def accept_unix(listener: socket.socket, most: int) -> Iterator[tuple[socket.socket, str, int]]:
    """As accept_waiting(), at a Unix socket: ``unix`` stands for the address, and peer_pid() for the port."""
    for _ in range(most):
        try:
            sock, _address = listener.accept()
        except BlockingIOError:
            return
        except ConnectionAbortedError:
            continue
        sock.setblocking(False)
        yield sock, UNIX_CLIENT, peer_pid(sock)


def peer_pid(sock: socket.socket) -> int:
    """The process that has connected a Unix socket; 0 if it is in another PID namespace (unix(7), SO_PEERCRED)."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    return pid


def local_address(sock: socket.socket) -> tuple[str, int]:
    """The address and port at which a socket's peer reaches it; an IPv4-mapped one as IPv4 (getsockname(2)).

    A Unix socket has ``unix``, and 0. Raises OSError.
    """
    if sock.family == socket.AF_UNIX:
        return UNIX_CLIENT, 0
    host, port = sock.getsockname()[:2]
    return unmapped(host), port


def start_connect(sock: socket.socket, address: SockAddress) -> bool:
    """Begin to connect a non-blocking socket; whether it is connected already, as on loopback it mostly is.

    Otherwise (connect(2), EINPROGRESS) wait until it is writable, and call finish_connect. Raises OSError.
    """
    error = sock.connect_ex(address)
    if error == errno.EINPROGRESS:
        try:
            sock.getpeername()
        except OSError:  # ENOTCONN: still on its way, or over already
            return False
    elif error:
        raise OSError(error, errno.errorcode.get(error, str(error)))
    return True


def finish_connect(sock: socket.socket) -> None:
    """Raise the OSError with which a connect that was under way has failed, if it has.

    Asked by peeking, not by SO_ERROR or another connect(2): a peer that accepted, wrote and reset has
    left its last words to be read, and its reset behind them.
    """
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        pass


def take_error(sock: socket.socket) -> int:
    """The socket's pending error as an errno, which is cleared by asking; 0 if there is none (socket(7), SO_ERROR)."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def reset(sock: socket.socket) -> None:
    """Send RST, dropping what is not sent, and close; a Unix socket's peer sees an end.

    By connect(2) to AF_UNSPEC, which resets the connection (tcp_disconnect() in net/ipv4/tcp.c) although another
    process, such as a forked child, may hold the socket too. A close with SO_LINGER would then do nothing, and costs
    as much.
    """
    if _connect(sock.fileno(), _NO_ADDRESS, len(_NO_ADDRESS)):
        end(sock)
    else:
        sock.close()


def end(sock: socket.socket) -> None:
    """Send FIN, unless it was sent, and close, whoever else holds the socket; what still comes is answered with RST."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # ENOTCONN: the peer has reset it
    sock.close()


def shut_write(sock: socket.socket) -> None:
    """Send FIN after all data, if the connection still exists (shutdown(2), SHUT_WR)."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # ENOTCONN: the peer has reset it, and the next read says so


def unacknowledged(sock: socket.socket) -> int:
    """Bytes that the peer's kernel has not acknowledged; 0 once the connection is gone (tcp(7), SIOCOUTQ)."""
    if sock.fileno() < 0:
        return 0
    count = array("i", [0])
    ioctl(sock, _SIOCOUTQ, count)
    if count[0] and sock.family != socket.AF_UNIX and _state(sock) == _TCP_CLOSE:
        return 0
    return count[0]


def peek(sock: socket.socket, most: int) -> bytes:
    """The first bytes that wait to be read, and go on waiting (recv(2), MSG_PEEK). Raises OSError."""
    try:
        return sock.recv(most, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


def set_low_water(sock: socket.socket, count: int) -> None:
    """Be readable only once so many bytes wait, or the stream has ended (socket(7), SO_RCVLOWAT).

    A Unix socket is readable with any.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)


def has_ended(sock: socket.socket) -> bool:
    """Whether the peer will send no more (poll(2), POLLRDHUP)."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


def unsent(sock: socket.socket) -> int:
    """Bytes, FIN counted as one, that have not left yet; 0 once the connection is gone (tcp(7), SIOCOUTQNSD).

    A Unix socket's leave at once.
    """
    if sock.family == socket.AF_UNIX:
        return 0
    count = array("i", [0])
    ioctl(sock, _SIOCOUTQNSD, count)
    return count[0] if count[0] and _state(sock) != _TCP_CLOSE else 0


def keep_alive(sock: socket.socket, idle_s: float | None) -> None:
    """Ask, after so long without a byte, whether the peer is still there; None: never (tcp(7), TCP_KEEPIDLE).

    It is gone, and the socket fails with ETIMEDOUT, when three times no answer came within 10 s each: after 90 s, with
    60. One that is gone, and whose host says so, is found at the first. Whole seconds, at least one. What is accepted
    from a listener inherits it. A Unix socket's peer cannot vanish: there is nothing to be asked.
    """
    if sock.family == socket.AF_UNIX:
        return
    if idle_s is not None:
        _set_options(sock, _keepalive_options(idle_s))
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)


def _keepalive_options(idle_s: float) -> SocketOptions:
    whole_s = max(1, round(idle_s))
    return [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, whole_s),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, min(whole_s, 10)),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    ]


def keepalive(sock: socket.socket) -> float | None:
    """After how long without a byte the peer is asked whether it is there; None: never."""
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        return None
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)


def set_user_timeout(sock: socket.socket, *, for_ever: bool) -> None:
    """Whether a peer that never answers is waited for all the same, 24 days at least (tcp(7), TCP_USER_TIMEOUT).

    It goes on being asked; and one that is gone, and whose host says so, is found. A Unix socket's always answers.
    """
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LONGEST_MS if for_ever else 0)


def give_up_after(sock: socket.socket, timeout_s: float) -> None:
    """Have a peer fail with ETIMEDOUT that acknowledges nothing, or has no room, so long (tcp(7), TCP_USER_TIMEOUT).

    What is accepted from a listener inherits it. A Unix socket's peer cannot vanish.
    """
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout_s * 1000))


def dropped(sock: socket.socket) -> int:
    """Packets for this socket that the kernel has dropped, a filter's included (sock_diag(7), SK_MEMINFO_DROPS)."""
    return int(_MEMORY.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size))[-1])


def _state(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def unmapped(host: str) -> str:
    """An IPv4-mapped address of IPv6 as IPv4; any other as it is."""
    return host.removeprefix("::ffff:") if "." in host else host
