"""Backoff: from the waits between attempts to the policy that made them, or why that cannot be told. Pure.

What one client may do, and two clients behind one address, explain the waits more or less well. A policy is recognised
if it is more probable than all else together, and two clients, or no policy at all, are improbable.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from faultproxy.report.policies import LEAST_S, Explanation, explanations, log_sum
from faultproxy.report.two_clients import two_clients

Policy = Literal["none", "immediate", "constant", "exponential"]
BackoffKind = Policy | Literal["unclear"]
Jitter = Literal["none", "some", "unclear"]

_AT_ONCE_S, _LATE_S = 0.008, 0.06  # what a client takes to come back, and on a loaded machine
_SAME_TIME_S = 0.002
_SLACK_S = 0.003  # a loaded machine wakes a client so late
_MOST_IN_EPISODE, _MOST_EPISODES = 20, 50
_LEAST_WAITS, _FEW_WAITS = 3, 5
_PROBABLE, _IN_DOUBT = 0.5, 0.25
_NO_JITTER, _SOME_JITTER, WIDE = 0.06, 0.15, 0.45
_LEAST_ALTERNATING, _AGREE = 6, 0.2
_LEAST_REPEATED = 4


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


def recognise(episodes: Sequence[Sequence[float]], overlaps: int = 0, *, sees_all: bool = True) -> Backoff:
    """The policy behind the waits, in seconds, of one client's episodes.

    ``overlaps`` is how many attempts began before the one before them had failed; ``sees_all`` says that a client that
    did not wait did not try again either.
    """
    episodes = [gaps for gaps in episodes if gaps]
    waits = sum(map(len, episodes))
    if not waits and sees_all:
        return Backoff(kind="none", why="it did not try again")
    if not waits:
        return _unclear(waits, "what it did in an outage is not seen")
    if overlaps > waits * 0.1:
        attempts = "1 attempt" if overlaps == 1 else f"{overlaps} attempts"
        return _unclear(waits, f"{attempts} began before the one before had failed: {_SEVERAL}")
    if _is_immediate(sorted(gap for gaps in episodes for gap in gaps)):
        return Backoff(kind="immediate", waits=waits, jitter="none")
    first_at_once = all(map(_begins_at_once, episodes))
    if first_at_once:
        episodes = [gaps[1:] for gaps in episodes if len(gaps) > 1]
    judged = [gaps[:_MOST_IN_EPISODE] for gaps in episodes[:_MOST_EPISODES]]
    every = [gap_s for gaps in judged for gap_s in gaps]
    if sum(gap_s <= _SAME_TIME_S for gap_s in every) > 0.2 * len(every):
        return _unclear(waits, f"some attempts come at once and others do not: {_SEVERAL}")
    if len(every) < _LEAST_WAITS:
        few = f"one wait, of {every[0]:.3g} s," if len(every) == 1 else f"{len(every)} waits"
        after = " after a first retry at once" if first_at_once else ""
        what = "is too little" if len(every) == 1 else "are too few"
        return _unclear(waits, f"{few}{after} {what} to tell; let it fail more often", first_at_once)
    why_not, likely = _judge(judged)
    if why_not is not None:
        return _unclear(waits, why_not, first_at_once)
    fit = _mean(likely)
    spread = _spread(judged, fit)
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


_SEVERAL = "perhaps several clients behind one address, or one with several connections"


def _is_immediate(gaps: Sequence[float]) -> bool:
    """Whether these waits, in the order of their lengths, are only what it takes to connect again."""
    return gaps[len(gaps) // 2] <= _AT_ONCE_S and gaps[len(gaps) * 9 // 10] <= _LATE_S


def _begins_at_once(gaps: Sequence[float]) -> bool:
    """Whether the first wait is none, whatever the others are."""
    return gaps[0] <= (_AT_ONCE_S if len(gaps) == 1 else max(_AT_ONCE_S, min(_LATE_S, 0.15 * gaps[1])))


def _judge(episodes: Sequence[Sequence[float]]) -> tuple[str | None, list[Explanation]]:
    """Why the waits cannot be explained, or None; and the most probable explanations, of one growth and spread."""
    if all(map(_alternate, episodes)):
        return f"two waits alternate: {_SEVERAL}", []
    if any(map(_repeats, episodes)):
        return f"some waits are all the same, and others differ: {_SEVERAL}", []
    found = explanations(episodes)
    best = max(found, key=lambda its: its.evidence)
    waits = sum(map(len, episodes))
    evidence = {
        growth: log_sum(its.evidence for its in found if its.growth == growth)
        for growth in dict.fromkeys(its.growth for its in found)
    }
    two = -math.inf
    if best.spread >= _NO_JITTER:
        two, of_waits = two_clients(episodes)
        two += best.evidence * (1 - of_waits / waits)
    every = log_sum([two, *evidence.values()])
    growth = max(evidence, key=lambda its: evidence[its])
    is_probable = evidence[growth] - every > math.log(_PROBABLE)
    if two >= evidence[growth]:
        return f"some waits are much longer than jitter makes them: {_SEVERAL}", []
    if is_probable and growth == "shorter":
        return "its waits become shorter", []
    if is_probable and growth == "linear":
        return "its waits grow by the same amount each time, not by a factor", []
    doubts = [two, evidence["random"]] if growth == "exponential" else [two]
    if growth == "random" or not is_probable or log_sum(doubts) - every > math.log(_IN_DOUBT):
        if waits < _FEW_WAITS:
            return f"{waits} waits vary too much to tell; let it fail more often", []
        what = "vary as by full jitter, or as those of several clients behind one address"
        return f"{waits} waits {what}; let it fail in several episodes", []
    best = max((its for its in found if its.growth == growth), key=lambda its: its.evidence)
    return None, [its for its in found if its.growth == growth and its.spread == best.spread]


def _mean(likely: Sequence[Explanation]) -> Explanation:
    """The mean of these, each by its probability; with a cap if that is probable, and two waits are at it."""
    every = log_sum(its.evidence for its in likely)
    shares = [math.exp(its.evidence - every) for its in likely]
    level = sum(share * its.level for share, its in zip(shares, likely, strict=True))
    slope = sum(share * its.slope for share, its in zip(shares, likely, strict=True))
    caps = [
        (share, its.cap) for share, its in zip(shares, likely, strict=True) if its.cap is not None and its.at_cap > 1
    ]
    capped = sum(share for share, _ in caps)
    cap = sum(share * cap for share, cap in caps) / capped if capped > _PROBABLE else None
    return Explanation(likely[0].growth, every, 0.0, level, slope, cap)


def _spread(episodes: Sequence[Sequence[float]], fit: Explanation) -> float:
    """The standard deviation of the logarithms of waits from what is expected."""
    squares: list[float] = []
    for gaps in episodes:
        for number, gap_s in enumerate(gaps):
            expected = min(fit.level + fit.slope * number, fit.cap if fit.cap is not None else math.inf)
            is_exact = abs(gap_s - math.exp(expected)) <= _SLACK_S
            squares.append(0.0 if is_exact else (math.log(max(gap_s, LEAST_S)) - expected) ** 2)
    parameters = 1 + bool(fit.slope) + (fit.cap is not None)
    return math.sqrt(sum(squares) / max(1, len(squares) - parameters))


def _alternate(gaps: Sequence[float]) -> bool:
    """Whether each two neighbours make the same sum, and they are no equals: two clients of one constant wait."""
    if len(gaps) < _LEAST_ALTERNATING:
        return False
    stray_s = _deviation(gaps)
    if stray_s <= _NO_JITTER * sum(gaps) / len(gaps):
        return False
    return _deviation([(a + b) / 2 for a, b in pairwise(gaps)]) < _AGREE * stray_s


def _repeats(gaps: Sequence[float]) -> bool:
    """Whether many waits are the same, as no jitter makes them, and others are longer, as after no cap."""
    ordered = sorted(gaps)
    least = max(_LEAST_REPEATED, math.ceil(0.3 * len(ordered)))
    return any(
        last <= first * 1.02 and ordered[-2] > last * 1.25
        for first, last in zip(ordered, ordered[least - 1 :], strict=False)
    )


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def _unclear(waits: int, why: str, first_at_once: bool = False) -> Backoff:
    return Backoff(kind="unclear", waits=waits, why=why, first_at_once=first_at_once)


def _rounded(number: float) -> float:
    return float(f"{number:.3g}")
