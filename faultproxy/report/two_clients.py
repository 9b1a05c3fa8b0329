"""Two clients behind one address: how well they explain waits of which nobody knows whose they are. Pure.

Each attempt is one client's or the other's, whose wait began at its own attempt before. Of all ways to share out the
attempts, those that explain the waits so far best are followed.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from faultproxy.report.policies import LEAST_S, LEVELS, LOG_2_PI, below, log_sum

_PRIOR = 0.16
_SPREADS = (0.04, 0.12, 0.25)
_HOPELESS = 10.0  # how much less likely than the best a way may be to be followed
_NO_KNEE = 1000
_LEAST_RISING = 2  # waits before a cap
_CAP = 3.0  # what a cap costs: it may begin at any wait, and be as high as the next would have been
_SEARCH = 0.12**2  # the variance by which ways are compared
_MOST_WAITS, _MOST_WAYS = 24, 48
_SLOPE, _KNOWN = 0.7, 1 / 0.07  # the logarithm of a factor: its expected value, and one by its variance
_LOG_2, _LOG_LEVELS = math.log(2), math.log(LEVELS)
_SECOND_LEVELS = 4.0  # the other's first wait is not as free as the one's,
_STARTS = 3.0  # nor its first attempt,
_LATE = 0.7  # and it is less likely after each attempt of the other
_GONE = 0.35  # how sharply a wait is told from having given up
_EACH = 0.1  # ways to share out overlap, so the sum over them is too high
_ALONE = -4.0  # an episode of one of them only


def two_clients(episodes: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The evidence of two clients, as that of one; and how many waits were judged.

    Each is constant or exponential, with or without a cap.
    """
    judged: list[list[float]] = []
    room = _MOST_WAITS
    for gaps in episodes:
        if room:
            judged.append([max(gap_s, LEAST_S) for gap_s in gaps[:room]])
            room -= len(judged[-1])
    ways = [way for way in _ways(judged) if way.one.n and way.other.n]
    if not ways:
        return -math.inf, _MOST_WAITS - room
    evidence = log_sum(way.evidence(spread**2) for way in ways for spread in _SPREADS) - math.log(len(_SPREADS))
    of_waits = _MOST_WAITS - room
    return evidence + math.log(_PRIOR * LEVELS / _SECOND_LEVELS) - _EACH * of_waits, of_waits


class _Client(NamedTuple):
    """When it last tried in this episode, if it did, its next wait's number; the sums of its waits' logarithms.

    ``knee`` is the number of its first wait at a cap, where it has one; ``at_cap`` is how many lie there, and what
    follows are their sums.
    """

    last_s: float | None = None
    number: int = 0
    n: int = 0
    x: float = 0.0
    xx: float = 0.0
    y: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    likely: float = 0.0
    knee: int = _NO_KNEE
    at_cap: int = 0
    cap_y: float = 0.0
    cap_yy: float = 0.0

    def begins(self, at_s: float | None) -> "_Client":
        """It at its first attempt of an episode, or before."""
        return self._replace(last_s=at_s, number=0)

    def tries(self, at_s: float, wait: float) -> "_Client":
        """It after a wait, of this logarithm."""
        _, number, n, x, xx, y, yy, xy, _, knee, at_cap, cap_y, cap_yy = self
        if number >= knee:
            at_cap, cap_y, cap_yy = at_cap + 1, cap_y + wait, cap_yy + wait * wait
        else:
            n, x, xx = n + 1, x + number, xx + number * number
            y, yy, xy = y + wait, yy + wait * wait, xy + number * wait
        likely = _evidence(n, x, xx, y, yy, xy, _SEARCH)
        if at_cap:
            likely += _evidence_of_cap(at_cap, cap_y, cap_yy, _SEARCH)
        return _Client(at_s, number + 1, n, x, xx, y, yy, xy, likely, knee, at_cap, cap_y, cap_yy)

    def can_be_capped(self) -> bool:
        """Whether its next wait may be its first at a cap."""
        return self.knee == _NO_KNEE and self.n >= _LEAST_RISING and self.number == self.n

    def evidence(self, variance: float) -> float:
        """That of its waits, if they stray by this."""
        rising = _evidence(self.n, self.x, self.xx, self.y, self.yy, self.xy, variance)
        return rising + _evidence_of_cap(self.at_cap, self.cap_y, self.cap_yy, variance) if self.at_cap else rising

    def is_waiting(self, at_s: float) -> float:
        """The logarithm of the probability that it has not tried again yet."""
        if self.last_s is None:
            return _ALONE
        if not self.n or at_s <= self.last_s:
            return 0.0
        if self.at_cap and self.number >= self.knee:
            expected = self.cap_y / self.at_cap
            return math.log(max(1e-4, below((expected - math.log(at_s - self.last_s)) / _GONE)))
        slope = max(0.0, (self.xy - self.x * self.y / self.n) / (self.xx - self.x**2 / self.n + 0.1))
        expected = self.y / self.n + slope * (self.number - self.x / self.n)
        return math.log(max(1e-4, below((expected - math.log(at_s - self.last_s)) / _GONE)))


