"""reset: the connection breaks."""

from typing import ClassVar, Literal

from faultproxy.faults.base import ClientSees, Ending, Link, Side


class Reset(Ending):
    """Data up to the trigger, then ECONNRESET on the next call, read or write.

    Linux reports the error once: afterwards a write gives EPIPE and a read EOF. A client that was sent
    FIN before sees EPIPE at once (tcp(7), ``tcp_reset`` in net/ipv4/tcp_input.c). A side that is not
    named in ``to`` gets FIN.
    """

    key: ClassVar[str] = "reset"

    to: Literal["client", "server", "both"] = "both"

    @property
    def touches_server(self) -> bool:
        return self.to != "client"

    def client_sees(self, link: Link) -> ClientSees:
        if self.to == "server":
            return "nothing" if link.client_has_eof else "EOF"
        return "EPIPE" if link.client_has_eof else "ECONNRESET"

    async def strike(self, link: Link) -> None:
        sides = (Side.CLIENT, Side.SERVER) if self.to == "both" else (Side(self.to),)
        await link.reset(*sides)
