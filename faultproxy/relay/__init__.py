"""Every byte goes through here: a switchboard of lanes. Imports only kernel."""

from faultproxy.relay.lane import Circuit, End, Lane
from faultproxy.relay.switchboard import Switchboard

__all__ = ["Circuit", "End", "Lane", "Switchboard"]
