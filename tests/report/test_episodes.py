"""From the first failure to the first connection that is served."""

import pytest

from faultproxy.report.attempts import Cause, ClientAttempt
from faultproxy.report.episodes import Episode, find_episodes

CAUSE = Cause("cut", "reset", "ECONNRESET")


def episodes(*attempts: ClientAttempt, log_ends_s: float = 100.0) -> list[Episode]:
    return list(find_episodes(attempts, log_ends_s))


def failed(at_s: float, lasted_s: float = 0.0) -> ClientAttempt:
    return ClientAttempt(at_s, at_s + lasted_s, CAUSE)


def test_an_episode_ends_with_what_is_served() -> None:
    """The gaps are from each failure to the next attempt; recovery from the first failure to the attempt served."""
    (episode,) = episodes(
        ClientAttempt(0.0), failed(1.0, 0.5), failed(1.6), failed(2.0), ClientAttempt(3.0), ClientAttempt(4.0)
    )
    assert episode.gaps_s == (0.1, 0.4, 1.0)
    assert (episode.attempts, episode.failures, episode.end) == (4, 3, "recovered")
    assert (episode.started_s, episode.recovery_s) == (1.5, 1.5)
    assert episode.rules == {"cut"}


def test_each_failure_after_a_success_begins_another() -> None:
    """Two resets with a served connection between them are two episodes."""
    first, second = episodes(failed(1.0), ClientAttempt(1.1), failed(2.0), ClientAttempt(2.5))
    assert (first.recovery_s, second.recovery_s) == (0.1, 0.5)


@pytest.mark.parametrize(
    ("log_ends_s", "end"), [(3.0, "still failing"), (12.9, "still failing"), (13.1, "never came back")]
)
def test_a_client_that_does_not_come_back(log_ends_s: float, end: str) -> None:
    """Ten times its longest wait must have passed, and five seconds; else the log has ended too early to tell."""
    (episode,) = episodes(failed(1.0), failed(2.0), failed(3.0), log_ends_s=log_ends_s)
    assert (episode.end, episode.recovery_s) == (end, None)


def test_what_began_before_the_failure_is_no_retry() -> None:
    """A connection of a pool breaks long after the others were opened: they are served, and no recovery."""
    pool = [failed(0.0, 50.0), ClientAttempt(0.1), ClientAttempt(0.2), failed(50.2), failed(50.6), ClientAttempt(51.4)]
    (episode,) = episodes(*pool)
    assert (episode.gaps_s, episode.overlaps, episode.recovery_s) == ((0.2, 0.4, 0.8), 0, 1.4)
    (alone,) = episodes(*pool[:3])
    assert (alone.attempts, alone.end) == (1, "never came back")


def test_what_is_stamped_a_little_early_is_a_retry() -> None:
    """The next connection may be written down just before the failure that it follows."""
    (episode,) = episodes(failed(1.0, 0.5), ClientAttempt(1.4995))
    assert (episode.gaps_s, episode.end) == ((0.0,), "recovered")
    (after,) = episodes(ClientAttempt(0.9995), failed(1.0, 0.0003), ClientAttempt(1.2))
    assert after.recovery_s == 0.1997


def test_attempts_that_overlap_are_counted() -> None:
    """One that begins before the one before it has failed is not this one's retry, and has no gap."""
    (episode,) = episodes(failed(1.0, 2.0), failed(1.5), failed(3.0))
    assert (episode.overlaps, episode.gaps_s) == (1, (0.0,))


def test_a_failure_that_nobody_saw() -> None:
    """A SYN that is never answered: the gap counts from its start."""
    (episode,) = episodes(ClientAttempt(1.0, None, CAUSE), ClientAttempt(4.0))
    assert (episode.gaps_s, episode.unseen, episode.recovery_s) == ((3.0,), 1, 3.0)


def test_where_only_faults_are_seen_the_end_is_not() -> None:
    """A client that recovered long ago must not be told to have never come back."""
    cause = Cause("cut", "reset", "ECONNRESET")
    failed = [ClientAttempt(0.0, 0.1, cause), ClientAttempt(1.0, 1.1, cause)]
    assert [each.end for each in find_episodes(failed, 100.0)] == ["never came back"]
    assert [each.end for each in find_episodes(failed, 100.0, sees_all=False)] == ["not seen"]


@pytest.mark.parametrize("outage", [(2.05, 2.06), (2.0, 9.0), (0.6, 2.1)])
def test_a_gap_with_an_outage_is_no_wait(outage: tuple[float, float]) -> None:
    """Attempts in it were not seen, so that it is as long as several waits, and the number of those after is unknown."""
    attempts = [failed(1.0), failed(2.0), ClientAttempt(2.2)]
    (episode,) = find_episodes(attempts, 100.0, outages=[(0.0, 0.5), outage, (20.0, 30.0)])
    assert (episode.gaps_before_outage, episode.end) == (0 if outage[0] < 1 else 1, "recovered")
    assert episode.waits_s == episode.gaps_s[: episode.gaps_before_outage]
    (whole,) = find_episodes(attempts, 100.0, outages=[(0.5, 1.0), (2.2, 3.0)])
    assert (whole.gaps_before_outage, whole.waits_s) == (None, (1.0, 0.2))


@pytest.mark.parametrize(("ended_s", "end"), [(100.0, "not seen"), (97.0, "still failing"), (50.0, "never came back")])
def test_an_outage_hides_whether_a_client_came_back(ended_s: float, end: str) -> None:
    """Until it is over, and the client has had the time to."""
    (episode,) = find_episodes([failed(1.0)], 100.0, outages=[(2.0, ended_s)])
    assert (episode.end, episode.gaps_before_outage) == (end, 0)
