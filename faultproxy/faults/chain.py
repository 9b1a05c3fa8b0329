"""Several shapes on one pipe: what one lets out, the next takes in."""

import math
from collections.abc import Callable, Sequence

from faultproxy.faults.base import MAX_BUFFERED, Segment, Shaper
from faultproxy.faults.line import Turns


class Chain:
    """Shapers one behind the other, from the first rule to the last, for the bytes from ``offset`` on.

    Those that share a line come first: who waits there is not read, so nothing may hold its bytes before.
    ``acted`` is called with the index of a shaper whenever it delays, cuts up or changes something. ``stalls`` says
    that one lets nothing through.
    """

    def __init__(self, shapers: Sequence[Shaper], offset: int, acted: Callable[[int], None]) -> None:
        # What is held must last as long as bytes are kept, but no longer: it outlives the shapes in an edit.
        rate = min(shaper.rate for shaper in shapers)
        seconds = sum(shaper.delay_s for shaper in shapers)
        self.max_buffered = MAX_BUFFERED if rate == math.inf else max(1, min(MAX_BUFFERED, int(rate * seconds)))
        self._turns = [shaper for shaper in shapers if isinstance(shaper, Turns)]
        others = [shaper.max_read for shaper in shapers if not isinstance(shaper, Turns)]
        self._max_read = min([self.max_buffered, *others])
        self.stalls = rate == 0
        self._shapers = shapers
        self._offset = offset
        self._acted = acted

    @property
    def max_read(self) -> int:
        """How many bytes it takes at once; with a line less the more streams there are."""
        return min([self._max_read, *(turns.max_read for turns in self._turns)]) if self._turns else self._max_read

    @property
    def not_before(self) -> float:
        """When it takes the next bytes."""
        return max((turns.not_before for turns in self._turns), default=0.0)

    def shape(self, now: float, data: bytes) -> Sequence[Segment]:
        """Pieces in the order in which they leave."""
        segments: list[Segment] = [(now, data, False)]
        for index, shaper in enumerate(self._shapers):
            shaped = _through(shaper, segments, self._offset)
            if shaped != segments:
                self._acted(index)
            segments = shaped
        self._offset += len(data)
        return segments

    def end(self, now: float, *, fin: bool) -> float:
        """When the end of the stream is due."""
        due = now
        for index, shaper in enumerate(self._shapers):
            later = shaper.end(due, fin=fin)
            if later != due:
                self._acted(index)
            due = later
        return due


def _through(shaper: Shaper, segments: Sequence[Segment], offset: int) -> list[Segment]:
    shaped: list[Segment] = []
    for due, data, own_segment in segments:
        pieces = shaper.shape(due, offset, data)
        if own_segment:  # it still ends where it ended
            last_due, last, _ = pieces[-1]
            pieces[-1] = (last_due, last, True)
        shaped += pieces
        offset += len(data)
    return shaped
