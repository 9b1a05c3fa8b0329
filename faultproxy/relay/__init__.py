"""Moves the bytes: a poller serves sockets, a pipe is one direction, a relay is two pipes. Imports only kernel."""

from faultproxy.relay.pipe import UNLIMITED, End, Piece, Pipe, Shaper
from faultproxy.relay.poller import BUFFER_SIZE, Endpoint, Poller
from faultproxy.relay.relay import Peer, Relay

__all__ = ["BUFFER_SIZE", "UNLIMITED", "End", "Endpoint", "Peer", "Piece", "Pipe", "Poller", "Relay", "Shaper"]
