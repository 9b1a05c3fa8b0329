"""Backoff: from the waits between attempts to the policy that made them, or why that cannot be told. Pure.

A wait that grows by a factor is a straight line over the attempt's number once its logarithm is taken; a cap is where
the line ends in a level one. What the waits deviate from the line is jitter, or noise. Waits that fit no line, or fit
one only by chance, are unclear: several clients behind one address look like that.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

Policy = Literal["none", "immediate", "constant", "exponential"]
BackoffKind = Policy | Literal["unclear"]
Jitter = Literal["none", "some", "unclear"]

_AT_ONCE_S, _LATE_S = 0.008, 0.06  # what a client takes to come back, and on a loaded machine
_SAME_TIME_S = 0.002
_SLACK_S = 0.003  # a loaded machine wakes a client so late
_MOST_IN_EPISODE, _MOST_POINTS = 30, 300
_LATEST_CAP = 15
_LEAST_GAPS = 3
_FEW_GAPS = 5
_CAPPED_GAPS = 8
_MANY_GAPS, _SEVERAL_EPISODES = 24, 3
_GROWS = math.log(1.25)
_SIGNIFICANT = 2.5
_NO_JITTER, _SOME_JITTER, WIDE = 0.06, 0.18, 0.45
_SAME, _AGREE = 0.06, 0.2
_LINEAR = 0.06
_LEAST_ALTERNATING = 5
_LONGEST_JITTER, _LONGEST_OF_MANY = 1.5, 2.0  # full jitter makes e times the geometric mean; the line may be low


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How a client waits between attempts.

    ``first_s`` is the wait after the first failure (or after the second, if ``first_at_once``), ``factor`` by how much
    each is longer than the one before, ``cap_s`` the longest; None where there is none. ``spread`` is how far the waits
    stray from that, as a fraction (the standard deviation of their logarithm); ``jitter`` what that means. ``why`` says
    why it is unclear, or is empty. ``waits`` is how many were seen.
    """

    kind: BackoffKind
    first_s: float | None = None
    factor: float | None = None
    cap_s: float | None = None
    jitter: Jitter = "unclear"
    spread: float | None = None
    first_at_once: bool = False
    waits: int = 0
    why: str = ""


def recognise(episodes: Sequence[Sequence[float]], overlaps: int = 0) -> Backoff:
    """The policy behind the waits, in seconds, of one client's episodes.

    ``overlaps`` is how many attempts began before the one before them had failed.
    """
    episodes = [gaps for gaps in episodes if gaps]
    waits = sum(map(len, episodes))
    if not waits:
        return Backoff(kind="none", why="it did not try again")
    if overlaps > waits * 0.1:
        return _unclear(waits, f"{overlaps} attempts began before the one before had failed: {_SEVERAL}")
    if _is_immediate(sorted(gap for gaps in episodes for gap in gaps)):
        return Backoff(kind="immediate", waits=waits, jitter="none")
    first_at_once = all(map(_begins_at_once, episodes))
    if first_at_once:
        episodes = [gaps[1:] for gaps in episodes if len(gaps) > 1]
    points = [_Point(number, gap) for gaps in episodes for number, gap in enumerate(gaps[:_MOST_IN_EPISODE])]
    points = points[:_MOST_POINTS]
    if sum(point.gap_s <= _SAME_TIME_S for point in points) > 0.2 * len(points):
        return _unclear(waits, f"some attempts come at once and others do not: {_SEVERAL}")
    if len(points) < _LEAST_GAPS:
        few = f"one wait, of {points[0].gap_s:.3g} s," if len(points) == 1 else f"{len(points)} waits"
        after = " after a first attempt that came at once" if first_at_once else ""
        what = "is too little" if len(points) == 1 else "are too few"
        return _unclear(waits, f"{few}{after} {what} to tell; let it fail more often", first_at_once)
    why_not, fit = _judge(points, episodes)
    if why_not is not None:
        return _unclear(waits, why_not, first_at_once, fit.spread)
    spread = fit.spread
    jitter: Jitter = "none" if spread <= _NO_JITTER else "some" if spread >= _SOME_JITTER else "unclear"
    return Backoff(
        kind="exponential" if fit.slope else "constant",
        first_s=_rounded(math.exp(fit.level)),
        factor=_rounded(math.exp(fit.slope)) if fit.slope else None,
        cap_s=_rounded(math.exp(fit.cap)) if fit.cap is not None else None,
        jitter=jitter,
        spread=_rounded(spread),
        first_at_once=first_at_once,
        waits=waits,
    )


