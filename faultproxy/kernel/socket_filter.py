"""Classic BPF on a socket: which packets reach it (socket(7), SO_ATTACH_FILTER; Documentation/networking/filter.rst).

Programs are data, made by pure functions and tested without a kernel. A filter dies with its socket, so
nothing is left behind by a process that is killed. Whether a TCP socket may have one is found out by
trying: most kernels allow it to everyone, some ask for CAP_NET_ADMIN.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Collection
from typing import NamedTuple

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27

_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD = 0x30, 0x28, 0x20  # BPF_LD | BPF_ABS
_LOAD_BYTE_AT_X, _LOAD_HALF_AT_X = 0x50, 0x48  # BPF_LD | BPF_IND
_LOAD_LENGTH = 0x80
_X_IS_IP_HEADER_LENGTH = 0xB1  # BPF_LDX | BPF_B | BPF_MSH: four times the low half of a byte
_AND = 0x54
_JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_MORE = 0x15, 0x35, 0x25
_RETURN = 0x06

_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF
_PACKET_TYPE = _ANCILLARY + 4
_TO_THIS_HOST = 0  # PACKET_HOST: neither broadcast nor multicast of the link (packet(7))
_MARK = _ANCILLARY + 20
_RANDOM = _ANCILLARY + 56

_DESTINATION_PORT = 2
_FLAGS = 13
_SYN, _RST = 0x02, 0x04
_FIN_SYN_RST_ACK = 0x17  # ECN sets more bits in a SYN, so the others are not looked at

_ALL = 0xFFFFFFFF

MOST_PORTS = 200
"""More do not fit into a program whose jumps go 255 instructions at most."""

LARGEST_SYN = 60 + 60 + 1460
"""Both headers with all options, and what fits into one Ethernet frame beside headers without (TCP Fast Open)."""


class Instruction(NamedTuple):
    """struct sock_filter: an operation, how far to jump if true and if false, an operand."""

    code: int
    if_true: int
    if_false: int
    operand: int


Program = tuple[Instruction, ...]

_KEEP = Instruction(_RETURN, 0, 0, _ALL)
_DROP = Instruction(_RETURN, 0, 0, 0)


def drop_syns(unless_mark: int | None = None) -> Program:
    """For a listener: drop pure SYNs, of IPv4 and IPv6, but for those that carry the mark.

    A TCP socket's filter sees the TCP header first. Everything else passes, or the last ACK of a
    handshake under way would be lost.
    """
    head = (Instruction(_LOAD_BYTE, 0, 0, _FLAGS), Instruction(_AND, 0, 0, _FIN_SYN_RST_ACK))
    if unless_mark is None:
        return *head, Instruction(_JUMP_IF_EQUAL, 0, 1, _SYN), _DROP, _KEEP
    return (
        *head,
        Instruction(_JUMP_IF_EQUAL, 0, 3, _SYN),
        Instruction(_LOAD_WORD, 0, 0, _MARK),
        Instruction(_JUMP_IF_EQUAL, 1, 0, unless_mark),
        _DROP,
        _KEEP,
    )


def drop_marked_syns(mark: int) -> Program:
    """For a listener: drop pure SYNs that carry the mark."""
    return (
        Instruction(_LOAD_BYTE, 0, 0, _FLAGS),
        Instruction(_AND, 0, 0, _FIN_SYN_RST_ACK),
        Instruction(_JUMP_IF_EQUAL, 0, 3, _SYN),
        Instruction(_LOAD_WORD, 0, 0, _MARK),
        Instruction(_JUMP_IF_EQUAL, 0, 1, mark),
        _DROP,
        _KEEP,
    )


def only_syns(family: int, ports: Collection[int], unless_mark: int) -> Program:
    """For a raw TCP socket: keep pure SYNs to these ports, but for those that carry the mark; with too many, to any.

    TCP answers no SYN that the link broadcast (``tcp_v4_rcv``), so none is kept; nor one larger than LARGEST_SYN,
    which its client sends again without what it carries. A raw socket's filter sees the IP header first with
    IPv4, the TCP header with IPv6. What is no SYN, nearly all there is, is dropped by four instructions.
    """
    load_port = Instruction(_LOAD_HALF_AT_X if family == socket.AF_INET else _LOAD_HALF, 0, 0, _DESTINATION_PORT)
    head = (
        *_load_flags(family),
        Instruction(_AND, 0, 0, _FIN_SYN_RST_ACK),
        Instruction(_JUMP_IF_EQUAL, 1, 0, _SYN),
        _DROP,
        Instruction(_LOAD_WORD, 0, 0, _MARK),
        Instruction(_JUMP_IF_EQUAL, 4, 0, unless_mark),
        Instruction(_LOAD_WORD, 0, 0, _PACKET_TYPE),
        Instruction(_JUMP_IF_EQUAL, 0, 2, _TO_THIS_HOST),
        Instruction(_LOAD_LENGTH, 0, 0, 0),
        Instruction(_JUMP_IF_MORE, 0, 1, LARGEST_SYN),
        _DROP,
    )
    if len(ports) > MOST_PORTS:
        return *head, _KEEP
    jumps = (Instruction(_JUMP_IF_EQUAL, len(ports) - at, 0, port) for at, port in enumerate(sorted(ports)))
    return *head, load_port, *jumps, _DROP, _KEEP


def only_marked_syns(family: int, mark: int) -> Program:
    """For a raw TCP socket: keep pure SYNs that carry the mark, to whatever port; none that is larger than another."""
    return (
        *_load_flags(family),
        Instruction(_AND, 0, 0, _FIN_SYN_RST_ACK),
        Instruction(_JUMP_IF_EQUAL, 0, 4, _SYN),
        Instruction(_LOAD_WORD, 0, 0, _MARK),
        Instruction(_JUMP_IF_EQUAL, 0, 2, mark),
        Instruction(_LOAD_LENGTH, 0, 0, 0),
        Instruction(_JUMP_IF_MORE, 0, 1, LARGEST_SYN),
        _DROP,
        _KEEP,
    )


def _load_flags(family: int) -> Program:
    """Of a TCP header: a raw socket's filter sees it behind the IP header with IPv4, and at once with IPv6."""
    if family == socket.AF_INET:
        return Instruction(_X_IS_IP_HEADER_LENGTH, 0, 0, 0), Instruction(_LOAD_BYTE_AT_X, 0, 0, _FLAGS)
    return (Instruction(_LOAD_BYTE, 0, 0, _FLAGS),)


