"""The shapes of one connection: which act, how far each has come, and that each is told of once."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from faultproxy.faults.base import Direction, Shape, Shaper
from faultproxy.faults.chain import Chain
from faultproxy.link import Link
from faultproxy.rules.decision import Hit

Acting = tuple[Hit, Shape]


class Shaping:
    """Puts the shapes of a connection's rules on its lanes.

    ``roll`` draws for a rule's name and whatever else is given; ``tell`` is called when a shape first acts.
    """

    def __init__(self, hits: Iterable[Hit], roll: Callable[..., float], tell: Callable[[Hit, Shape], None]) -> None:
        self.set(hits)
        self._roll = roll
        self._tell = tell
        self._at_work: dict[tuple[str, str, Direction], tuple[Shape, Shaper]] = {}
        self._told: set[tuple[str, str]] = set()

    def set(self, hits: Iterable[Hit]) -> None:
        """Let these rules' shapes act, once they are installed, and no others."""
        self._shapes: list[Acting] = [(hit, shape) for hit in hits for shape in hit.rule.shapes]

    def install(self, link: Link) -> None:
        """Shape what is read from now on; what is under way arrives as it set out."""
        if not self._shapes and not self._at_work:
            return
        for direction in Direction:
            lane = link.lane(direction)
            if lane is not None and not lane.shut:
                acting = [(hit, shape) for hit, shape in self._shapes if shape.acts_on(direction)]
                shapers = [self._shaper(hit, shape, direction) for hit, shape in acting]
                lane.set_shaper(Chain(shapers, lane.taken, partial(self._acted, acting)) if shapers else None)

    def _shaper(self, hit: Hit, shape: Shape, direction: Direction) -> Shaper:
        """The shape at work, which goes on where it was when only others have changed."""
        key = (hit.rule.name, shape.key, direction)
        if key not in self._at_work or self._at_work[key][0] != shape:
            self._at_work[key] = (shape, shape.shaper(partial(self._roll, *key)))
        return self._at_work[key][1]

    def _acted(self, acting: Sequence[Acting], index: int) -> None:
        hit, shape = acting[index]
        if (hit.rule.name, shape.key) not in self._told:
            self._told.add((hit.rule.name, shape.key))
            self._tell(hit, shape)
