"""Two clients behind one address: how well they explain waits of which nobody knows whose they are. Pure.

Each attempt is one client's or the other's, whose wait began at its own attempt before. Of all ways to share out the
attempts, those that explain the waits so far best are followed.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from faultproxy.report.policies import LEAST_S, LEVELS, LOG_2_PI, below, log_sum

_PRIOR = 0.16
_SPREADS = (0.04, 0.12, 0.25)
_SEARCH = 0.12**2  # the variance by which ways are compared
_MOST_WAITS, _MOST_WAYS = 24, 16
_SLOPE, _KNOWN = 0.7, 1 / 0.07  # the logarithm of a factor: its expected value, and one by its variance
_LOG_2, _LOG_LEVELS = math.log(2), math.log(LEVELS)
_SECOND_LEVELS = 4.0  # the other's first wait is not as free as the one's,
_STARTS = 3.0  # nor its first attempt,
_LATE = 0.7  # and it is less likely after each attempt of the other
_GONE = 0.35  # how sharply a wait is told from having given up
_EACH = 0.1  # ways to share out overlap, so the sum over them is too high
_ALONE = -4.0  # an episode of one of them only


def two_clients(episodes: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The evidence of two clients, each constant or exponential, as that of one; and how many waits were judged."""
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
    """When it last tried in this episode, if it did, its next wait's number; the sums of its waits' logarithms."""

    last_s: float | None = None
    number: int = 0
    n: int = 0
    x: float = 0.0
    xx: float = 0.0
    y: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    likely: float = 0.0

    def begins(self, at_s: float | None) -> "_Client":
        """It at its first attempt of an episode, or before."""
        return self._replace(last_s=at_s, number=0)

    def tries(self, at_s: float, wait: float) -> "_Client":
        """It after a wait, of this logarithm."""
        _, number, n, x, xx, y, yy, xy, _ = self
        n, x, xx = n + 1, x + number, xx + number * number
        y, yy, xy = y + wait, yy + wait * wait, xy + number * wait
        return _Client(at_s, number + 1, n, x, xx, y, yy, xy, _evidence(n, x, xx, y, yy, xy, _SEARCH))

    def evidence(self, variance: float) -> float:
        """That of its waits, if they stray by this."""
        return _evidence(self.n, self.x, self.xx, self.y, self.yy, self.xy, variance)

    def is_waiting(self, at_s: float) -> float:
        """The logarithm of the probability that it has not tried again yet."""
        if self.last_s is None:
            return _ALONE
        if not self.n or at_s <= self.last_s:
            return 0.0
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
                more, its = _tries(density, one, at_s, gap_s, index)
                tried.append(_way(more, its, other))
                more, its = _tries(density, other, at_s, gap_s, index)
                tried.append(_way(more, one, its))
            tried.sort(key=_likely, reverse=True)
            ways = tried[:_MOST_WAYS]
        ways = [
            _way(density + one.is_waiting(at_s) + other.is_waiting(at_s), one, other) for _, density, one, other in ways
        ]
    return ways


def _way(density: float, one: _Client, other: _Client) -> _Way:
    return _Way(density + one.likely + other.likely, density, one, other)


def _likely(way: _Way) -> float:
    return way.likely


def _tries(density: float, client: _Client, at_s: float, gap_s: float, index: int) -> tuple[float, _Client]:
    if client.last_s is None:
        return density + math.log(gap_s / at_s) - math.log(_STARTS) - index * _LATE, client.begins(at_s)
    wait_s = at_s - client.last_s
    return density + math.log(gap_s / wait_s), client.tries(at_s, math.log(wait_s))
