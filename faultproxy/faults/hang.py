"""hang: nothing moves, and the connection stays up."""

from typing import ClassVar

from pydantic import Field, StrictBool

from faultproxy.faults.base import ClientSees, Need, Peers, Report, Side, TriggeredFault
from faultproxy.units import Duration


class Hang(TriggeredFault):
    """Nothing moves in either direction, not even FIN, and the connection stays up.

    What the peers send is acknowledged until the buffers are full. After ``for``, every byte goes on its
    way; without it the silence lasts until the client resets the connection, or is found to be gone
    (keepalive, tcp(7)).

    ``acks: false`` is a partition: what the peers send is not even acknowledged, so that they send it again and
    again, and in the end get ETIMEDOUT (after some 15 minutes: tcp(7), tcp_retries2). When ``for`` is over it arrives
    with the next of these. Needs a socket filter; where that is not allowed it is acknowledged: ``degraded``.
    """

    key: ClassVar[str] = "hang"

    for_: Duration | None = Field(default=None, alias="for")
    """How long nothing moves; for ever without it."""
    acks: StrictBool = True
    """Whether kernels still acknowledge what is sent; false is a partition."""

    @property
    def needs(self) -> Need:
        return Need.NOTHING if self.acks else Need.FILTER

    @property
    def silences(self) -> bool:
        return self.for_ is None

    def client_sees(self, peers: Peers) -> ClientSees:
        return "silence"

    async def inject(self, peers: Peers, report: Report, until: float) -> None:
        peers.freeze(self.for_)
        if self.acks:
            report(None)
            return
        undelivered = await peers.flush(Side.CLIENT, until) if self.after.counts_bytes else None
        if peers.is_open:
            peers.freeze(self.for_)  # a slow reader must find the silence too: it begins only now
            why_not = peers.partition()
            report(undelivered if why_not is None else f"what is sent is acknowledged: {why_not}")
