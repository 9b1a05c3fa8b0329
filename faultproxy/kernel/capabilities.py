"""Capabilities of this process (capabilities(7), capset(2))."""

import ctypes
import os
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

NET_ADMIN, NET_RAW = "NET_ADMIN", "NET_RAW"

_BITS = MappingProxyType({NET_ADMIN: 12, NET_RAW: 13})
_VERSION_3 = 0x20080522
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class Privileges(NamedTuple):
    """What this process may do, by the names of capabilities(7) without CAP_.

    ``may_gain`` says that the file it executes could have given it more: PR_SET_NO_NEW_PRIVS is not set (prctl(2)).
    """

    effective: frozenset[str]
    may_gain: bool


def privileges() -> Privileges:
    """As proc(5) has them in /proc/self/status; of the capabilities, those that faults need."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    effective = int(status["CapEff"], 16)
    names = frozenset(name for name, bit in _BITS.items() if effective >> bit & 1)
    return Privileges(names, status["NoNewPrivs"].strip() == "0")


def use_permitted() -> None:
    """Make every capability effective that this process is permitted.

    A file may permit capabilities without making them effective: then it can also be executed where some of them
    are not to be had, as in a container that was not given them. Raises OSError.
    """
    header, sets = _get()
    for half in sets:
        half.effective = half.permitted
    _check(_LIBC.capset(ctypes.byref(header), sets))


def lend() -> None:
    """Have programs that this process executes be given those that faults need, as far as it has them. Raises OSError.

    What the file permits is this program's alone otherwise (capabilities(7), ambient).
    """
    header, sets = _get()
    lent = [bit for bit in _BITS.values() if sets[0].permitted >> bit & 1]
    sets[0].inheritable |= sum(1 << bit for bit in lent)
    _check(_LIBC.capset(ctypes.byref(header), sets))
    for bit in lent:
        _check(_LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, bit, 0, 0))


def _get() -> tuple[_Header, "ctypes.Array[_Sets]"]:
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    _check(_LIBC.capget(ctypes.byref(header), sets))
    return header, sets


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
