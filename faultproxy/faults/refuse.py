"""refuse: nobody listens there."""

from typing import ClassVar

from faultproxy.faults.base import ClientSees, Connect, HalfOpen, ListenerMode


class Refuse(Connect):
    """``connect()`` fails with ECONNREFUSED, as if the server were not running.

    An outage (a ``refuse`` with no condition but ``window``) closes the listener, so the kernel itself
    refuses. For some connections only, their SYN is answered with RST: so does every kernel on whose
    port nobody listens (RFC 9293, section 3.10.7.1). Where that is not allowed the connection is accepted
    and reset: ``degraded``, the client sees ECONNRESET on its first call after ``connect()``.
    """

    key: ClassVar[str] = "refuse"
    client_sees: ClassVar[ClientSees] = "ECONNREFUSED"
    mode_for_all: ClassVar[ListenerMode | None] = ListenerMode.CLOSED

    def answer(self, client: HalfOpen) -> None:
        client.refuse()
