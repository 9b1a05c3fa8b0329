"""Before a connection exists: the listening socket and its mode, SYNs that are judged, and how many clients get in."""

from faultproxy.listener.listener import Accepted, Listener

__all__ = ["Accepted", "Listener"]