def _evidence(n: int, x: float, xx: float, y: float, yy: float, xy: float, variance: float) -> float:
    """That of waits with these sums, which are constant or grow."""
    if not n:
        return 0.0
    misfit = (yy - y * y / n) / variance
    density = LOG_2_PI + math.log(variance)
    level = 0.5 * (density - math.log(n)) - 0.5 * n * density - _LOG_LEVELS
    varied = (xx - x * x / n) / variance
    if varied < 1e-9:
        return level - 0.5 * misfit
    weight = varied + _KNOWN
    slope = ((xy - x * y / n) / variance + _SLOPE * _KNOWN) / weight
    gain = 0.5 * (weight * slope**2 - _SLOPE**2 * _KNOWN + math.log(_KNOWN / weight))
    return level - 0.5 * misfit + max(gain, 0.0) + math.log1p(math.exp(-abs(gain))) - _LOG_2


def _evidence_of_cap(n: int, y: float, yy: float, variance: float) -> float:
    """That of waits with these sums, which are at a cap."""
    density = LOG_2_PI + math.log(variance)
    return 0.5 * (density - math.log(n)) - 0.5 * n * density - 0.5 * (yy - y * y / n) / variance - _CAP


class _Way(NamedTuple):
    """Attempts shared out: the logarithm of the density apart from the clients' waits, and both clients."""

    likely: float
    density: float
    one: _Client
    other: _Client

    def evidence(self, variance: float) -> float:
        return self.density + self.one.evidence(variance) + self.other.evidence(variance)


def _ways(episodes: Sequence[Sequence[float]]) -> list[_Way]:
    """The best ways to share out the attempts."""
    ways = [_Way(0.0, 0.0, _Client(), _Client())]
    for gaps in episodes:
        begun = []
        for _, density, one, other in ways:
            begun.append(_way(density, one.begins(0.0), other.begins(None)))
            if other.n:
                begun.append(_way(density, one.begins(None), other.begins(0.0)))
        ways, at_s = begun, 0.0
        for index, gap_s in enumerate(gaps):
            at_s += gap_s
            tried = []
            for _, density, one, other in ways:
                for more, its in _tries(density, one, at_s, gap_s, index):
                    tried.append(_way(more, its, other))
                for more, its in _tries(density, other, at_s, gap_s, index):
                    tried.append(_way(more, one, its))
            tried.sort(key=_likely, reverse=True)
            ways = [way for way in tried[:_MOST_WAYS] if way.likely > tried[0].likely - _HOPELESS]
        ways = [
            _way(density + one.is_waiting(at_s) + other.is_waiting(at_s), one, other) for _, density, one, other in ways
        ]
    return ways


def _way(density: float, one: _Client, other: _Client) -> _Way:
    return _Way(density + one.likely + other.likely, density, one, other)


def _likely(way: _Way) -> float:
    return way.likely


def _tries(density: float, client: _Client, at_s: float, gap_s: float, index: int) -> Iterator[tuple[float, _Client]]:
    """The client after an attempt that is its; once more with a cap, if this may be its first wait at one."""
    if client.last_s is None:
        yield density + math.log(gap_s / at_s) - math.log(_STARTS) - index * _LATE, client.begins(at_s)
        return
    wait_s = at_s - client.last_s
    density, wait = density + math.log(gap_s / wait_s), math.log(wait_s)
    yield density, client.tries(at_s, wait)
    if client.can_be_capped():
        yield density, client._replace(knee=client.number).tries(at_s, wait)
