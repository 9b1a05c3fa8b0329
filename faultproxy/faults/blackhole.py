"""blackhole: bytes vanish."""

from typing import ClassVar, Literal

from faultproxy.faults.base import ClientSees, Direction, Peers, Report, TriggeredFault


class Blackhole(TriggeredFault):
    """What is sent is read, acknowledged and thrown away; the connection stays up. Only its end is passed on.

    Unlike ``hang``, which keeps every byte, it never makes a sender wait. A stream that lacks bytes cannot go on: when
    an edit changes or removes the rule, the connection is closed, unless the rule throws away the same directions
    still. With ``close: {after: {idle: 5s}}`` in the same rule it is closed once nothing was sent for so long.
    """

    key: ClassVar[str] = "blackhole"

    direction: Literal["both", "upstream", "downstream"] = "both"
    """Which way the bytes go that are thrown away: upstream to the server, downstream to the client."""

    @property
    def silences(self) -> bool:
        return self.direction == "both"

    @property
    def discards(self) -> frozenset[Direction]:
        return frozenset(Direction) if self.direction == "both" else frozenset({Direction(self.direction)})

    def client_sees(self, peers: Peers) -> ClientSees:
        return "silence"

    async def inject(self, peers: Peers, report: Report, until: float) -> None:
        for direction in sorted(self.discards):
            peers.discard(direction)
        report(None)