_SEVERAL = "several clients behind one address, or one with several connections"


class _Point(NamedTuple):
    """A wait, and its number in its episode, from 0."""

    number: int
    gap_s: float


class _Fit(NamedTuple):
    """A line through the logarithms of waits: its value at 0, its slope, the level at which it ends, if it does.

    ``spread`` is the standard deviation from it, ``slope_error`` that of the slope.
    """

    level: float
    slope: float
    cap: float | None
    spread: float
    slope_error: float
    residuals: tuple[float, ...]

    def at(self, number: int) -> float:
        value = self.level + self.slope * number
        return value if self.cap is None else min(value, self.cap)


def _is_immediate(gaps: Sequence[float]) -> bool:
    """Whether these waits, in the order of their lengths, are only what it takes to connect again."""
    return gaps[len(gaps) // 2] <= _AT_ONCE_S and gaps[len(gaps) * 9 // 10] <= _LATE_S


def _begins_at_once(gaps: Sequence[float]) -> bool:
    """Whether the first wait is none, whatever the others are."""
    return gaps[0] <= (_AT_ONCE_S if len(gaps) == 1 else max(_AT_ONCE_S, min(_LATE_S, 0.15 * gaps[1])))


def _judge(points: Sequence[_Point], episodes: Sequence[Sequence[float]]) -> tuple[str | None, _Fit]:
    """The best line, and why it says nothing; None if it does."""
    constant = _constant(points)
    rising = _best_rising(points)
    fit = constant
    if rising is not None and rising.slope >= _GROWS:
        is_steep = rising.slope >= _SIGNIFICANT * max(rising.slope_error, 0.02)
        is_closer = rising.cap is not None and len(points) >= _CAPPED_GAPS and rising.spread < 0.75 * constant.spread
        if (is_steep and rising.spread < 0.95 * constant.spread) or is_closer:
            fit = rising
    if rising is not None and rising.slope <= -_GROWS and rising.slope <= -_SIGNIFICANT * max(rising.slope_error, 0.02):
        return "its waits become shorter", rising
    n = len(points)
    if any(_sums_agree(gaps) for gaps in episodes[:_MOST_POINTS]):
        return f"two waits alternate: {_SEVERAL}", fit
    if fit.spread > _SOME_JITTER and _repeats(points, fit):
        return f"some waits are all the same, and others differ: {_SEVERAL}", fit
    has_many = n >= _MANY_GAPS and len(episodes) >= _SEVERAL_EPISODES
    if fit.spread > _SOME_JITTER and max(fit.residuals) > (_LONGEST_OF_MANY if has_many else _LONGEST_JITTER):
        return f"some waits are much longer than jitter makes them: {_SEVERAL}", fit
    if n < _FEW_GAPS and fit.spread > _SOME_JITTER:
        return f"{n} waits vary too much to tell; let it fail more often", fit
    if fit.spread > WIDE and not has_many:
        return f"{n} waits vary as by full jitter, or as those of {_SEVERAL}; let it fail in several episodes", fit
    if fit.slope and n > _LEAST_GAPS and fit.spread > 0.02 and _is_linear(points, fit):
        return "its waits grow by the same amount each time, not by a factor", fit
    return None, fit


def _constant(points: Sequence[_Point]) -> _Fit:
    logs = [math.log(point.gap_s) for point in map(_floored, points)]
    level = sum(logs) / len(logs)
    return _measured(points, level, 0.0, None, 1)


def _best_rising(points: Sequence[_Point]) -> _Fit | None:
    """The line that fits best, with a cap or without; None if all waits have the same number."""
    last = max(point.number for point in points)
    if last == 0:
        return None
    best = _line(points, points, None)
    best_score = _score(best, len(points), 2)
    for knee in range(1, min(last - 1, _LATEST_CAP)):
        rising = [point for point in points if point.number <= knee]
        level = [point for point in points if point.number > knee]
        cap = sum(math.log(_floored(point).gap_s) for point in level) / len(level)
        fit = _line(points, rising, cap)
        is_joined = fit.level + fit.slope * knee <= cap + 0.25 and fit.level + fit.slope * (knee + 1) >= cap - 0.25
        score = _score(fit, len(points), 3)
        if is_joined and fit.slope >= _GROWS and score < best_score:
            best, best_score = fit, score
    return best


def _line(points: Sequence[_Point], rising: Sequence[_Point], cap: float | None) -> _Fit:
    """The straight line through the rising points, and what all points deviate from it."""
    mean_number = sum(point.number for point in rising) / len(rising)
    logs = [math.log(_floored(point).gap_s) for point in rising]
    mean = sum(logs) / len(logs)
    variation = sum((point.number - mean_number) ** 2 for point in rising)
    slope = (
        sum((point.number - mean_number) * log for point, log in zip(rising, logs, strict=True)) / variation
        if variation
        else 0.0
    )
    return _measured(points, mean - slope * mean_number, slope, cap, 2 if cap is None else 3, variation)


def _measured(
    points: Sequence[_Point],
    level: float,
    slope: float,
    cap: float | None,
    parameters: int,
    variation: float = math.inf,
) -> _Fit:
    line = _Fit(level, slope, cap, 0.0, 0.0, ())
    residuals = []
    for point in points:
        expected_s = math.exp(line.at(point.number))
        if abs(point.gap_s - expected_s) <= _SLACK_S:
            residuals.append(0.0)
        else:
            residuals.append(math.log(_floored(point).gap_s / expected_s))
    freedom = max(1, len(points) - parameters)
    spread = math.sqrt(sum(residual**2 for residual in residuals) / freedom)
    error = spread / math.sqrt(variation) if variation else math.inf
    return _Fit(level, slope, cap, spread, error, tuple(residuals))


def _score(fit: _Fit, n: int, parameters: int) -> float:
    """Schwarz's criterion: the smaller, the better; a fit within 2 % is as good as any."""
    mean_square = sum(residual**2 for residual in fit.residuals) / n
    return n * math.log(mean_square + 0.02**2) + 2 * parameters * math.log(n)


def _sums_agree(gaps: Sequence[float]) -> bool:
    """Whether each two neighbours make the same sum, and they are no equals: two clients of one constant wait."""
    gaps = gaps[:_MOST_IN_EPISODE]
    if len(gaps) < _LEAST_ALTERNATING:
        return False
    mean_s = sum(gaps) / len(gaps)
    stray = max(abs(gap - mean_s) for gap in gaps)
    sums = [(a + b) / 2 for a, b in pairwise(gaps)]
    stray_of_sums = max(abs(its - sum(sums) / len(sums)) for its in sums)
    return stray > max(_SAME * mean_s, _SLACK_S) and stray_of_sums < _AGREE * stray


def _repeats(points: Sequence[_Point], fit: _Fit) -> bool:
    """Whether many waits are the same, which jitter would not make; those at the cap are meant to be."""
    gaps = sorted(point.gap_s for point in points)
    least = max(4, 0.3 * len(gaps))
    for index, gap_s in enumerate(gaps):
        is_capped = fit.cap is not None and gap_s > math.exp(fit.cap) * 0.9
        same = bisect_right(gaps, gap_s * 1.02) - index
        if same >= least and not is_capped:
            return True
    return False


def _is_linear(points: Sequence[_Point], fit: _Fit) -> bool:
    """Whether the waits themselves are on a rising straight line, and much closer to it than to this fit.

    The line is that of the least relative deviations: each wait weighs as much as any other.
    """
    weights = [1 / _floored(point).gap_s ** 2 for point in points]
    whole = sum(weights)
    mean_number = sum(weight * point.number for weight, point in zip(weights, points, strict=True)) / whole
    mean_s = sum(weight * point.gap_s for weight, point in zip(weights, points, strict=True)) / whole
    by_number = [weight * (point.number - mean_number) for weight, point in zip(weights, points, strict=True)]
    slope_s = sum(by * point.gap_s for by, point in zip(by_number, points, strict=True)) / sum(
        by * point.number for by, point in zip(by_number, points, strict=True)
    )
    strays = 0.0
    for point in points:
        stray_s = abs(point.gap_s - mean_s - slope_s * (point.number - mean_number))
        strays += (stray_s / _floored(point).gap_s) ** 2 if stray_s > _SLACK_S else 0.0
    spread = math.sqrt(strays / (len(points) - 2))
    return spread < _LINEAR and spread < 0.5 * fit.spread


def _floored(point: _Point) -> _Point:
    return point if point.gap_s >= 0.0005 else _Point(point.number, 0.0005)


def _unclear(waits: int, why: str, first_at_once: bool = False, spread: float | None = None) -> Backoff:
    return Backoff(
        kind="unclear",
        waits=waits,
        why=why,
        first_at_once=first_at_once,
        spread=_rounded(spread) if spread is not None else None,
    )


def _rounded(number: float) -> float:
    return float(f"{number:.3g}")
