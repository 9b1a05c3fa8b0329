"""abort: the client's own socket is destroyed, and reports ECONNABORTED."""

from typing import ClassVar

from faultproxy.faults.base import ClientSees, Need, Peers, Report, Side, TriggeredFault


class Abort(TriggeredFault):
    """Data up to the trigger, then ECONNABORTED on the next call, read or write.

    The client's own socket is destroyed, as ``ss -K`` does it (sock_diag(7)): so the proxy must share the
    client's network namespace, as a sidecar does, and have CAP_NET_ADMIN. Otherwise the client is reset:
    ``degraded``. A client that was sent FIN before reads EOF, and only a write of its fails with ECONNABORTED.
    The server gets FIN.
    """

    key: ClassVar[str] = "abort"

    @property
    def needs(self) -> Need:
        return Need.DESTROY

    @property
    def touches_server(self) -> bool:
        return False

    def client_sees(self, peers: Peers) -> ClientSees:
        return "EOF" if peers.client_has_eof else "ECONNABORTED"

    def client_sees_instead(self, peers: Peers) -> ClientSees:
        return peers.client_on_rst()

    async def inject(self, peers: Peers, report: Report, until: float) -> None:
        peers.stop()
        undelivered = await self.flushed(peers, Side.CLIENT)
        why_not = peers.destroy_client()
        report(undelivered if why_not is None else f"the connection is reset: {why_not}")
        peers.rst(Side.CLIENT)
