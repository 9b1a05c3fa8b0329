"""What faults act on, for tests: peers, and a half-open client, that only record what was asked of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from faultproxy.faults.base import ClientSees, Direction, Side, TriggeredFault

Step = tuple[object, ...]


@dataclass
class RecordingPeers:
    """Implements faults.base.Peers; ``steps`` are what a fault did, in order, its reports among them.

    The other fields are what the peers answer; ``on_flush`` is called in each flush.
    """

    client_has_eof: bool = False
    is_open: bool = True
    undelivered: str | None = None
    no_rst: str | None = None
    no_destroy: str | None = None
    no_partition: str | None = None
    is_ended: bool = False
    on_flush: Callable[["RecordingPeers"], None] = lambda _: None
    steps: list[Step] = field(default_factory=list)

    def stop(self) -> None:
        self.is_open = False
        self.steps.append(("stop",))

    async def flush(self, side: Side, until: float = math.inf) -> str | None:
        self.steps.append(("flush", side) if until == math.inf else ("flush", side, until))
        self.on_flush(self)
        return self.undelivered

    async def settle(self) -> None:
        self.steps.append(("settle",))

    def fin(self, side: Side) -> None:
        self.steps.append(("fin", side))

    async def fin_sent(self, side: Side) -> None:
        self.steps.append(("fin_sent", side))

    def rst(self, side: Side) -> None:
        self.steps.append(("rst", side))

    def why_no_rst(self, side: Side) -> str | None:
        return self.no_rst if side is Side.SERVER else None

    def client_on_rst(self) -> ClientSees:
        return "EPIPE" if self.client_has_eof else "ECONNRESET"

    def destroy_client(self) -> str | None:
        self.steps.append(("destroy_client",))
        return self.no_destroy

    def end(self, direction: Direction) -> bool:
        self.steps.append(("end", direction))
        return not self.is_ended

    def discard(self, direction: Direction) -> None:
        self.steps.append(("discard", direction))

    def freeze(self, for_s: float | None) -> None:
        self.steps.append(("freeze", for_s))

    def partition(self) -> str | None:
        self.steps.append(("partition",))
        return self.no_partition

    def report(self, degraded: str | None) -> None:
        """A faults.base.Report."""
        self.steps.append(("report", degraded))


async def steps_of(fault: TriggeredFault, peers: RecordingPeers | None = None, until: float = math.inf) -> list[Step]:
    """What a fault does to these peers, or to some to whom nothing has happened yet."""
    peers = peers or RecordingPeers()
    await fault.inject(peers, peers.report, until)
    return peers.steps


def seen_by_client(fault: TriggeredFault) -> tuple[str, str]:
    """What the client sees that was not sent FIN yet, and what one sees that was."""
    return fault.client_sees(RecordingPeers()), fault.client_sees(RecordingPeers(client_has_eof=True))


class RecordingHalfOpen:
    """Implements faults.base.HalfOpen; ``answers`` is what connect faults gave."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, ...]] = []

    def refuse(self) -> None:
        self.answers.append(("refuse",))

    def unreachable(self, what: Literal["host", "net"]) -> None:
        self.answers.append(("unreachable", what))

    def ignore(self) -> None:
        self.answers.append(("ignore",))
