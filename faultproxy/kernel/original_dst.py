"""Where a client wanted to go whose connection was led here, by a REDIRECT or by TPROXY.

Sources: ``getorigdst()`` in net/netfilter/nf_conntrack_proto.c (SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST), ip(7)
(IP_TRANSPARENT), Documentation/networking/tproxy.rst.
"""

import socket
import struct

from faultproxy.kernel import sockets

_SO_ORIGINAL_DST = 80
_IPV6_TRANSPARENT = 75
_IP_TRANSPARENT = 19
# struct sockaddr_in, sockaddr_in6
_ADDRESS, _ADDRESS_6 = struct.Struct("!2xH4s8x"), struct.Struct("!2xH4x16s4x")

MARK = 0x4650_0000
"""The mark of packets that TPROXY leads to a listener, whose port is the low half (nft(8), ``meta mark``)."""

SENT_AGAIN = 0x4651_0000
"""The same, of a SYN that was judged and is sent again."""

ROUTED = 0xFFFE_0000
"""The bits by which a rule of ip-rule(8) has both delivered on this host."""


def original_destination(sock: socket.socket) -> tuple[str, int]:
    """Where the client of an accepted socket wanted to go: address and port.

    Without a translation of its address, as with TPROXY, that is where it has arrived. Raises OSError.
    """
    host, port = sockets.local_address(sock)
    level, layout = (socket.IPPROTO_IPV6, _ADDRESS_6) if ":" in host else (socket.IPPROTO_IP, _ADDRESS)
    try:
        original, packed = layout.unpack(sock.getsockopt(level, _SO_ORIGINAL_DST, layout.size))
    except OSError:  # ENOENT: nobody tracks this connection; ENOPROTOOPT: nobody tracks any
        return host, port
    address = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    return (host, port) if host.partition("%")[0] == address else (address, original)


def set_transparent(listener: socket.socket, *, on: bool) -> None:
    """Whether a listener may be given connections to addresses that are not this host's (TPROXY).

    Raises OSError (EPERM: CAP_NET_ADMIN or CAP_NET_RAW is missing).
    """
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, on)
    else:
        listener.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, on)
