"""A timer that is a descriptor: epoll wakes at its microsecond, not at the next millisecond (timerfd_create(2))."""

import ctypes
import os

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1
_SOON_NS = 1  # an all-zero time would disarm the timer
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """Readable from a moment of time.monotonic() on. The caller closes it. Raises OSError (EMFILE)."""

    def __init__(self) -> None:
        self.fd = _LIBC.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._spec = _Itimerspec()

    def set(self, at_s: float) -> None:
        """Become readable at this moment, or at once if it is past; an earlier setting is forgotten."""
        nanoseconds = max(_SOON_NS, int(at_s * 1e9))
        self._spec.value.seconds, self._spec.value.nanoseconds = divmod(nanoseconds, 10**9)
        _LIBC.timerfd_settime(self.fd, _ABSOLUTE, ctypes.byref(self._spec), None)

    def acknowledge(self) -> None:
        """Be no longer readable, until set again."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass  # it was set again meanwhile

    def close(self) -> None:
        """Give the descriptor back; a second time nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
