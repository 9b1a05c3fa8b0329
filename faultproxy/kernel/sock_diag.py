"""Ends another process's TCP socket in this network namespace (sock_diag(7); SOCK_DESTROY is what ``ss -K`` uses)."""

import errno
import os
import socket
import struct

from faultproxy.kernel.original_dst import original_destination

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 20, 21
_REQUEST, _REQUEST_ACK = 1, 5  # NLM_F_REQUEST, NLM_F_ACK
_NLMSG_ERROR = 2
_ALL_STATES = 0xFFFFFFFF
_LISTEN = 10
_NO_COOKIE = b"\xff" * 8
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_SOCKET_ID = struct.Struct("!HH16s16s4x")  # struct inet_diag_sockid up to its cookie; any interface
_COOKIE_AT = _HEADER.size + 4 + _SOCKET_ID.size

Ends = tuple[bytes, int, bytes, int]  # the address and port of the socket that is meant, and of its peer


def destroy_peer(sock: socket.socket) -> None:
    """End the socket at the other end of a connection: its next call fails with ECONNABORTED.

    Raises OSError: EAFNOSUPPORT for a Unix socket, ENOENT if it is in another network namespace, EPERM without
    CAP_NET_ADMIN, EOPNOTSUPP if the kernel was built without INET_DIAG_DESTROY.
    """
    if sock.family == socket.AF_UNIX:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    _destroy(*_ends(sock), unless_state=_LISTEN)


def check() -> None:
    """Raise the OSError with which destroy_peer() is turned down here, if it is: found out on a listener of our own.

    Nothing is sent, so nothing is waited for, whatever this host's firewall does.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        host, port = sock.getsockname()
        _destroy(socket.AF_INET, (socket.inet_aton(host), port, bytes(4), 0))


def _destroy(family: int, ends: Ends, unless_state: int | None = None) -> None:
    """End the socket with these ends. Never waits: the kernel does what it is asked before send(2) returns."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG) as netlink:
        found = _ask(netlink, _SOCK_DIAG_BY_FAMILY, _REQUEST, family, ends, _NO_COOKIE)
        # A listener of all addresses answers for an address that is not here; nothing else may be ended.
        if found[_HEADER.size + 1] == unless_state:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        cookie = found[_COOKIE_AT : _COOKIE_AT + 8]
        _ask(netlink, _SOCK_DESTROY, _REQUEST_ACK, family, ends, cookie)


def _ends(sock: socket.socket) -> tuple[int, Ends]:
    """The family, and the peer's address and port before those that it connected to, packed.

    An IPv4-mapped one is IPv4. Behind a REDIRECT the peer's socket knows nothing of our own address.
    """
    (near, near_port), (far, far_port, *_) = original_destination(sock), sock.getpeername()
    family = socket.AF_INET if "." in far else socket.AF_INET6
    far = far.removeprefix("::ffff:") if "." in far else far
    return family, (socket.inet_pton(family, far), far_port, socket.inet_pton(family, near), near_port)


def _ask(netlink: socket.socket, kind: int, flags: int, family: int, ends: Ends, cookie: bytes) -> bytes:
    """The kernel's answer, which it gives at once."""
    source, source_port, destination, destination_port = ends
    wanted = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, _ALL_STATES)
    identity = _SOCKET_ID.pack(source_port, destination_port, source, destination)
    body = wanted + identity + cookie
    netlink.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body)
    answer = netlink.recv(65536)
    if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
        (error,) = struct.unpack_from("=i", answer, _HEADER.size)
        if error:
            raise OSError(-error, os.strerror(-error))
    return answer
