"""What peers and strangers do, a function each: what was once found by attacking it. All leave nothing behind.

Bounded, and on loopback only. What the others must be spared, the bystander and the other clients say.
"""

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from faultproxy.kernel import raw_socket
from tests.network import forged_syn
from tests.peers import connect, reset
from tests.soak.running import Running
from tests.soak.traffic import HEAD

_FORGED, _FORGED_PER_S = 5000, 2500
_ALMOST = (b"a", b"a", b"abbabaaab", b"word")
_PIECE, _PIECES = 256 * 1024, 8
_HELD_CLIENTS, _HELD_EACH = 32, 2 << 20
_MOST_HELD_KIB = 48 * 1024  # 8 MiB may be, and the kernel's buffers are not the process's

Attack = Callable[[Running, random.Random], None]


def forged_syns(running: Running, r: random.Random) -> None:
    """SYNs of clients that do not exist, at a listener that judges them, while edits and windows change its mode."""
    address = running.address("intercepting")
    try:
        sender = raw_socket.sender(socket.AF_INET)
    except PermissionError:  # CAP_NET_RAW; then nothing intercepts either
        return
    data = r.choice((b"", b"x" * 1000))
    with sender:
        began = time.monotonic()
        for sent in range(_FORGED):
            source = f"127.7.{r.randrange(250)}.{r.randrange(1, 250)}"
            packet = forged_syn(source, address, r.randrange(1024, 65536), r.getrandbits(32), data)
            with suppress(OSError):  # ENOBUFS
                sender.sendto(packet, (address[0], 0))
            while sent > (time.monotonic() - began) * _FORGED_PER_S:
                time.sleep(0.002)
            if running.stop.is_set():
                return


def almost_matching(running: Running, r: random.Random) -> None:
    """What expressions that backtrack would take for ever to turn down, in large pieces."""
    fed = r.choice(_ALMOST)
    piece = (fed * (_PIECE // len(fed) + 1))[:_PIECE]
    with _clients(running, "expressions", 2) as clients:
        for client in clients:
            client.sendall(HEAD.pack(_PIECE * _PIECES, 1))
        for _ in range(_PIECES):
            for client in clients:
                client.sendall(piece)
        for client in clients:
            running.check(len(client.recv(2)) == 1, f"expressions: what was fed {fed!r} did not arrive")


def hanging_names(running: Running, _: random.Random) -> None:
    """Clients of upstreams whose names hang, more than there were threads once."""
    with ExitStack() as stack:
        for name in ("hangs-1", "hangs-2", "hangs-3"):
            stack.enter_context(_clients(running, name, 8))
        running.stop.wait(2.5)


def its_own_upstream(running: Running, r: random.Random) -> None:
    """One client of a proxy that dials itself, which nobody could see before: it takes what it may have, and no more."""
    with _clients(running, "itself", 1) as (client,):
        client.sendall(b"round and round")
        running.stop.wait(r.choice((0.2, 2.0)))


def held_bytes(running: Running, __: random.Random) -> None:
    """Many clients that send much to what holds it back: it is not read."""
    before = running.resident_kib()
    data = HEAD.pack(_HELD_EACH, 1) + bytes(_HELD_EACH)
    with _clients(running, "held", _HELD_CLIENTS) as clients:
        for client in clients:
            with suppress(OSError):  # an edit has let some go on, and the server has reset what is no request
                client.setblocking(False)
                sent = 0
                while sent < len(data):
                    sent += client.send(data[sent : sent + 65536])
        running.stop.wait(1.0)
        grown = running.resident_kib() - before
        running.check(grown < _MOST_HELD_KIB, f"{grown} KiB were held, of 8 MiB that may be")


@contextmanager
def _clients(running: Running, proxy: str, count: int) -> Iterator[list[socket.socket]]:
    """So many clients, as far as they are accepted; they leave with a reset."""
    with ExitStack() as stack:
        clients = [connect(running.address(proxy)) for _ in range(count)]
        for client in clients:
            stack.callback(reset, client)
        yield clients


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack for attack in (forged_syns, almost_matching, hanging_names, its_own_upstream, held_bytes)
}
