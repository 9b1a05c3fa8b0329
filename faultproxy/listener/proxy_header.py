"""The header of the PROXY protocol that a load balancer sends before its client's first byte: it is read, and gone."""

import socket

from faultproxy import proxy_protocol
from faultproxy.listener.peek import FirstBytes, peek
from faultproxy.proxy_protocol import ConnectionEnds, Header, Malformed
from faultproxy.relay import Poller


class NoHeader(Exception):
    """What came, ``count`` bytes of it, is no whole header; the text says why."""

    def __init__(self, text: str, count: int) -> None:
        super().__init__(text)
        self.count = count


async def read_header(sock: socket.socket, poller: Poller, until: float) -> ConnectionEnds | None:
    """Wait for the header, and take it; who connects to where, or None if it does not say: a health check.

    ``until`` is a moment of trio.current_time(). Raises NoHeader. What comes behind the header stays unread. The socket
    stays the caller's.
    """
    header: Header | None = None

    def is_whole(said: FirstBytes) -> bool:
        nonlocal header
        try:
            header = proxy_protocol.parse(said.data)
        except Malformed as error:
            raise NoHeader(f"malformed: {error}", len(said.data)) from None
        return header is not None

    said = await peek(sock, poller, until, is_whole)
    if header is None:
        why = "peek_timeout is over" if said.timed_out else "the connection has ended"
        raise NoHeader(f"{why} before there was one", len(said.data))
    sock.recv(header.size)
    return header.ends
