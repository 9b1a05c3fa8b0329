"""Raw sockets: a copy of each SYN that comes to some ports, and packets that are sent as they are (raw(7), ipv6(7)).

All of it needs CAP_NET_RAW, SO_MARK included (since Linux 5.17; CAP_NET_ADMIN before).
"""

import errno
import secrets
import socket
import struct
from collections.abc import Collection, Iterator

from faultproxy.kernel import raw_tcp, socket_filter
from faultproxy.kernel.raw_tcp import Syn

_SO_MARK = 36
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 8 * 1024 * 1024
_IP_PKTINFO = 8
_LARGEST = socket_filter.LARGEST_SYN
_PACKET_INFO = struct.Struct("I4s4s")  # struct in_pktinfo: interface, local address, destination
_PACKET_INFO_6 = struct.Struct("16sI")
_ANCILLARY_SPACE = socket.CMSG_SPACE(_PACKET_INFO_6.size) + socket.CMSG_SPACE(4)
_NOT_KUBE_PROXYS = 0xFFFF3FFF  # 0x4000 and 0x8000: its iptables rules would masquerade such packets, or drop them


def new_mark() -> int:
    """A random mark for the packets of one process, other than none."""
    return secrets.randbits(32) & _NOT_KUBE_PROXYS | 1


def receiver(family: int) -> socket.socket:
    """A raw socket for the SYNs of one family, which receives none until hear_ports() names ports.

    Raises OSError (EPERM: CAP_NET_RAW is missing; EAFNOSUPPORT). The caller closes it.
    """
    sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        hear_ports(sock, (), 0)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:  # CAP_NET_ADMIN; without it net.core.rmem_max is the limit
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        while _discard(sock):  # until it had its filter it was given everything
            pass
    except OSError:
        sock.close()
        raise
    return sock


def hear_ports(sock: socket.socket, ports: Collection[int], mark: int) -> None:
    """Have a receiver given a copy of every SYN to these ports from now on, unless it has the mark. Raises OSError."""
    socket_filter.attach(sock, socket_filter.only_syns(sock.family, ports, mark))


def hear_mark(sock: socket.socket, mark: int) -> None:
    """Have a receiver given a copy of every SYN that has the mark from now on, whatever its port. Raises OSError."""
    socket_filter.attach(sock, socket_filter.only_marked_syns(sock.family, mark))


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

    A packet that is no sound SYN, or that came to a broadcast address, which TCP does not answer
    (``tcp_v4_conn_request``), is given as None.
    """
    read = _from_ipv4 if sock.family == socket.AF_INET else _from_ipv6
    for _ in range(most):
        try:
            data, ancillary, _, address = sock.recvmsg(_LARGEST, _ANCILLARY_SPACE)
        except BlockingIOError:
            return
        except OSError:  # an error of a packet sent earlier, cleared by being read
            continue
        yield read(data, ancillary, address)


def send(sock: socket.socket, packet: bytes, destination: bytes, scope: int) -> None:
    """Send a whole IP packet. One that cannot be sent is lost, as any packet may be."""
    is_ipv4 = len(destination) == 4  # to ask the socket takes longer
    host = socket.inet_ntop(socket.AF_INET if is_ipv4 else socket.AF_INET6, destination)
    try:
        sock.sendto(packet, (host, 0) if is_ipv4 else (host, 0, 0, scope))
    except OSError as error:
        if error.errno == errno.EBADF:
            raise


_Ancillary = list[tuple[int, int, bytes]]


def _from_ipv4(packet: bytes, ancillary: _Ancillary, _address: object) -> tuple[Syn | None, int]:
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) >= _PACKET_INFO.size:
            _, local, destination = _PACKET_INFO.unpack_from(data)
            return raw_tcp.parse_ipv4(packet) if local == destination else None, 0  # fib_compute_spec_dst()
    return None, 0


def _from_ipv6(segment: bytes, ancillary: _Ancillary, address: tuple[str, int, int, int]) -> tuple[Syn | None, int]:
    destination, traffic_class = None, 0
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) >= _PACKET_INFO_6.size:
            destination, _ = _PACKET_INFO_6.unpack_from(data)
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_TCLASS and len(data) >= 4:
            traffic_class = struct.unpack_from("i", data)[0]
    if destination is None:
        return None, 0
    source = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
    return raw_tcp.parse_ipv6(segment, source, destination, traffic_class), address[3]
