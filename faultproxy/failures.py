"""What the system refuses, in one plain sentence: no traceback for a full disk or a low limit."""

import errno
import os
import resource
from collections.abc import Mapping

_NO_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_OUT_OF: Mapping[int, str] = {
    errno.EMFILE: "too many open files (EMFILE): raise the limit of {descriptors} with ulimit -n",
    errno.ENFILE: "too many open files on this machine (ENFILE): close some, or raise fs.file-max",
    errno.ENOMEM: "not enough memory (ENOMEM)",
    errno.ENOBUFS: "not enough memory for sockets (ENOBUFS)",
}


class CannotListen(Exception):
    """An address cannot be had. The text says which, why, and who may hold it; ``may_pass``: it may be had later."""

    def __init__(self, text: str, *, may_pass: bool) -> None:
        super().__init__(text)
        self.may_pass = may_pass


def sentence(error: BaseException) -> str | None:
    """What the system refused, and what to do about it; None if something else is wrong. Of a group, the first."""
    if isinstance(error, BaseExceptionGroup):
        sentences = [sentence(each) for each in error.exceptions]
        return sentences[0] if all(sentences) else None
    if isinstance(error, CannotListen):
        return str(error)
    if isinstance(error, MemoryError):
        return _OUT_OF[errno.ENOMEM]
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return f"cannot start a thread: raise the limit of {_limit(resource.RLIMIT_NPROC)} processes with ulimit -u"
    number = (error.errno if isinstance(error, OSError) else None) or 0
    if number in _NO_OUTPUT:  # no command writes anything but its output
        return f"cannot write the output: {os.strerror(number)} ({errno.errorcode[number]})"
    return _OUT_OF[number].format(descriptors=_limit(resource.RLIMIT_NOFILE)) if number in _OUT_OF else None


def _limit(which: int) -> str:
    soft, _ = resource.getrlimit(which)
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
