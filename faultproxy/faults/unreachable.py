"""unreachable: there is no route to the server."""

from typing import ClassVar, Literal

from faultproxy.faults.base import ClientSees, Connect, HalfOpen


class Unreachable(Connect):
    """``connect()`` fails with EHOSTUNREACH (``code: host``) or ENETUNREACH (``net``), as if a route were missing.

    The SYN is answered with ICMP destination unreachable, as by a router on the way (RFC 792, RFC 4443;
    ``icmp_err_convert`` in net/ipv4/icmp.c). Where that is not allowed the connection is accepted and
    reset: ``degraded``.
    """

    key: ClassVar[str] = "unreachable"
    client_sees: ClassVar[ClientSees] = "EHOSTUNREACH"

    code: Literal["host", "net"] = "host"
    """What the router says it cannot reach: the client sees EHOSTUNREACH or ENETUNREACH."""

    def connect_returns(self) -> ClientSees:
        return "EHOSTUNREACH" if self.code == "host" else "ENETUNREACH"

    def answer(self, client: HalfOpen) -> None:
        client.unreachable(self.code)
