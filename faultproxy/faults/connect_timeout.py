"""connect_timeout: the server does not answer."""

from typing import ClassVar

from faultproxy.faults.base import ClientSees, Connect, HalfOpen, ListenerMode


class ConnectTimeout(Connect):
    """``connect()`` hangs until the client gives up: with its own timeout, or with ETIMEDOUT after two minutes or so.

    The SYN is never answered, nor are its retransmissions (tcp(7), tcp_syn_retries). Where SYNs cannot be judged,
    one for everybody (with no condition but ``window``) silences the listener by a filter, logged as an outage; any
    other is degraded: the connection is accepted and reset.
    """

    key: ClassVar[str] = "connect_timeout"
    client_sees: ClassVar[ClientSees] = "ETIMEDOUT"
    mode_for_all: ClassVar[ListenerMode | None] = ListenerMode.SILENT

    def answer(self, client: HalfOpen) -> None:
        client.ignore()
