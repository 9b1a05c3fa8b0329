"""Every byte goes through here: a switchboard of lanes. Imports only kernel."""

from faultproxy.relay.circuit import Circuit
from faultproxy.relay.lane import BUFFER_SIZE, UNLIMITED, End, Lane, Piece, Shaper
from faultproxy.relay.switchboard import Switchboard

__all__ = ["BUFFER_SIZE", "UNLIMITED", "Circuit", "End", "Lane", "Piece", "Shaper", "Switchboard"]
