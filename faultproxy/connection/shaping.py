"""The shapes of one connection: which act, how far each has come, and that each is reported once."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from math import inf, prod
from socket import AF_UNIX
from typing import Protocol

from faultproxy.connection import host
from faultproxy.connection.lines import Lines
from faultproxy.connection.packets import PacketFilter
from faultproxy.connection.peers import Peers
from faultproxy.faults.base import Direction, Join, PacketShape, Shape, Shaper, StreamShape
from faultproxy.faults.chain import Chain
from faultproxy.rules.plan import BY_HAND, Faults, Match

Acting = tuple[Match, StreamShape]


class ReportShape(Protocol):
    """Is called when a shape first acts; or, with the reason, when it should, and cannot."""

    def __call__(self, match: Match, shape: Shape, degraded: str | None = None) -> None: ...


class Shaping:
    """Puts the shapes of the rules that match a connection on its pipes, and on the packets of both peers.

    ``draw`` draws for a rule's name and whatever else is given. ``lines`` are what it shares with other connections.
    """

    def __init__(self, peers: Peers, draw: Callable[..., float], report: ReportShape, lines: Lines) -> None:
        self._peers = peers
        self._draw = draw
        self._report = report
        self._lines = lines
        self._matches: tuple[Match, ...] = ()
        self._by_hand: dict[str, Match] = {}  # by the kind of the shape
        self._streams: list[Acting] = []
        self._packets: list[tuple[Match, PacketShape]] = []
        self._at_work: dict[tuple[str, str, Direction], tuple[Shape | Join, Shaper]] = {}
        self._losing: list[tuple[str, PacketShape]] = []
        self._reported: set[tuple[str, str]] = set()
        self._changed_before = 0  # by shapes that an edit has replaced

    def set(self, matches: Iterable[Match]) -> None:
        """Let these rules' shapes act, once they are installed, and no others."""
        self.look()
        self._matches = tuple(matches)
        acting = [
            (match, shape) for match in (*self._matches, *self._by_hand.values()) for shape in match.faults.shapes
        ]
        streams = [(match, shape) for match, shape in acting if isinstance(shape, StreamShape)]
        self._streams = sorted(streams, key=lambda one: not one[1].is_shared)
        self._packets = [(match, shape) for match, shape in acting if isinstance(shape, PacketShape)]

    def set_by_hand(self, match: Match | None) -> None:
        """Let these shapes act too, once they are installed, in place of others of their kinds; None: no more.

        What those have held goes on at once.
        """
        new = (
            {shape.key: Match(BY_HAND, 0, Faults([shape])) for shape in match.faults.shapes}
            if match is not None
            else {}
        )
        if match is None or new.keys() & self._by_hand.keys():
            reported = self._reported
            self.release({BY_HAND})
            self._reported = reported - {(BY_HAND, key) for key in new}
        self._by_hand = self._by_hand | new if match is not None else {}
        self.set(self._matches)

    def install(self) -> None:
        """Shape what is read from now on; what is under way arrives as it set out."""
        self._lose()
        if self._peers.relay is None or not (self._streams or self._at_work):
            return
        for direction in Direction:
            pipe = self._peers.pipe(direction)
            if not pipe.is_shut:
                acting = [(match, shape) for match, shape in self._streams if shape.acts_on(direction)]
                shapers = [self._shaper(match, shape, direction) for match, shape in acting]
                pipe.set_shaper(Chain(shapers, pipe.bytes_read, partial(self._acted, acting)) if shapers else None)
                for (match, shape), shaper in zip(acting, shapers, strict=True):
                    if shaper.rate == 0:
                        self._report_once(match, shape)

    def release(self, rules: Collection[str]) -> None:
        """Let what the shapes of these rules hold go on at once, through the other shapes that have it too."""
        for direction in Direction:
            keys = [(match.rule, shape.key, direction) for match, shape in self._streams if shape.acts_on(direction)]
            going = [key for key in keys if key[0] in rules and key in self._at_work]
            if going:
                held_s = sum(self._at_work[key][1].delay_s for key in going)
                self._peers.pipe(direction).hurry(held_s if len(going) < len(keys) else inf)
        self._reported = {one for one in self._reported if one[0] not in rules}

    @property
    def bytes_changed(self) -> int:
        """How many bytes shapes have changed."""
        return self._changed_before + sum(shaper.changed for _, shaper in self._at_work.values())

    @property
    def expects_loss(self) -> bool:
        """Whether packets may be lost of which nothing was reported yet."""
        return any(shape.loss and not self._is_reported(match, shape) for match, shape in self._packets)

    def look(self) -> None:
        """Report a first packet that was lost."""
        packets = self._peers.packets
        if packets is not None and self.expects_loss:
            lost = packets.lost()
            for match, shape in self._packets:
                if shape.loss and any(map(shape.acts_on, lost)):
                    self._report_once(match, shape)

    def _lose(self) -> None:
        peers = self._peers
        if peers.server is not None and peers.server.family == AF_UNIX:
            for match, shape in self._packets:
                if not shape.acts_on(Direction.UPSTREAM):
                    self._report_once(match, shape, "nothing is lost: to a Unix socket there are no packets")
        losing = [(match.rule, shape) for match, shape in self._packets]
        if losing == self._losing:
            return
        self._losing = losing
        peers.packets = peers.packets or PacketFilter(peers.client)
        upstream, downstream = (
            1 - prod(1 - shape.loss for _, shape in losing if shape.acts_on(direction)) for direction in Direction
        )
        try:
            peers.packets.lose(upstream, downstream, peers.server)
        except OSError as error:
            for match, shape in self._packets:
                self._report_once(match, shape, f"nothing is lost: {host.no_filter(error)}")

    def _shaper(self, match: Match, shape: StreamShape, direction: Direction) -> Shaper:
        """The shape at work, which goes on where it was when only others have changed."""
        key = (match.rule, shape.key, direction)
        line = self._lines.get(match.rule, shape, direction) if shape.is_shared else None
        made_by = line or shape
        if key not in self._at_work or self._at_work[key][0] != made_by:
            self._changed_before += self._at_work[key][1].changed if key in self._at_work else 0
            self._at_work[key] = (made_by, line() if line is not None else shape.shaper(partial(self._draw, *key)))
        return self._at_work[key][1]

    def _acted(self, acting: Sequence[Acting], index: int) -> None:
        self._report_once(*acting[index])

    def _report_once(self, match: Match, shape: Shape, degraded: str | None = None) -> None:
        if not self._is_reported(match, shape):
            self._reported.add((match.rule, shape.key))
            self._report(match, shape, degraded)

    def _is_reported(self, match: Match, shape: Shape) -> bool:
        return (match.rule, shape.key) in self._reported
