"""Policies: how well each way in which one client may wait explains its waits. Pure.

An explanation's evidence is the logarithm of the probability density of the waits' logarithms, averaged over what it
leaves open: its first wait, factor, cap and jitter. One that leaves more open must fit the waits better.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Self

Growth = Literal["constant", "exponential", "shorter", "linear", "random"]

LEAST_S = 0.0005  # shorter waits are not told apart
LEVELS = 10.0  # the logarithm of a first wait is anywhere in a range of this width
LOG_2_PI = math.log(2 * math.pi)
_PRIORS: dict[Growth, float] = {"constant": 0.35, "exponential": 0.4, "shorter": 0.02, "linear": 0.02, "random": 0.1}
_FULL_JITTER: dict[Growth, float] = {"constant": 0.05, "exponential": 0.25}
_CAPPED = 0.5  # of exponential ones
_LATE_S = 0.0005  # a client wakes so late, whatever its wait was
_SPREADS = (0.01, 0.03, 0.07, 0.13, 0.2, 0.28, 0.4)
_WILD = (0.6, 0.8, 1.1)
_SLOPE, _SLOPES = 0.75, 0.4  # the logarithm of a factor: its expected value and standard deviation
_LEAST_SLOPE = math.log(1.25)
_FULL_SLOPES = (0.3, 0.45, 0.6, 0.75, 0.9, 1.1, 1.3, 1.5)
_STEPS = (0.2, 0.5, 1.0, 2.0, 5.0)  # of linear growth, in first waits
_SOFT = 5.0
_LATEST_CAP, _LATEST_FULL_CAP = 12, 9


class Explanation(NamedTuple):
    """A policy, and its evidence with how common it is.

    The logarithms of its waits are ``level + slope * number``, up to ``cap``, where ``at_cap`` numbers lie. ``spread``
    is their standard deviation from that.
    """

    growth: Growth
    evidence: float
    spread: float
    level: float = 0.0
    slope: float = 0.0
    cap: float | None = None
    at_cap: int = 0


def explanations(episodes: Sequence[Sequence[float]]) -> list[Explanation]:
    """Every explanation of these waits in seconds; an episode's first has the number 0."""
    by_number: dict[int, list[float]] = {}
    for gaps in episodes:
        for number, gap_s in enumerate(gaps):
            by_number.setdefault(number, []).append(math.log(max(gap_s, LEAST_S)))
    waits = [_Waits.of(number, by_number[number]) for number in sorted(by_number)]
    found = [*_with_full_jitter(waits), _at_random(waits)]
    for spread in _SPREADS:
        found += _spread_by(waits, spread)
    return found


def log_sum(logs: Iterable[float]) -> float:
    """The logarithm of the sum of what these are the logarithms of."""
    logs = tuple(logs)
    most = max(logs)
    return most + math.log(sum([math.exp(log - most) for log in logs])) if most > -math.inf else most


def below(deviations: float) -> float:
    """The probability that a normal variable is less than so many standard deviations above its mean."""
    return 0.5 * math.erfc(-deviations / math.sqrt(2))


class _Waits(NamedTuple):
    """The logarithms of one number's waits; ``total`` is that of their sum, ``soft_most`` that of fifth powers'."""

    number: int
    n: int
    mean: float
    scatter: float
    total: float
    soft_most: float

    @classmethod
    def of(cls, number: int, logs: Sequence[float]) -> Self:
        mean = sum(logs) / len(logs)
        scatter = sum((log - mean) ** 2 for log in logs)
        return cls(number, len(logs), mean, scatter, log_sum(logs), log_sum(_SOFT * log for log in logs))


class _Sums(NamedTuple):
    """What the best line through weighted points follows from."""

    w: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def plus(self, w: float, x: float, y: float) -> "_Sums":
        wx, wy = w * x, w * y
        return _Sums(self.w + w, self.x + wx, self.y + wy, self.xx + wx * x, self.xy + wx * y, self.yy + wy * y)

    def level(self) -> tuple[float, float]:
        """The evidence of a level line, and its height."""
        misfit = max(0.0, self.yy - self.y**2 / self.w)
        return 0.5 * (LOG_2_PI - math.log(self.w) - misfit) - math.log(LEVELS), self.y / self.w

    def line(self, sign: int = 1) -> tuple[float, float, float]:
        """The evidence of a line that rises (falls, if the sign is negative), its height at 0, and its slope."""
        x, y = self.x / self.w, self.y / self.w
        known = 1 / _SLOPES**2
        weight = self.xx - self.x * x + known
        slope = (sign * (self.xy - self.x * y) + _SLOPE * known) / weight
        misfit = max(0.0, self.yy - self.y * y + _SLOPE**2 * known - weight * slope**2)
        error = 1 / math.sqrt(weight)
        excess = (slope - _LEAST_SLOPE) / error
        rises = below(excess)
        if rises < 1e-30:
            return -math.inf, y, 0.0
        slope = sign * (slope + error * math.exp(-0.5 * (excess**2 + LOG_2_PI)) / rises)
        chance = math.log(error / _SLOPES * rises / below((_SLOPE - _LEAST_SLOPE) / _SLOPES))
        return 0.5 * (LOG_2_PI - math.log(self.w) - misfit) - math.log(LEVELS) + chance, y - slope * x, slope