def drop_all_but_resets() -> Program:
    """For a connection: drop whatever comes, so that not even an acknowledgement is sent.

    RST passes: who sends it has no connection any more, and nothing is to be kept for him.
    """
    return (
        Instruction(_LOAD_BYTE, 0, 0, _FLAGS),
        Instruction(_AND, 0, 0, _RST),
        Instruction(_JUMP_IF_EQUAL, 1, 0, _RST),
        _DROP,
        _KEEP,
    )


def drop_some(probability: float) -> Program:
    """For a connection: drop this fraction of the packets that come in, each by a random number of the kernel's."""
    threshold = round(probability * 2**32)
    if threshold >= 2**32:
        return (_DROP,)
    return Instruction(_LOAD_WORD, 0, 0, _RANDOM), Instruction(_JUMP_IF_AT_LEAST, 1, 0, threshold), _DROP, _KEEP


def attach(sock: socket.socket, program: Program) -> None:
    """Filter what reaches a socket, instead of any filter before. Raises OSError (EPERM: not allowed here)."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    kept_alive = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(kept_alive)))


def check() -> None:
    """Raise the OSError with which a TCP socket's filter is turned down here, if it is."""
    with socket.socket() as sock:
        attach(sock, drop_some(0))


def detach(sock: socket.socket) -> None:
    """Let everything reach a socket again, if it was filtered. Raises OSError."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
