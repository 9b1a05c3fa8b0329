"""A say in when the kernel runs us (sched_setattr(2); sched(7); kernel/sched/syscalls.c)."""

import ctypes
import os
import struct
from types import MappingProxyType

SHORT_SLICE_S = 0.0001
"""The shortest that the kernel grants."""

_SCHED_SETATTR = MappingProxyType({"x86_64": 314, "aarch64": 274})
_SCHED_OTHER = 0
_LIBC = ctypes.CDLL(None, use_errno=True)


def ask_for_short_slices() -> bool:
    """Be run sooner and for a shorter time at once, as suits who only passes things on; whether that was granted.

    For the calling thread, which keeps its share of the processor. Needs no privilege; Linux before 6.12
    takes the wish and ignores it.
    """
    number = _SCHED_SETATTR.get(os.uname().machine)
    if number is None:
        return False
    # size, policy, flags, nice, priority, runtime (of SCHED_OTHER: its slice), deadline, period; times in nanoseconds
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wish = struct.pack("IIQiIQQQ", 48, _SCHED_OTHER, 0, nice, 0, int(SHORT_SLICE_S * 1e9), 0, 0)
    return _LIBC.syscall(number, 0, wish, 0) == 0
