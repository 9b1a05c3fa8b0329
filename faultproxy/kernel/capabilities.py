"""Capabilities of this process (capabilities(7), capset(2))."""

import ctypes
import os

_VERSION_3 = 0x20080522
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def use_permitted() -> None:
    """Make every capability effective that this process is permitted.

    A file may permit capabilities without making them effective: then it can also be executed where some of them
    are not to be had, as in a container that was not given them. Raises OSError.
    """
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    if _LIBC.capget(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for half in sets:
        half.effective = half.permitted
    if _LIBC.capset(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
