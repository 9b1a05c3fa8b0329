"""Clients and servers for tests: plain blocking sockets, well-behaved and otherwise.

Most scenes are played by one thread: it connects a client to the proxy, accepts the proxy's connection
from an Upstream, and then holds both ends. Every socket has a timeout, so that a fault nobody
asked for fails a test instead of hanging it.
"""

import errno
import select
import socket
import struct
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_S = 20.0
_SIOCOUTQ = 0x5411

Address = tuple[str, int]
Behaviour = Callable[[socket.socket], None]


class Upstream:
    """A server's listener. Whoever made it accepts by hand, and closes what is accepted.

    ``listen`` is a host, or the path of a Unix socket. A small ``receive_buffer`` makes slow readers of the
    accepted sockets: it must be set before they exist, or the kernel has promised more already.
    """

    def __init__(
        self, listen: str = "127.0.0.1", *, port: int = 0, receive_buffer: int | None = None, backlog: int = 1024
    ) -> None:
        is_unix = listen.startswith("/")
        family = socket.AF_UNIX if is_unix else socket.AF_INET6 if ":" in listen else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.bind(listen if is_unix else (listen, port))
        self.sock.listen(backlog)
        self.port = 0 if is_unix else self.sock.getsockname()[1]
        host = f"[{listen}]" if ":" in listen else listen
        self.address = f"unix:{listen}" if is_unix else f"{host}:{self.port}"
        """As it stands in a configuration."""

    def accept(self) -> socket.socket:
        """The next connection, which the caller closes."""
        sock, _ = self.sock.accept()
        sock.settimeout(PATIENCE_S)
        return sock

    def is_left_alone(self) -> bool:
        """Whether nobody waits to be accepted."""
        return not select.select([self.sock], [], [], 0)[0]

    def close(self) -> None:
        """Listen no more."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SilentUpstream(Upstream):
    """A server whose queue is full: the kernel drops every further SYN, and nobody answers, until speak()."""

    def __init__(self) -> None:
        super().__init__(backlog=0)
        self._filler = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)

    def wait_until_dialled(self) -> None:
        """Wait until somebody has sent a SYN that got no answer (proc(5), /proc/net/tcp)."""
        syn_sent = f":{self.port:04X} 02 "
        for _ in range(int(PATIENCE_S / 0.001)):
            if syn_sent in Path("/proc/net/tcp").read_text():
                return
            select.select([], [], [], 0.001)
        raise AssertionError(f"nobody dialled port {self.port} within {PATIENCE_S} s")

    def speak(self) -> None:
        """Empty the queue, and let it be long."""
        self.sock.listen(1024)
        self.accept().close()

    def close(self) -> None:
        self._filler.close()
        super().close()


class Server:
    """A server whose behaviour is a function that is given each accepted socket, in a thread of its own."""

    def __init__(self, behave: Behaviour, upstream: Upstream | None = None) -> None:
        self._behave = behave
        self._upstream = upstream or Upstream()
        self.address = self._upstream.address
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._upstream.sock.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._upstream.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._upstream.sock.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            sock.settimeout(PATIENCE_S)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                self._behave(sock)
            except OSError:
                pass  # what the peer did to it is for the client's side of the test to say


class Background:
    """A call in a thread of its own; its error is raised where the block ends."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001  # raised again in the test's thread
            self._error = error


def echo(sock: socket.socket) -> None:
    """Send back what comes, until EOF."""
    while data := sock.recv(65536):
        sock.sendall(data)


def connect(address: Address, *, receive_buffer: int | None = None) -> socket.socket:
    """A client's socket, which the caller closes. A small ``receive_buffer`` makes a slow reader of it."""
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(PATIENCE_S)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def connect_error(address: Address) -> str | None:
    """The errno's name with which connect() fails; None if it does not."""
    try:
        connect(address).close()
    except OSError as error:
        return name_of(error)
    return None


def name_of(error: OSError) -> str:
    """The errno's name."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def read_to_the_end(sock: socket.socket, piece: int = 65536) -> tuple[bytes, str]:
    """All that comes, and how it ends: ``EOF``, or the errno's name."""
    data = bytearray()
    while True:
        try:
            more = sock.recv(piece)
        except OSError as error:
            return bytes(data), name_of(error)
        if not more:
            return bytes(data), "EOF"
        data += more


def connect_and_read(address: Address) -> tuple[bytes, str]:
    """What a client gets that connects and only reads: all that comes, and how it ends.

    A reset may overtake the end of connect(), which would then fail with the same errno, and drop what had come before:
    so it is not waited for.
    """
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        client.connect_ex(address)
        client.settimeout(PATIENCE_S)
        return read_to_the_end(client)


def exchange(client: socket.socket, server: socket.socket) -> None:
    """Four bytes each way: the connection carries."""
    client.sendall(b"ping")
    assert read_exactly(server, 4) == b"ping"
    server.sendall(b"pong")
    assert read_exactly(client, 4) == b"pong"


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """So many bytes, not one more."""
    data = bytearray()
    while len(data) < count:
        more = sock.recv(count - len(data))
        assert more, f"EOF after {len(data)} of {count} bytes"
        data += more
    return bytes(data)


def send_error(sock: socket.socket, data: bytes) -> str | None:
    """Send all of it; the errno's name if that fails."""
    try:
        sock.sendall(data)
    except OSError as error:
        return name_of(error)
    return None


def wait_until_arrived(sock: socket.socket) -> None:
    """Wait until the other end's kernel has acknowledged everything (tcp(7), SIOCOUTQ)."""
    left = array("i", [1])
    for _ in range(int(PATIENCE_S / 0.001)):
        ioctl(sock, _SIOCOUTQ, left)
        if not left[0]:
            return
        select.select([], [], [], 0.001)
    raise AssertionError(f"{left[0]} bytes were not acknowledged within {PATIENCE_S} s")


def sent_again(sock: socket.socket) -> int:
    """How many segments its kernel has sent a second time (tcp(7), TCP_INFO: tcpi_total_retrans)."""
    return int(struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0])


def wait_until_broken(sock: socket.socket) -> None:
    """Wait until the socket has been reset, without reading from it: that would take the error."""
    assert is_broken(sock, PATIENCE_S), "nothing broke this socket"


def is_broken(sock: socket.socket, within_s: float) -> bool:
    """Whether the socket is reset within this time; its error is left where it is."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(within_s * 1000))


def reset(sock: socket.socket) -> None:
    """Close with RST (socket(7), SO_LINGER with a time of 0)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextmanager
def nobody() -> Iterator[str]:
    """An address where nobody listens, and nobody will."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def pattern(count: int, seed: int = 0) -> bytes:
    """Bytes in which one that is lost, repeated or out of place shows."""
    block = b"".join(struct.pack(">I", (seed << 24) + number) for number in range(min(count, 1 << 20) // 4 + 1))
    return (block * (count // len(block) + 1))[:count]
