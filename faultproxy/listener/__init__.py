"""Before a connection exists: the listening socket and its mode, SYNs that are judged, and how many clients get in."""

from faultproxy.listener.listener import Listener
from faultproxy.listener.listening_socket import Accepted

__all__ = ["Accepted", "Listener"]
