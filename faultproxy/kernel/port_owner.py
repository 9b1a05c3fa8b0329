"""Which process listens on a TCP port (proc(5): /proc/net/tcp, /proc/PID/fd, /proc/PID/comm)."""

import os
from collections.abc import Iterator
from pathlib import Path

from faultproxy.text import one_line

_LISTEN = b"0A"
_AT_ONCE = 1000


def find_port_owner(port: int) -> Iterator[str | None]:
    """Look for the process that listens on a TCP port; the last item is ``name (pid N)``, if it is found.

    The items before are None: the caller may do something else meanwhile, or give up, as a process may have 100,000
    descriptors, of which 1,000 are read in 3 ms. Only processes of one's own user can be looked into, unless one is
    root. The name is the process's own choice: what is not printable in it is escaped.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for pid in filter(str.isdigit, os.listdir("/proc")) if sockets else ():
        yield None
        try:
            for count, fd in enumerate(os.listdir(f"/proc/{pid}/fd"), start=1):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in sockets:
                    yield f"{_name(pid)} (pid {pid})"
                    return
                if count % _AT_ONCE == 0:
                    yield None
        except OSError:
            continue  # another user's, or gone meanwhile


def _name(pid: str) -> str:
    """What the process calls itself: at most 15 bytes of any kind, cut perhaps within a character (prctl(2))."""
    return one_line(Path(f"/proc/{pid}/comm").read_bytes().removesuffix(b"\n").decode(errors="backslashreplace"))


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with Path(table).open("rb") as lines:
                next(lines)
                for line in lines:
                    fields = line.split()
                    if fields[3] != _LISTEN:
                        break  # listeners come first, and of connections there may be very many
                    if int(fields[1].rpartition(b":")[2], 16) == port:
                        inodes.add(fields[9].decode())
        except (OSError, StopIteration):
            continue  # no IPv6 here
    return inodes
