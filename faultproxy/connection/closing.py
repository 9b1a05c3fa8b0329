"""How a connection ends: with FIN to whoever is left, or with the reset of one side passed on to the other."""

import socket

import trio

from faultproxy.connection.peers import Peers
from faultproxy.faults.base import Side
from faultproxy.kernel import sockets
from faultproxy.relay import Peer

_READ_OUT_S = 1.0
_NO_PROGRESS_S = 5.0


def close_all(peers: Peers) -> None:
    """Close what is open: both directions have ended in peace."""
    peers.stop()
    _close(peers)


def reset_all(peers: Peers) -> None:
    """Reset what is open: a truncated stream must not look like a whole one.

    An end_politely() that goes on is to be cancelled before: it waits for the sockets.
    """
    peers.stop()
    if peers.packets is not None:
        peers.packets.lost()  # soon the socket cannot be asked any more
    for sock in (peers.client, peers.server):
        if sock is not None and sock.fileno() >= 0:
            sockets.reset(sock)


def must_flush(peers: Peers, broken: Peer) -> bool:
    """One side was reset: whether the other has not acknowledged all that was sent to it."""
    other = peers.server if broken == "client" else peers.client
    return other is not None and sockets.unacknowledged(other) > 0


async def propagate_reset(peers: Peers, broken: Side) -> None:
    """One side was reset: reset the other too, after all that had arrived for it."""
    peers.stop()
    for side, sock in peers.open_sockets():
        if side is not broken and sockets.unacknowledged(sock):
            await peers.flush(side)
        peers.rst(side)


async def end_politely(peers: Peers) -> None:
    """Send FIN to whoever is left, and read and throw away what they send for up to a second, then close.

    For longer while a side still takes what was sent to it: were its socket closed before, the next byte that it sends
    would be answered with RST, and the rest be lost (RFC 2525, section 2.17).
    """
    socks = [sock for _, sock in peers.open_sockets()]
    for sock in socks:
        sockets.shut_write(sock)
    async with trio.open_nursery() as nursery:
        for sock in socks:
            nursery.start_soon(_drain_reads, sock)
    _close(peers)


def _close(peers: Peers) -> None:
    if peers.packets is not None:
        peers.packets.lost()  # soon the socket cannot be asked any more
    for _, sock in peers.open_sockets():
        sockets.end(sock)


async def _drain_reads(sock: socket.socket) -> None:
    left = sockets.unacknowledged(sock)
    give_up_at = trio.current_time() + _NO_PROGRESS_S
    while True:
        with trio.move_on_after(_READ_OUT_S):
            await _read_out(sock)
            return
        before, left = left, sockets.unacknowledged(sock)
        if left < before:
            give_up_at = trio.current_time() + _NO_PROGRESS_S
        if not left or trio.current_time() > give_up_at:
            return


async def _read_out(sock: socket.socket) -> None:
    while sock.fileno() >= 0:
        try:
            await trio.lowlevel.wait_readable(sock)
            if not sock.recv(65536):
                return
        except BlockingIOError:
            continue
        except (OSError, trio.ClosedResourceError):
            return
