"""The demo's clients: blocking sockets, as in any program, and what each of their connections saw."""

import errno
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from operator import ne

REQUEST = b"give me ten thousand bytes\n"
REPLY = b"x" * 10_000
MORE = b"more after the end\n"
_CHECKER = "127.0.0.2"
_MEANWHILE = b"is anyone there?\n"
_PATIENCE_S = 3.0
_HURRY_S = 0.15
_LONG_PATIENCE_S = 20.0  # a packet that is lost time and again comes after twice as long each time
_LOOK_AGAIN_S = 0.002
_TCP_INFO_SIZE = 104
_LONG_MS = 90  # no client without a fault takes so long


@dataclass(frozen=True, slots=True)
class Seen:
    """What one connection gave a client: ``sees`` in the words of the log's ``client_sees``, and how it knows."""

    sees: str
    call: str
    error: OSError | None
    received: int
    proof: str


class DemoClient:
    """One connection of a client, and how far it came."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.call = "socket"
        self.received = 0
        self.eof = False
        self.effect = ""
        self.proof = ""
        self.sock = socket.socket()
        self.sock.settimeout(_PATIENCE_S)

    def connect(self) -> None:
        """Connect."""
        self.call = "connect"
        self.sock.connect(self.address)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.call = "send"
        self.sock.sendall(data)

    def receive(self, most: float = inf) -> bytes:
        """What comes until EOF, or until there is so much in all."""
        self.call = "recv"
        data = b""
        while self.received < most and not self.eof:
            piece = self.sock.recv(65536)
            self.received += len(piece)
            self.eof = not piece
            data += piece
        return data

    @property
    def unacknowledged(self) -> int:
        """Packets that its kernel has sent, and not heard of since (tcp(7), TCP_INFO: tcpi_unacked)."""
        return self._tcp_info(24)

    @property
    def sent_again(self) -> int:
        """Packets that its kernel has sent more than once (tcpi_total_retrans)."""
        return self._tcp_info(100)

    def _tcp_info(self, offset: int) -> int:
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        return int.from_bytes(info[offset : offset + 4], sys.byteorder)

    def sees(self, error: OSError | None) -> str:
        """What became of it, in the words of the log's ``client_sees``."""
        if isinstance(error, TimeoutError) and not error.errno:
            return "ETIMEDOUT" if self.call == "connect" else "silence"  # its own timeout, before the kernel's
        if error is not None:
            return errno.errorcode.get(error.errno or 0, type(error).__name__)
        return self.effect or ("EOF" if self.eof else "nothing")


def _play(address: tuple[str, int], act: Callable[[DemoClient], None]) -> Seen:
    client = DemoClient(address)
    error = None
    with client.sock:
        try:
            act(client)
        except OSError as caught:
            error = caught
    return Seen(client.sees(error), client.call, error, client.received, client.proof)


def _fetch(client: DemoClient) -> None:
    client.connect()
    client.send(REQUEST)
    answer = client.receive(len(REPLY))
    if not REPLY.startswith(answer):
        changed = sum(map(ne, answer, REPLY))
        client.effect, client.proof = "change", f"{changed} of them changed"


def _fetch_at_leisure(client: DemoClient) -> None:
    before = time.monotonic()
    _fetch(client)
    _note_delay(client, before, "after")


def _fetch_to_the_end(client: DemoClient) -> None:
    _fetch(client)
    client.sock.shutdown(socket.SHUT_WR)
    before = time.monotonic()
    client.receive()
    _note_delay(client, before, "EOF after")


def _note_delay(client: DemoClient, before: float, what: str) -> None:
    took_ms = (time.monotonic() - before) * 1000
    if took_ms >= _LONG_MS:
        client.effect, client.proof = "delay", f"{what} {took_ms:.0f} ms"


def _fetch_in_a_hurry(client: DemoClient) -> None:
    client.connect()
    client.send(REQUEST)
    client.receive(1)
    client.sock.settimeout(_HURRY_S)
    client.receive(len(REPLY))


