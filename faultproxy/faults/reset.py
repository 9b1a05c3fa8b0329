"""reset: the connection breaks."""

from typing import ClassVar, Literal

from faultproxy.faults.base import ClientSees, Peers, Report, Side, TriggeredFault


class Reset(TriggeredFault):
    """Data up to the trigger, then ECONNRESET on the next call, read or write.

    Linux reports the error once: afterwards a write gives EPIPE and a read EOF. A client that was sent
    FIN before sees EPIPE at once (tcp(7), ``tcp_reset`` in net/ipv4/tcp_input.c). A side that is not
    named in ``to`` gets FIN. At once is 5 ms after the handshake, so that ``connect()`` has returned.
    """

    key: ClassVar[str] = "reset"

    to: Literal["client", "server", "both"] = "both"
    """Who is reset; the other side ends with FIN."""

    @property
    def touches_server(self) -> bool:
        return self.to != "client"

    def client_sees(self, peers: Peers) -> ClientSees:
        if self.to == "server":
            return "nothing" if peers.client_has_eof else "EOF"
        return peers.client_on_rst()

    async def inject(self, peers: Peers, report: Report, until: float) -> None:
        peers.stop()
        if self.after.at_once and self.to != "server":
            await peers.settle()  # or a connect() that is still under way fails itself
        sides = (Side.CLIENT, Side.SERVER) if self.to == "both" else (Side(self.to),)
        no_rst = next(filter(None, map(peers.why_no_rst, sides)), None)
        for side in sides:
            undelivered = await self.flushed(peers, side)
            report(undelivered or no_rst)
            peers.rst(side)
