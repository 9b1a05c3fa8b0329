"""Episodes: from a client's first failure to its first connection that is served, or without one. Pure."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from faultproxy.report.attempts import Cause, ClientAttempt

EpisodeEnd = Literal["recovered", "never came back", "still failing", "not seen"]

_MOST_GAPS = 200
_PATIENCE = 10
_LEAST_PATIENCE_S = 5.0
_OVERLAP_S = 0.001  # less is the order in which events were written


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A client fails, and tries again.

    ``started_s`` is its first failure, ``failed_until_s`` its last; ``retries`` are the attempts after the first.
    ``gaps_s`` are the waits from each failure to the next attempt, the last of them before the attempt that was served;
    the first 200. ``recovery_s`` is from the first failure to that attempt; None if there was none. ``overlaps`` counts
    attempts that began before the one before them had failed, and have no gap; ``unseen`` failures whose time was not
    seen: the gap after such a one counts from its start. ``gaps_before_outage`` is how many gaps are before one that
    holds an outage in which attempts are not seen; None if there is no such gap, and every attempt was seen.
    """

    started_s: float
    failed_until_s: float
    attempts: int
    failures: int
    retries: int
    gaps_s: tuple[float, ...]
    recovery_s: float | None
    end: EpisodeEnd
    causes: tuple[Cause, ...]
    overlaps: int = 0
    unseen: int = 0
    gaps_before_outage: int | None = None

    @property
    def waits_s(self) -> tuple[float, ...]:
        """The gaps that are waits: those before any attempt that was not seen."""
        return self.gaps_s[: self.gaps_before_outage]

    @property
    def rules(self) -> frozenset[str]:
        """The rules whose faults failed it."""
        return frozenset(cause.rule for cause in self.causes if cause.rule is not None)


def find_episodes(
    attempts: Sequence[ClientAttempt],
    log_ends_s: float,
    *,
    sees_all: bool = True,
    outages: Sequence[tuple[float, float]] = (),
) -> Iterator[Episode]:
    """The episodes of one client.

    A connection that began before a failure is not a retry after it, whenever it fails itself: a pool has many.
    Unless connections without a fault are seen too (``sees_all``), how an episode ended is not. ``outages`` are times,
    in order and apart, in which attempts are not seen.
    """
    failed: list[ClientAttempt] = []
    for attempt in sorted(attempts, key=_known):
        if attempt.cause is not None:
            failed.append(attempt)
        elif failed:
            yield _episode(failed, attempt, log_ends_s, outages)
            failed = []
    if failed:
        yield _episode(failed, None, log_ends_s, outages, sees_all=sees_all)


def _known(attempt: ClientAttempt) -> float:
    """When it was decided whether this one is served: at its start, or when it failed."""
    started_s, failed_s, _ = attempt
    return started_s if failed_s is None or failed_s - _OVERLAP_S < started_s else failed_s - _OVERLAP_S


def _outage_between(outages: Sequence[tuple[float, float]], from_s: float, to_s: float) -> tuple[float, float] | None:
    """The last outage in this time, if there is one."""
    index = bisect_left(outages, (to_s, to_s)) - 1
    return outages[index] if index >= 0 and outages[index][1] > from_s else None


def _episode(
    failed: Sequence[ClientAttempt],
    served: ClientAttempt | None,
    log_ends_s: float,
    outages: Sequence[tuple[float, float]],
    *,
    sees_all: bool = True,
) -> Episode:
    tried = [*failed, served] if served is not None else failed
    gaps: list[float] = []
    overlaps = unseen = 0
    gaps_before_outage: int | None = None
    for before, after in pairwise(tried):
        gap_s = after.started_s - (before.failed_s if before.failed_s is not None else before.started_s)
        unseen += before.failed_s is None
        if gap_s < -_OVERLAP_S:
            overlaps += 1
            continue
        if (
            outages
            and gaps_before_outage is None
            and _outage_between(outages, after.started_s - gap_s, after.started_s)
        ):
            gaps_before_outage = len(gaps)
        if len(gaps) < _MOST_GAPS:
            gaps.append(round(max(gap_s, 0.0), 6))
    first, last = failed[0], failed[-1]
    started_s = first.failed_s if first.failed_s is not None else first.started_s
    last_s = last.failed_s if last.failed_s is not None else last.started_s
    patience_s = max(_LEAST_PATIENCE_S, _PATIENCE * max(gaps, default=0.0))
    outage = _outage_between(outages, last_s, log_ends_s) if served is None and sees_all else None
    if outage is not None and gaps_before_outage is None:
        gaps_before_outage = len(gaps)
    end: EpisodeEnd = "still failing"
    if served is not None:
        end = "recovered"
    elif not sees_all or (outage is not None and outage[1] >= log_ends_s):
        end = "not seen"
    elif log_ends_s - max(last_s, outage[1] if outage is not None else last_s) >= patience_s:
        end = "never came back"
    return Episode(
        started_s=started_s,
        failed_until_s=last_s,
        attempts=len(tried),
        failures=len(failed),
        retries=sum(attempt.started_s >= started_s - _OVERLAP_S for attempt in tried[1:]),
        gaps_s=tuple(gaps),
        recovery_s=round(max(0.0, served.started_s - started_s), 6) if served is not None else None,
        end=end,
        causes=tuple(dict.fromkeys(attempt.cause for attempt in failed if attempt.cause is not None)),
        overlaps=overlaps,
        unseen=unseen,
        gaps_before_outage=gaps_before_outage,
    )
