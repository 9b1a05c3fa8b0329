"""slow_connect: the handshake takes longer."""

from typing import ClassVar

from faultproxy.faults.base import ConnectDelay


class SlowConnect(ConnectDelay):
    """``connect()`` takes ``delay`` longer, as over a long way or from a server with a full queue.

    The SYN is answered that much later. A client whose own timeout is shorter fails as it would with a
    slow server. Where that is not allowed the connection is accepted at once, and the server is dialled
    that much later: ``degraded``.
    """

    key: ClassVar[str] = "slow_connect"
