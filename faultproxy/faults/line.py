"""One line that many streams share, fairly. Pure: time is handed in."""

from collections import deque

from faultproxy.faults.base import MAX_READ, Segment, Shaper

_AHEAD_S = 0.1
_MOST_AHEAD = 10
_SHORTEST_TURN_S = 0.0005


class Line:
    """Carries ``rate`` bytes a second, in turns: a piece of each stream that has something to send, then the next.

    A virtual clock says when each piece has been paid for, whoever sent it. Each stream has the same number of pieces
    in the line, at most, and is read on when the first of them leaves: so all have as many turns. There are 100 ms of
    pieces in the line in all, so that it does not stand still while it waits for who is read. A turn is a burst at
    most, and shorter the more streams there are. ``before`` is the line that this one replaces: what that has sold is
    paid for.

    Call it for the shaper of one stream.
    """

    def __init__(self, rate: float, burst: int, before: "Line | None" = None) -> None:
        self.rate = rate
        self.piece = self._burst = min(burst, MAX_READ)
        self.paid_until: float = before.paid_until if before is not None else 0.0
        self.turns_ahead = _MOST_AHEAD
        self._sending: dict[Turns, float] = {}

    def __call__(self) -> "Turns":
        return Turns(self)

    def book(self, stream: "Turns", due: float, size: int) -> float:
        """When bytes of this stream have passed that come at ``due``."""
        sending = self._sending  # in the order in which their last pieces leave
        while sending and sending[first := next(iter(sending))] <= due:
            del sending[first]
        sending.pop(stream, None)
        self.paid_until = sending[stream] = max(self.paid_until, due) + size / self.rate
        shortest = int(self.rate * _SHORTEST_TURN_S)
        self.piece = max(1, min(self._burst, max(self._burst // len(sending), shortest)))
        self.turns_ahead = min(_MOST_AHEAD, max(2, round(_AHEAD_S * self.rate / (self.piece * len(sending)))))
        return self.paid_until


class Turns(Shaper):
    """The shaper of one stream. ``not_before`` is when it is to be read on."""

    delay_s = 2 * _AHEAD_S

    def __init__(self, line: Line) -> None:
        self.rate = line.rate
        self.not_before = 0.0
        self._line = line
        self._dues: deque[float] = deque([0.0], maxlen=_MOST_AHEAD)

    @property
    def max_read(self) -> int:  # type: ignore[override]  # nobody sets it: the line does, for all at once
        """A turn's bytes."""
        return self._line.piece

    def shape(self, due: float, offset: int, data: bytes) -> list[Segment]:
        """The bytes, when they have passed the line."""
        leaves, dues = self._line.book(self, due, len(data)), self._dues
        dues.append(leaves)
        self.not_before = dues[-self._line.turns_ahead] if len(dues) >= self._line.turns_ahead else 0.0
        return [(leaves, data, False)]

    def end(self, due: float, *, fin: bool) -> float:
        """Behind the last byte."""
        return max(self._dues[-1], due)
