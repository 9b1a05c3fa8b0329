"""Servers that answer, clients that know what they must get, and the judgement of what they got."""

import errno
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.peers import Address
from tests.soak.log import Life, Log, text_of

CLIENT_PATIENCE_S = 5.0
SERVER_PATIENCE_S = 30.0
HEAD = struct.Struct("!II")  # how many bytes the client sends, and how many it wants
PATTERN = random.Random(1).randbytes(1 << 17)


@contextmanager
def serving(listener: socket.socket) -> Iterator[None]:
    """Answer every client with as many bytes of the pattern as it asks for, once all of its own have come."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=_serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield
    listener.shutdown(socket.SHUT_RDWR)


def _serve(sock: socket.socket) -> None:
    with sock, suppress(OSError):
        sock.settimeout(SERVER_PATIENCE_S)
        while (head := _read(sock, HEAD.size)) is not None:
            sends, wants = HEAD.unpack(head)
            if _read(sock, sends) is None:
                return
            sock.sendall(PATTERN[:wants])


def _read(sock: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(min(count - len(data), 65536))
        if not piece:
            return None
        data += piece
    return bytes(data)


class Client:
    """What one client asked for and saw. ``outcome`` is complete, left, EOF, silence or an errno's name."""

    def __init__(self, r: random.Random) -> None:
        self.sends = r.choice((0, 1, 300, 5000, 60_000))
        self.wants = r.choice((1, 200, 3000, 50_000, 100_000))
        self.rounds = r.choice((1, 1, 1, 3))
        self.leaves = r.random() < 0.1  # resets in the middle
        self.half_closes = r.random() < 0.3
        self.is_urgent = r.random() < 0.1  # its last byte is (tcp(7), MSG_OOB)
        self.sent = self.received = self.wrong_bytes = 0
        self.name = ""
        self.outcome = "complete"

    def talk_to(self, address: Address) -> None:
        """Connect, and ask; never raises."""
        with socket.socket() as sock:
            sock.settimeout(CLIENT_PATIENCE_S)
            try:
                sock.connect(address)
                self.name = "{}:{}".format(*sock.getsockname())
                for number in range(self.rounds):
                    self._exchange(sock, is_last=number == self.rounds - 1)
                if self.half_closes and not self.leaves and sock.recv(1):
                    self.outcome = "too much"
            except TimeoutError:
                self.outcome = "silence"
            except EOFError:
                self.outcome = "EOF"
            except OSError as error:
                self.outcome = errno.errorcode.get(error.errno or 0, type(error).__name__)
            if self.leaves and self.outcome == "complete":
                self.outcome = "left"
            if self.leaves or self.outcome == "silence":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _exchange(self, sock: socket.socket, *, is_last: bool) -> None:
        request = HEAD.pack(self.sends, self.wants) + PATTERN[: self.sends]
        broken: OSError | None = None
        try:
            sock.sendall(request[:-1])
            sock.sendall(request[-1:], socket.MSG_OOB if self.is_urgent else 0)
            self.sent += len(request)
            if is_last and self.half_closes:
                sock.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise
        except OSError as error:
            broken = error  # what came before it can still be read
        stop_at = self.wants // 2 if self.leaves and is_last else self.wants
        got = 0
        while got < stop_at:
            try:
                piece = sock.recv(min(65536, self.wants - got))
            except OSError as error:
                raise broken or error from None
            if not piece:
                raise broken or EOFError
            self.wrong_bytes += piece != PATTERN[got : got + len(piece)]
            got += len(piece)
            self.received += len(piece)
        if broken is not None:
            raise broken


def judge(proxy: str, client: Client, log: Log) -> str | None:
    """What is wrong with what a client saw, if anything is. Waits until its connection is over."""
    if not client.name:
        return None  # it was not accepted: by a rule, an outage, an edit
    life = log.life(proxy, client.name)
    if life is None or life.closed is None:
        unknown_is_right = client.received == 0 and client.outcome != "complete"
        return None if unknown_is_right else f"{proxy}: the log does not know {client.name}: {vars(client)}"
    what = _contradiction(proxy, client, life)
    return f"{proxy}: {what}: {vars(client)}; the log: {text_of(life.closed)} {life.faults}" if what else None


def _contradiction(proxy: str, client: Client, life: Life) -> str | None:
    assert life.closed is not None
    keys = {line["fault"] for line in life.faults}
    if client.outcome == "too much" or client.received > life.closed["bytes_downstream"]:
        return "more came than was sent"
    if client.wrong_bytes and "corrupt" not in keys:
        return "wrong bytes"
    is_explained = keys or life.failed or life.closed["ended_by"] in {"fault", "upstream_error", "drain"}
    may_hang = proxy == "full" and client.outcome == "silence"  # its server accepts nobody
    if client.outcome not in {"complete", "left"} and not is_explained and not may_hang:
        return f"{client.outcome}, which nothing explains"
    counts = life.closed["bytes_upstream"], life.closed["bytes_downstream"]
    if client.outcome == "complete" and not is_explained and counts != (client.sent, client.received):
        return "the counts of bytes differ"
    for line in life.faults:
        is_exact = line["fidelity"] == "exact" and line["client_sees"] == "ECONNRESET" == client.outcome
        counts_down = "B" in line["trigger"] and "downstream" in line["trigger"]
        if is_exact and counts_down and not client.leaves and client.received != line["bytes_downstream"]:
            return "reset at the wrong byte"
    return None
