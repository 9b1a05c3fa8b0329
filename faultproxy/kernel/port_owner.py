"""Which process listens on a TCP port (proc(5): /proc/net/tcp, /proc/PID/fd, /proc/PID/comm)."""

import os
from pathlib import Path
from time import monotonic

_LISTEN = b"0A"


def find_port_owner(port: int, within_s: float = 0.1) -> str | None:
    """The process that listens on a TCP port, as ``name (pid N)``.

    None if it cannot be seen (only processes of one's own user can be looked into, unless one is root), or is not
    found within this time: a process may have 100,000 descriptors, of which 30,000 are read in 0.1 s. The name is the
    process's own choice: what is not printable in it is escaped.
    """
    give_up = monotonic() + within_s
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for pid in filter(str.isdigit, os.listdir("/proc")) if sockets else ():
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in sockets:
                    return f"{_name(pid)} (pid {pid})"
                if monotonic() > give_up:
                    return None
        except OSError:
            continue  # another user's, or gone meanwhile
    return None


def _name(pid: str) -> str:
    """What the process calls itself: at most 15 bytes of any kind, cut perhaps within a character (prctl(2))."""
    name = Path(f"/proc/{pid}/comm").read_bytes().removesuffix(b"\n").decode(errors="backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


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
