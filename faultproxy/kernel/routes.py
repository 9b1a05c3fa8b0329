"""The way that the kernel would send a packet (rtnetlink(7), RTM_GETROUTE; what ``ip route get`` asks)."""

import errno
import os
import socket
import struct

_RTM_GETROUTE = 26
_REQUEST = 1  # NLM_F_REQUEST
_NLMSG_ERROR = 2
_RTA_DST, _RTA_MARK = 1, 16
_LOCAL = 2  # RTN_LOCAL
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ROUTE = struct.Struct("=8BI")  # struct rtmsg


def is_local(host: str, mark: int = 0) -> bool:
    """Whether a packet with this mark to this IP address is delivered on this host. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host)
    route = _ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    body = route + _attribute(_RTA_DST, packed) + _attribute(_RTA_MARK, struct.pack("=I", mark))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.sendto(_HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _REQUEST, 1, 0) + body, (0, 0))
        answer = netlink.recv(4096)
    if _HEADER.unpack_from(answer)[1] != _NLMSG_ERROR:
        return bool(_ROUTE.unpack_from(answer, _HEADER.size)[7] == _LOCAL)
    error = -struct.unpack_from("=i", answer, _HEADER.size)[0]
    if error in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL}:
        return False
    raise OSError(error, os.strerror(error))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value
