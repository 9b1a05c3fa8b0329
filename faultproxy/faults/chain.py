"""Several shapes on one pipe: what one lets out, the next takes in."""

import math
from collections.abc import Callable, Sequence

from faultproxy.faults.base import MAX_BUFFERED, Segment, Shaper


class Chain:
    """Shapers one behind the other, from the first rule to the last, for the bytes from ``offset`` on.

    ``acted`` is called with the index of a shaper whenever it delays, cuts up or changes something.
    """

    def __init__(self, shapers: Sequence[Shaper], offset: int, acted: Callable[[int], None]) -> None:
        # What is held must last as long as bytes are kept, but no longer: it outlives the shapes in an edit.
        rate = min(shaper.rate for shaper in shapers)
        seconds = sum(shaper.delay_s for shaper in shapers)
        self.max_buffered = MAX_BUFFERED if rate == math.inf else max(1, min(MAX_BUFFERED, int(rate * seconds)))
        self.max_read = min(self.max_buffered, *(shaper.max_read for shaper in shapers))
        self._shapers = shapers
        self._offset = offset
        self._acted = acted

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