def _spread_by(waits: Sequence[_Waits], spread: float) -> Iterator[Explanation]:
    """Policies whose waits stray by this, as lognormal noise or jitter to both sides does."""
    last = waits[-1].number
    variances = [spread**2 + (_LATE_S / math.exp(its.mean)) ** 2 for its in waits]
    base = -sum(
        0.5 * its.n * (LOG_2_PI + math.log(variance)) + 0.5 * its.scatter / variance
        for its, variance in zip(waits, variances, strict=True)
    ) - math.log(len(_SPREADS))
    constant, exponential = (
        math.log(_PRIORS[growth] * (1 - _FULL_JITTER[growth])) for growth in ("constant", "exponential")
    )
    up_to = [_Sums()]
    for its, variance in zip(waits, variances, strict=True):
        up_to.append(up_to[-1].plus(its.n / variance, its.number, its.mean))
    evidence, level = up_to[-1].level()
    yield Explanation("constant", evidence + base + constant, spread, level)
    if not last:
        return
    evidence, level, slope = up_to[-1].line(-1)
    yield Explanation("shorter", evidence + base + math.log(_PRIORS["shorter"]), spread, level, slope)
    for step in _STEPS:
        y = yy = 0.0
        for its, variance in zip(waits, variances, strict=True):
            log = its.mean - math.log1p(step * its.number)
            y += log * its.n / variance
            yy += log * log * its.n / variance
        evidence, level = _Sums(w=up_to[-1].w, y=y, yy=yy).level()
        yield Explanation("linear", evidence + base + math.log(_PRIORS["linear"] / len(_STEPS)), spread, level)
    knees = range(1, min(last, _LATEST_CAP))
    evidence, level, slope = up_to[-1].line()
    share = _CAPPED if knees else 1.0
    yield Explanation("exponential", evidence + base + exponential + math.log(share), spread, level, slope)
    for knee in knees:
        rising = up_to[knee + 1]
        capped = _Sums(*(all_ - its for all_, its in zip(up_to[-1], rising, strict=True)))
        evidence, level, slope = rising.line()
        cap = capped.y / capped.w
        least = level + slope * knee
        error = math.sqrt(1 / capped.w + 1 / rising.w)
        fits = below((least + slope - cap) / error) - below((least - cap) / error)
        if evidence == -math.inf or fits < 1e-12:
            continue
        misfit = max(0.0, capped.yy - capped.y * cap)
        evidence += 0.5 * (LOG_2_PI - math.log(capped.w) - misfit) + math.log(fits / slope)
        share = (1 - _CAPPED) / len(knees)
        cap = min(max(cap, least), least + slope)
        yield Explanation(
            "exponential", evidence + base + exponential + math.log(share), spread, level, slope, cap, last - knee
        )


def _with_full_jitter(waits: Sequence[_Waits]) -> Iterator[Explanation]:
    """Policies whose waits are anything up to the whole.

    Noise blurs the edge of the whole: their density is exp(-(wait / whole) ** 5), whose integrals are gamma functions.
    """
    last = waits[-1].number
    count = sum(its.n for its in waits)
    base = sum(its.n * its.mean for its in waits) - math.log(LEVELS)
    base += math.lgamma(count / _SOFT) - math.log(_SOFT) - count * math.lgamma(1 + 1 / _SOFT)

    def of(growth: Literal["constant", "exponential"], share: float, slope: float, knee: int | None) -> Explanation:
        most = last if knee is None else knee
        rise = sum(its.n * slope * min(its.number, most) for its in waits)
        whole = log_sum(its.soft_most - _SOFT * slope * min(its.number, most) for its in waits)
        evidence = base - rise - count / _SOFT * whole + math.log(_PRIORS[growth] * _FULL_JITTER[growth] * share)
        level = (math.log(_SOFT / count) + whole) / _SOFT - 1  # the mean of a full jitter's logarithms is 1 less
        if knee is None:
            return Explanation(growth, evidence, 1.0, level, slope)
        return Explanation(growth, evidence, 1.0, level, slope, level + slope * knee, last - knee)

    yield of("constant", 1.0, 0.0, None)
    if not last:
        return
    knees = range(2, min(last, _LATEST_FULL_CAP))
    shares = [math.exp(-0.5 * ((slope - _SLOPE) / _SLOPES) ** 2) for slope in _FULL_SLOPES]
    for slope, share in zip(_FULL_SLOPES, shares, strict=True):
        yield of("exponential", share / sum(shares) * (_CAPPED if knees else 1.0), slope, None)
        for knee in knees:
            yield of("exponential", share / sum(shares) * (1 - _CAPPED) / len(knees), slope, knee)


def _at_random(waits: Sequence[_Waits]) -> Explanation:
    """Waits of no policy: lognormal, as a person makes them, or exponentially distributed, as a crowd does."""
    count = sum(its.n for its in waits)
    total = log_sum(its.total for its in waits)
    evidences = [sum(its.n * its.mean for its in waits) + math.lgamma(count) - count * total - math.log(LEVELS)]
    for spread in _WILD:
        sums, evidence = _Sums(), 0.0
        for its in waits:
            sums = sums.plus(its.n / spread**2, 0.0, its.mean)
            evidence -= 0.5 * (its.n * (LOG_2_PI + 2 * math.log(spread)) + its.scatter / spread**2)
        evidences.append(evidence + sums.level()[0])
    return Explanation("random", log_sum(evidences) + math.log(_PRIORS["random"] / len(evidences)), 1.0)
