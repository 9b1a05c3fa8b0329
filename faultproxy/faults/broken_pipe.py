"""broken_pipe: EOF for the reader, EPIPE for the next write."""

from typing import ClassVar

from faultproxy.faults.base import ClientSees, Peers, Report, Side, TriggeredFault


class BrokenPipe(TriggeredFault):
    """A reader gets EOF, and the next write fails with EPIPE.

    FIN, then RST right behind it: a socket in CLOSE_WAIT that receives RST reports EPIPE (``tcp_reset`` in
    net/ipv4/tcp_input.c). A write within microseconds of the EOF may still succeed, the one after it fails.
    The server gets FIN.
    """

    key: ClassVar[str] = "broken_pipe"

    @property
    def touches_server(self) -> bool:
        return False

    def client_sees(self, peers: Peers) -> ClientSees:
        return "EPIPE"

    async def inject(self, peers: Peers, report: Report, until: float) -> None:
        peers.stop()
        undelivered = await self.flushed(peers, Side.CLIENT)
        if not self.after.counts_bytes:
            await peers.settle()  # or a connect() that is still under way fails with EPIPE itself
        peers.fin(Side.CLIENT)
        await peers.fin_sent(Side.CLIENT)
        peers.rst(Side.CLIENT)  # before the report: until then a write still succeeds
        report(undelivered)
