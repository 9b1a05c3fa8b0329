"""Moves the bytes: a poller serves sockets, a pipe is one direction, a relay is two pipes. Imports only kernel."""

from faultproxy.relay.memory import BUFFER_SIZE
from faultproxy.relay.pipe import UNLIMITED, End, Piece, Pipe, PipeShaper
from faultproxy.relay.poller import Endpoint, Poller
from faultproxy.relay.relay import Peer, Relay

__all__ = ["BUFFER_SIZE", "UNLIMITED", "End", "Endpoint", "Peer", "Piece", "Pipe", "PipeShaper", "Poller", "Relay"]
