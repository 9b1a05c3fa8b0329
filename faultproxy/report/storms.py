"""Storms and herds: what the clients of one proxy did together, while a fault lasted and right after it. Pure.

A disturbance is a time in which clients failed, or could not connect at all. Many attempts a second while it lasts are
a retry storm; many clients that come back at the same moment when it is over are a thundering herd.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from faultproxy.report.attempts import ClientAttempt, Outage
from faultproxy.report.episodes import Episode

_MERGED_S = 1.0
_BEFORE_S = 30.0
_LEAST_BEFORE_S = 0.5
_AFTER_S = 10.0
_RETURN_S = 60.0
_HERD_S = 0.1
_SHOWN_BEFORE_S = 10.0
_BUCKETS = 120
_WIDTHS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0)
_MOST = 5
_STORM_FACTOR, _STORM_RATE = 2.0, 10
_HERD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """The attempts of a proxy's clients around a disturbance.

    It lasts from ``started_s`` to ``ended_s``, the last failure or the end of the outage; ``had_outage`` says that some
    attempts may not have been seen. Rates are attempts a second: ``rate_before`` the mean of up to 30 s before it (None
    if that was not seen), ``peak`` and ``peak_after`` the most in any one second, while it lasts and in the 10 s after.
    Of its ``clients`` so many ``returned`` afterwards, ``herd`` of them within 0.1 s.

    ``served`` and ``failed`` count attempts by when they started, in buckets of ``bucket_s`` from ``begins_s`` on.
    """

    started_s: float
    ended_s: float
    had_outage: bool
    clients: int
    attempts: int
    rate_before: float | None
    peak: int
    peak_at_s: float
    peak_after: int
    returned: int
    herd: int
    herd_at_s: float
    begins_s: float
    bucket_s: float
    served: tuple[int, ...]
    failed: tuple[int, ...]

    @property
    def rates(self) -> tuple[float, ...]:
        """Attempts a second in each bucket."""
        return tuple((served + failed) / self.bucket_s for served, failed in zip(self.served, self.failed, strict=True))

    @property
    def is_storm(self) -> bool:
        """Whether there were many more attempts than before."""
        return self.peak >= max(_STORM_RATE, _STORM_FACTOR * (self.rate_before or 0.0))

    @property
    def is_herd(self) -> bool:
        """Whether most clients came back at the same moment."""
        return self.herd >= max(_HERD, self.returned / 2)


def find_storms(
    clients: Sequence[Sequence[ClientAttempt]],
    episodes: Iterable[Episode],
    outages: Sequence[Outage],
    last_s: float,
) -> tuple[Storm, ...]:
    """The five largest disturbances of a proxy, in order. ``clients`` holds the attempts of each, by their starts."""
    spans = [(episode.started_s, episode.failed_until_s, False) for episode in episodes]
    spans += ((one.started_s, one.ended_s if one.ended_s is not None else last_s, True) for one in outages)
    merged: list[tuple[float, float, bool]] = []
    for start_s, end_s, is_outage in sorted(spans):
        if merged and start_s <= merged[-1][1] + _MERGED_S:
            before = merged[-1]
            merged[-1] = before[0], max(before[1], end_s), before[2] or is_outage
        else:
            merged.append((start_s, end_s, is_outage))
    starts = sorted(attempt.started_s for attempts in clients for attempt in attempts)
    failed = sorted(attempt.started_s for attempts in clients for attempt in attempts if attempt.cause is not None)
    largest = sorted(merged, key=lambda span: (_between(starts, span[0], span[1]), span[1] - span[0]))[-_MOST:]
    storms = []
    for start_s, end_s, had_outage in sorted(largest):
        earlier = [span[1] for span in merged if span[1] < start_s]
        begins_s = max(0.0, start_s - _BEFORE_S, *(end + _MERGED_S for end in earlier[-1:]))
        storms.append(_storm(clients, starts, failed, (start_s, end_s), begins_s, last_s, had_outage=had_outage))
    return tuple(storms)


def _storm(
    clients: Sequence[Sequence[ClientAttempt]],
    starts: Sequence[float],
    failed: Sequence[float],
    span: tuple[float, float],
    before_s: float,
    last_s: float,
    *,
    had_outage: bool,
) -> Storm:
    start_s, end_s = span
    quiet_s = start_s - before_s
    rate_before = bisect_left(starts, start_s) - bisect_left(starts, before_s)
    peak, peak_at_s = _most_within(starts, 1.0, start_s, end_s)
    peak_after, _ = _most_within(starts, 1.0, end_s, end_s + _AFTER_S)
    active, returns = 0, []
    for attempts in clients:
        begin, end = bisect_left(attempts, start_s, key=_started), bisect_right(attempts, end_s, key=_started)
        begin = max(0, begin - 1)  # what failed first has begun before
        if had_outage or any(attempt.cause is not None for attempt in attempts[begin:end]):
            active += 1
            if end < len(attempts) and attempts[end].started_s <= end_s + _RETURN_S:
                returns.append(attempts[end].started_s)
    returns.sort()
    herd, herd_at_s = _most_within(returns, _HERD_S, end_s, end_s + _RETURN_S)
    shown_from_s = max(before_s, start_s - max(_SHOWN_BEFORE_S / 5, min(_SHOWN_BEFORE_S, end_s - start_s)))
    shown_to_s = min(last_s, max([end_s + max(1.0, min(_AFTER_S, end_s - start_s)), *returns[-1:]]))
    bucket_s = next((width for width in _WIDTHS_S if (shown_to_s - shown_from_s) / width <= _BUCKETS), _WIDTHS_S[-1])
    buckets = min(_BUCKETS, int((shown_to_s - shown_from_s) / bucket_s) + 1)
    edges = [shown_from_s + bucket_s * number for number in range(buckets + 1)]
    of_all = [_between(starts, a, b) for a, b in pairwise(edges)]
    # What began before the disturbance was served until then.
    of_failed = [_between(failed, max(a, start_s), b) if b > start_s else 0 for a, b in pairwise(edges)]
    return Storm(
        started_s=start_s,
        ended_s=end_s,
        had_outage=had_outage,
        clients=active,
        attempts=bisect_right(starts, end_s) - bisect_left(starts, start_s),
        rate_before=float(f"{rate_before / quiet_s:.3g}") if quiet_s >= _LEAST_BEFORE_S else None,
        peak=peak,
        peak_at_s=peak_at_s,
        peak_after=peak_after,
        returned=len(returns),
        herd=herd,
        herd_at_s=herd_at_s,
        begins_s=shown_from_s,
        bucket_s=bucket_s,
        served=tuple(every - of_them for every, of_them in zip(of_all, of_failed, strict=True)),
        failed=tuple(of_failed),
    )


def _most_within(times: Sequence[float], width_s: float, from_s: float, to_s: float) -> tuple[int, float]:
    """The most times within any such width that begins with one of them, and when that begins."""
    first, last = bisect_left(times, from_s), bisect_right(times, to_s)
    most, at_s, end = 0, from_s, first
    for begin in range(first, last):
        while end < last and times[end] < times[begin] + width_s:
            end += 1
        if end - begin > most:
            most, at_s = end - begin, times[begin]
    return most, at_s


def _between(times: Sequence[float], from_s: float, to_s: float) -> int:
    return bisect_left(times, to_s) - bisect_left(times, from_s)


def _started(attempt: ClientAttempt) -> float:
    return attempt.started_s
