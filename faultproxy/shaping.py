"""The shapes of one connection: which act, how far each has come, and that each is told of once."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import prod
from typing import Protocol

from faultproxy.faults.base import Direction, PacketShape, Shape, Shaper, StreamShape
from faultproxy.faults.chain import Chain
from faultproxy.link import Link
from faultproxy.rules.plan import Match

Acting = tuple[Match, StreamShape]


class Tell(Protocol):
    """Is called when a shape first acts; or, with the reason, when it should, and cannot."""

    def __call__(self, hit: Match, shape: Shape, degraded: str | None = None) -> None: ...


class Shaping:
    """Puts the shapes of a connection's rules on its pipes, and on its client's packets.

    ``roll`` draws for a rule's name and whatever else is given.
    """

    def __init__(self, hits: Iterable[Match], roll: Callable[..., float], tell: Tell) -> None:
        self.set(hits)
        self._roll = roll
        self._tell = tell
        self._at_work: dict[tuple[str, str, Direction], tuple[Shape, Shaper]] = {}
        self._losing: list[tuple[str, PacketShape]] = []
        self._told: set[tuple[str, str]] = set()

    def set(self, hits: Iterable[Match]) -> None:
        """Let these rules' shapes act, once they are installed, and no others."""
        acting = [(hit, shape) for hit in hits for shape in hit.shapes]
        self._streams = [(hit, shape) for hit, shape in acting if isinstance(shape, StreamShape)]
        self._packets = [(hit, shape) for hit, shape in acting if isinstance(shape, PacketShape)]

    def install(self, link: Link) -> None:
        """Shape what is read from now on; what is under way arrives as it set out."""
        self._lose(link)
        if not self._streams and not self._at_work:
            return
        for direction in Direction:
            pipe = link.pipe(direction)
            if pipe is not None and not pipe.is_shut:
                acting = [(hit, shape) for hit, shape in self._streams if shape.acts_on(direction)]
                shapers = [self._shaper(hit, shape, direction) for hit, shape in acting]
                pipe.set_shaper(Chain(shapers, pipe.bytes_read, partial(self._acted, acting)) if shapers else None)

    @property
    def is_waiting(self) -> bool:
        """Whether packets may be lost of which nobody was told yet: look for them now and then."""
        return any(shape.loss and not self._is_told(hit, shape) for hit, shape in self._packets)

    def look(self, link: Link) -> None:
        """Tell of a first packet that was lost."""
        if self.is_waiting and link.has_lost:
            for hit, shape in self._packets:
                if shape.loss:
                    self._tell_once(hit, shape)

    def _lose(self, link: Link) -> None:
        losing = [(hit.rule, shape) for hit, shape in self._packets]
        if losing != self._losing:
            self._losing = losing
            degraded = link.lose(1 - prod(1 - shape.loss for _, shape in losing))
            if degraded is not None:
                for hit, shape in self._packets:
                    self._tell_once(hit, shape, degraded)

    def _shaper(self, hit: Match, shape: StreamShape, direction: Direction) -> Shaper:
        """The shape at work, which goes on where it was when only others have changed."""
        key = (hit.rule, shape.key, direction)
        if key not in self._at_work or self._at_work[key][0] != shape:
            self._at_work[key] = (shape, shape.shaper(partial(self._roll, *key)))
        return self._at_work[key][1]

    def _acted(self, acting: Sequence[Acting], index: int) -> None:
        self._tell_once(*acting[index])

    def _tell_once(self, hit: Match, shape: Shape, degraded: str | None = None) -> None:
        if not self._is_told(hit, shape):
            self._told.add((hit.rule, shape.key))
            self._tell(hit, shape, degraded)

    def _is_told(self, hit: Match, shape: Shape) -> bool:
        return (hit.rule, shape.key) in self._told