def _call_out(client: DemoClient) -> None:
    client.connect()
    client.send(REQUEST)
    client.receive(1)
    client.sock.settimeout(_HURRY_S)
    with suppress(TimeoutError):
        client.receive(len(REPLY))
    client.send(_MEANWHILE)
    try:
        client.receive(len(REPLY))
    finally:
        client.proof = f"what it sends is {'never ' if client.unacknowledged else ''}acknowledged"


def _talk_until_sent_again(client: DemoClient) -> None:
    client.sock.settimeout(_LONG_PATIENCE_S)
    _fetch(client)
    give_up = time.monotonic() + _PATIENCE_S
    while not client.sent_again and time.monotonic() < give_up:
        if not client.unacknowledged:
            client.send(_MEANWHILE)
        time.sleep(_LOOK_AGAIN_S)  # noqa: TID251  # a client has its own thread
    client.call = "getsockopt"
    if client.sent_again:
        client.effect, client.proof = "delay", f"packets sent again: {client.sent_again}"


def _connect_in_a_hurry(client: DemoClient) -> None:
    client.sock.settimeout(_HURRY_S)
    _fetch(client)


def _fetch_and_stay(client: DemoClient) -> None:
    _fetch(client)
    client.receive()


def _fetch_as_checker(client: DemoClient) -> None:
    client.sock.bind((_CHECKER, 0))
    _fetch(client)
    client.proof = f"from {_CHECKER}"


def _write_after_eof(client: DemoClient) -> None:
    _fetch(client)
    gone = select.poll()
    gone.register(client.sock, 0)  # 0: nothing but POLLERR and POLLHUP, which come with the reset
    gone.poll(_PATIENCE_S * 1000)
    client.send(MORE)


def _talk_on(client: DemoClient) -> None:
    _fetch(client)
    client.send(MORE)


def _talk_to_the_deaf(client: DemoClient) -> None:
    client.connect()
    client.send(b"hello, world\n")
    answer = client.receive().decode()
    client.eof = not answer  # the end of a whole answer is no surprise
    client.proof = f"the server says: {answer}"


def _fetch_patiently(address: tuple[str, int]) -> list[Seen]:
    """Exponential backoff: 20, 40, 80 ms, and so on, for at most six attempts."""
    attempts: list[Seen] = []
    while len(attempts) < 6:
        attempts.append(_play(address, _fetch))
        if attempts[-1].error is None:
            break
        time.sleep(0.01 * 2 ** len(attempts))  # noqa: TID251  # a client has its own thread
    return attempts


def once(*acts: Callable[[DemoClient], None]) -> Callable[[tuple[str, int]], list[Seen]]:
    """A client that does each of these things once, in a connection each."""
    return lambda address: [_play(address, act) for act in acts]


CLIENTS: Mapping[str, Callable[[tuple[str, int]], list[Seen]]] = {
    "timeout": once(_connect_in_a_hurry),
    "queue": once(_fetch_at_leisure),
    "late": once(_fetch_and_stay),
    "pipe": once(_write_after_eof),
    "hang": once(_fetch_in_a_hurry),
    "blackhole": once(_fetch_in_a_hurry),
    "partition": once(_call_out),
    "slow": once(_fetch_at_leisure),
    "narrow": once(_fetch_at_leisure),
    "slice": once(_fetch_at_leisure),
    "loss": once(_talk_until_sent_again),
    "linger": once(_fetch_to_the_end),
    "half": once(_talk_on),
    "deaf": once(_talk_to_the_deaf),
    "pass": once(_fetch_as_checker, _fetch),
    "retry": _fetch_patiently,
}
"""The client of each proxy. The others have one that asks once."""


def play(proxy: str, address: tuple[str, int]) -> list[Seen]:
    """Have the client of a proxy do what it does; blocks. What each of its connections saw."""
    return CLIENTS.get(proxy, once(_fetch))(address)
