"""bandwidth: bytes come at a rate."""

from typing import ClassVar, Literal

from faultproxy.faults.base import MAX_READ, Draw, Join, Segment, Shaper, StreamShape
from faultproxy.faults.line import Line
from faultproxy.units import PositiveSize, Rate

_BURST_S = 0.01
_PIECES_AT_ONCE = 512


class Bandwidth(StreamShape):
    """Bytes pass at ``rate``, from the first one on, in pieces of at most ``burst``.

    A virtual clock a direction says when each piece has been paid for; idle time earns nothing, so no
    second ever sees more than the rate and one burst. A burst is 10 ms of the rate unless it is given.

    ``per: proxy`` is one line for all connections of the proxy that the rule picks, one each way: those that have
    something to send share it fairly, in turns of a piece each. It comes before the other shapes, wherever its rule
    stands.

    A rate of 0 stalls: what is under way still arrives, then nothing is read, not even FIN, until an edit gives a
    rate or removes the rule, or its window closes. Then every byte goes on.
    """

    key: ClassVar[str] = "bandwidth"

    rate: Rate
    """How many bytes a second pass, in each direction; 0 stalls it."""
    burst: PositiveSize | None = None
    """How many bytes may pass at once after a pause; 10 ms of the rate without it."""
    per: Literal["connection", "proxy"] = "connection"
    """Whose line it is: each connection has its own, or all of the proxy that the rule picks share one, fairly."""

    @property
    def is_shared(self) -> bool:
        return self.per == "proxy" and self.rate > 0

    def line(self, before: Join | None) -> Line:
        return Line(self.rate, self._burst, before if isinstance(before, Line) else None)

    def shaper(self, draw: Draw) -> Shaper:
        return _Metered(self.rate, self._burst)

    @property
    def _burst(self) -> int:
        return self.burst or max(1, int(self.rate * _BURST_S))


class _Metered(Shaper):
    delay_s = 0.25

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.max_read = min(MAX_READ, burst * _PIECES_AT_ONCE)
        self._burst = burst
        self._paid_until = 0.0

    def shape(self, due: float, offset: int, data: bytes) -> list[Segment]:
        segments = []
        for start in range(0, len(data), self._burst):
            piece = data[start : start + self._burst]
            self._paid_until = max(self._paid_until, due) + len(piece) / self.rate
            segments.append((self._paid_until, piece, False))
        return segments

    def end(self, due: float, *, fin: bool) -> float:
        return max(self._paid_until, due)
