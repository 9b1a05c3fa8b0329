"""Raw sockets: a copy of each SYN that comes to a port, and packets that are sent as they are (raw(7), ipv6(7)).

All of it needs CAP_NET_RAW, SO_MARK included (since Linux 5.17; CAP_NET_ADMIN before).
"""

import errno
import secrets
import socket
import struct
from collections.abc import Iterator

from faultproxy.kernel import raw_tcp, socket_filter
from faultproxy.kernel.raw_tcp import Syn

_SO_MARK = 36
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 8 * 1024 * 1024
_LARGEST = 65535
_PACKET_INFO = struct.Struct("16sI")
_ANCILLARY_SPACE = socket.CMSG_SPACE(_PACKET_INFO.size) + socket.CMSG_SPACE(4)
_NOT_KUBE_PROXYS = 0xFFFF3FFF  # 0x4000 and 0x8000: its iptables rules would masquerade such packets, or drop them


def new_mark() -> int:
    """A random mark for the packets of one gate, other than none."""
    return secrets.randbits(32) & _NOT_KUBE_PROXYS | 1


def receiver(listener: socket.socket, family: int, mark: int) -> socket.socket:
    """A raw socket that is given a copy of every SYN, unless it has the mark, of one family, that comes to a listener.

    Raises OSError (EPERM: CAP_NET_RAW is missing; EAFNOSUPPORT). The caller closes it.
    """
    address = listener.getsockname()
    sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        socket_filter.attach(sock, socket_filter.only_syns(family, address[1], mark))
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:  # CAP_NET_ADMIN; without it net.core.rmem_max is the limit
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        if family == listener.family:
            sock.bind((address[0], 0, *address[2:]))
        while _discard(sock):  # until now it was given everything
            pass
    except OSError:
        sock.close()
        raise
    return sock


def _discard(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1))
    except BlockingIOError:
        return False


def sender(family: int, mark: int | None = None) -> socket.socket:
    """A raw socket that sends whole IP packets as they are, with the mark. Raises OSError. The caller closes it."""
    sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    try:
        sock.setblocking(False)
        if mark is not None:
            sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, struct.pack("I", mark))
    except OSError:
        sock.close()
        raise
    return sock


def receive(sock: socket.socket, most: int) -> Iterator[tuple[Syn | None, int]]:
    """The SYNs that wait at a receiver, up to ``most`` packets, each with the scope of its addresses (0 with IPv4).

    A packet that is no sound SYN is given as None.
    """
    for _ in range(most):
        try:
            if sock.family == socket.AF_INET:
                yield raw_tcp.parse_ipv4(sock.recv(_LARGEST)), 0
                continue
            segment, ancillary, _, address = sock.recvmsg(_LARGEST, _ANCILLARY_SPACE)
        except BlockingIOError:
            return
        except OSError:  # an error of a packet sent earlier, cleared by being told
            continue
        yield _from_ipv6(segment, ancillary, address)


def send(sock: socket.socket, packet: bytes, destination: bytes, scope: int) -> None:
    """Send a whole IP packet. One that cannot be sent is lost, as any packet may be."""
    host = socket.inet_ntop(sock.family, destination)
    try:
        sock.sendto(packet, (host, 0) if sock.family == socket.AF_INET else (host, 0, 0, scope))
    except OSError as error:
        if error.errno == errno.EBADF:
            raise


def _from_ipv6(
    segment: bytes, ancillary: list[tuple[int, int, bytes]], address: tuple[str, int, int, int]
) -> tuple[Syn | None, int]:
    destination, traffic_class = None, 0
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) >= _PACKET_INFO.size:
            destination, _ = _PACKET_INFO.unpack_from(data)
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_TCLASS and len(data) >= 4:
            traffic_class = struct.unpack_from("i", data)[0]
    if destination is None:
        return None, 0
    source = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
    return raw_tcp.parse_ipv6(segment, source, destination, traffic_class), address[3]
