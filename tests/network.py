"""Many clients at once, network namespaces, and forged packets: what it takes to try SYN interception."""

import ctypes
import errno
import multiprocessing
import os
import select
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

import pytest

from faultproxy.kernel import raw_socket, raw_tcp, socket_filter
from tests.peers import PATIENCE_S, Address

_CLONE_NEWNET = 0x40000000
T = TypeVar("T")
_LIBC = ctypes.CDLL(None, use_errno=True)


def _why_no_syn_interception() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        try:
            raw_socket.receiver(socket.AF_INET).close()
            raw_socket.sender(socket.AF_INET, 1).close()
            socket_filter.attach(listener, socket_filter.drop_syns(1))
        except OSError as error:
            return f"raw sockets and a filter on the listener are not allowed here: {error}"
    return ""


def _why_no_filter() -> str:
    try:
        socket_filter.check()
    except OSError as error:
        return f"a TCP socket may not be filtered here: {error}"
    return ""


# For asynchronous tests: pytest-trio forgets the reason of a skip within them.
needs_syn_interception = pytest.mark.skipif(bool(_why_no_syn_interception()), reason=_why_no_syn_interception())
needs_a_filter = pytest.mark.skipif(bool(_why_no_filter()), reason=_why_no_filter())


def need_syn_interception() -> None:
    """Skip the test, with the reason, where SYNs cannot be judged."""
    if why := _why_no_syn_interception():
        pytest.skip(why)


def need_a_filter() -> None:
    """Skip the test, with the reason, where a connection may not be filtered."""
    if why := _why_no_filter():
        pytest.skip(why)


def connect_many(address: Address, count: int, patience_s: float = PATIENCE_S) -> Counter[str]:
    """Connect so many clients at once; how often connect() ended how: ``connected``, an errno, ``silence``."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with ExitStack() as stack:
        clients = {}
        for _ in range(count):
            client = stack.enter_context(socket.socket(family))
            client.setblocking(False)
            client.connect_ex(address)
            clients[client.fileno()] = client
        outcomes: Counter[str] = Counter()
        poll = stack.enter_context(select.epoll())
        for number in clients:
            poll.register(number, select.EPOLLOUT)
        deadline = monotonic() + patience_s
        while clients and monotonic() < deadline:
            for number, _ in poll.poll(max(0.0, deadline - monotonic())):
                poll.unregister(number)
                error = clients.pop(number).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                outcomes[errno.errorcode[error] if error else "connected"] += 1
        return outcomes + Counter(silence=len(clients))


def forged_syn(source: str, destination: Address, source_port: int, sequence: int, data: bytes = b"") -> bytes:
    """A whole IPv4 packet: the SYN of a client that does not exist, and what it carries."""
    segment = struct.pack("!HHIIBBHHH", source_port, destination[1], sequence, 0, 5 << 4, 2, 1024, 0, 0) + data
    ends = socket.inet_aton(source), socket.inet_aton(destination[0])
    check = raw_tcp.checksum(struct.pack("!4s4sBBH", *ends, 0, 6, len(segment)) + segment)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0, *ends)
    return head + segment[:16] + check.to_bytes(2) + segment[18:]


class Flood:
    """So many forged SYNs a second at a port of this host, by a process of its own, each a new client's.

    Their sources are in 127.7.0.0/16. There are few, and each begins anew again and again: where the firewall tracks
    connections, each address and port would stay in its table for two minutes, until nobody can connect any more.
    """

    def __init__(self, address: Address, per_s: int, data: bytes = b"") -> None:
        self._address, self._per_s, self._data = address, per_s, data

    def __enter__(self) -> "Flood":
        self._process = multiprocessing.get_context("fork").Process(target=self._send, daemon=True)
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()

    def _send(self) -> None:
        packets = [
            forged_syn(f"127.7.0.{number % 200 + 1}", self._address, 1024 + number // 200 % 10, number, self._data)
            for number in range(50_000 if not self._data else 600)
        ]
        sender = raw_socket.sender(socket.AF_INET)
        began, sent = monotonic(), 0
        while True:
            while sent < (monotonic() - began) * self._per_s:
                raw_socket.send(sender, packets[sent % len(packets)], socket.inet_aton(self._address[0]), 0)
                sent += 1
            sleep(0.001)


class Namespaces:
    """Two network namespaces joined by a veth pair, ``client`` and ``server``; gone at the end."""

    CLIENT, SERVER = "10.99.0.1", "10.99.0.2"
    CLIENT6, SERVER6 = "fd99::1", "fd99::2"

    def __init__(self) -> None:
        self.client, self.server = f"fpc{os.getpid()}", f"fps{os.getpid()}"

    def __enter__(self) -> "Namespaces":
        try:
            for name in (self.client, self.server):
                ip("netns", "add", name)
            ip("link", "add", "v0", "netns", self.client, "type", "veth", "peer", "name", "v1", "netns", self.server)
            ends = (self.client, "v0", self.CLIENT, self.CLIENT6), (self.server, "v1", self.SERVER, self.SERVER6)
            for name, device, address, address6 in ends:
                ip("-n", name, "address", "add", f"{address}/24", "dev", device)
                ip("-n", name, "address", "add", f"{address6}/64", "dev", device, "nodad")
                ip("-n", name, "link", "set", device, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            pytest.skip(f"network namespaces cannot be made here: {error}")
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.client, self.server):
            with suppress(FileNotFoundError):  # there is no such command here
                subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def as_user(user: int, call: Callable[[], T]) -> T:
    """What a call returns in a process of another user, who may be unable to import anything any more."""
    ours, theirs = multiprocessing.Pipe()

    def run() -> None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        theirs.send(call())

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    theirs.close()
    with ours:
        result: T = ours.recv()
    process.join()
    return result


@contextmanager
def inside(name: str) -> Iterator[None]:
    """This thread is in a network namespace meanwhile; sockets and processes made in it stay there (setns(2))."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(Path("/run/netns") / name, os.O_RDONLY)
    try:
        _setns(other)
        yield
    finally:
        _setns(own)
        os.close(own)
        os.close(other)


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def ip(*words: str) -> None:
    """Run iproute2's command. Raises CalledProcessError."""
    subprocess.run(["ip", *words], check=True, capture_output=True)
