"""slice: bytes come in small pieces."""

import math
from typing import ClassVar

from faultproxy.faults.base import MAX_READ, Draw, Segment, Shaper, StreamShape
from faultproxy.units import Duration, PositiveSize, Size

_PIECES_AT_ONCE = 512


class Slice(StreamShape):
    """The stream arrives in pieces of ``size``, give or take ``jitter``, each in a segment of its own.

    MSG_EOR keeps the kernel from joining pieces (net/ipv4/tcp.c, ``tcp_sendmsg``). ``pause`` is the time between two.
    """

    key: ClassVar[str] = "slice"

    size: PositiveSize
    """How many bytes a piece has."""
    jitter: Size = 0
    """How many bytes more or fewer a piece may have."""
    pause: Duration = 0.0
    """How long after one piece the next leaves."""

    def shaper(self, draw: Draw) -> Shaper:
        return _Sliced(self, draw)


class _Sliced(Shaper):
    def __init__(self, slicing: Slice, draw: Draw) -> None:
        self.rate = slicing.size / slicing.pause if slicing.pause else math.inf
        self.delay_s = 0.25 if slicing.pause else 0.0
        self.max_read = min(MAX_READ, slicing.size * _PIECES_AT_ONCE)
        self._slicing = slicing
        self._draw = draw
        self._next = 0.0

    def shape(self, due: float, offset: int, data: bytes) -> list[Segment]:
        segments, start = [], 0
        while start < len(data):
            piece = data[start : start + self._size(offset + start)]
            at = max(self._next, due)
            self._next = at + self._slicing.pause
            segments.append((at, piece, True))
            start += len(piece)
        return segments

    def end(self, due: float, *, fin: bool) -> float:
        return max(self._next, due)

    def _size(self, offset: int) -> int:
        slicing = self._slicing
        if not slicing.jitter:
            return slicing.size
        return max(1, slicing.size + round(slicing.jitter * (2 * self._draw(offset) - 1)))
