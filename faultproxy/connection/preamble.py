"""What the server is told before the client's first byte: a header of the PROXY protocol. No byte count has it."""

import socket

from faultproxy import proxy_protocol
from faultproxy.proxy_protocol import ConnectionEnds, HeaderVersion
from faultproxy.rules.facts import ConnectionFacts


def send(server: socket.socket, version: HeaderVersion, facts: ConnectionFacts) -> bool:
    """Send the header to a server that was just connected; False if it has reset the connection.

    A new socket has room for the header, 107 bytes at most (tcp(7), tcp_wmem), so nothing is waited for.
    """
    ends = ConnectionEnds(facts.client, facts.client_port, facts.destination, facts.destination_port)
    header = proxy_protocol.header(version, ends)
    try:
        return server.send(header) == len(header)
    except OSError:
        return False
