"""half_close: one direction ends, the other goes on."""

from typing import ClassVar

from faultproxy.faults.base import ClientSees, Direction, Peers, Report, TriggeredFault


class HalfClose(TriggeredFault):
    """FIN in one direction while the other goes on.

    Downstream: the client reads EOF at the trigger, and its writes still reach the server. Upstream:
    the server reads EOF, and its reply still reaches the client. What is still sent into the ended
    direction is read and thrown away (shutdown(2)).
    """

    key: ClassVar[str] = "half_close"

    direction: Direction = Direction.DOWNSTREAM
    """Which direction ends; the other goes on."""

    @property
    def silences(self) -> bool:
        return False

    def client_sees(self, peers: Peers) -> ClientSees:
        return "EOF" if self.direction is Direction.DOWNSTREAM and not peers.client_has_eof else "nothing"

    async def inject(self, peers: Peers, report: Report, until: float) -> None:
        if peers.end(self.direction):
            report(None)
