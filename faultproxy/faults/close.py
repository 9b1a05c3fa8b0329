"""close: the stream is truncated."""

from typing import ClassVar

from faultproxy.faults.base import ClientSees, Peers, Report, TriggeredFault


class Close(TriggeredFault):
    """FIN both ways at the trigger: the client reads EOF at the exact byte, and the connection is gone.

    What either side still sends is read and thrown away for up to a second, because a close with
    unread input sends RST instead (RFC 2525, section 2.17).
    """

    key: ClassVar[str] = "close"

    def client_sees(self, peers: Peers) -> ClientSees:
        return "nothing" if peers.client_has_eof else "EOF"

    async def inject(self, peers: Peers, report: Report, until: float) -> None:
        peers.stop()
        report(None)
