"""From waits to the policy that made them."""

import pytest

from faultproxy.report.backoff import Backoff, recognise


def seen(*gaps: float, overlaps: int = 0) -> Backoff:
    return recognise([gaps], overlaps)


def test_each_kind() -> None:
    """As scripted, to the digit."""
    assert seen().kind == "none"
    assert seen(0.001, 0.0004, 0.002).kind == "immediate"
    constant = seen(0.5, 0.5, 0.5, 0.5)
    assert (constant.kind, constant.first_s, constant.jitter) == ("constant", 0.5, "none")
    exponential = seen(0.1, 0.3, 0.9, 2.7)
    assert (exponential.kind, exponential.first_s, exponential.factor) == ("exponential", 0.1, 3.0)
    assert (exponential.cap_s, exponential.jitter, exponential.waits) == (None, "none", 4)


def test_a_cap() -> None:
    """Where the waits grow no more."""
    capped = seen(0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0)
    assert (capped.kind, capped.factor, capped.cap_s) == ("exponential", 2.0, 1.0)


def test_a_first_retry_at_once() -> None:
    """It is said, and the others are judged without it."""
    urllib3 = seen(0.0007, 0.1, 0.2, 0.4)
    assert (urllib3.kind, urllib3.factor, urllib3.first_at_once) == ("exponential", 2.0, True)


@pytest.mark.parametrize(
    ("gaps", "why"),
    [
        ([1.0], "one wait, of 1 s, is too little to tell"),
        ([1.0, 2.0], "2 waits is too little to tell"),
        ([0.001, 2.0], "one wait, of 2 s, after a first attempt that came at once is too little to tell"),
        ([1.0, 2.0, 0.3], "3 waits vary too much"),
        ([1.6, 0.8, 0.4, 0.2], "its waits become shorter"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "grow by the same amount each time"),
        ([0.3, 0.7, 0.3, 0.7, 0.3, 0.7], "several clients behind one address"),
        ([0.0, 0.1, 0.0, 0.1, 0.2, 0.0], "some attempts come at once and others do not"),
    ],
)
def test_what_is_unclear_and_why(gaps: list[float], why: str) -> None:
    """It is not guessed."""
    backoff = seen(*gaps)
    assert backoff.kind == "unclear"
    assert why in backoff.why


def test_attempts_that_overlap_are_unclear() -> None:
    """However regular the waits are."""
    backoff = seen(0.1, 0.2, 0.4, 0.8, overlaps=2)
    assert (backoff.kind, backoff.why[:33]) == ("unclear", "2 attempts began before the one b")
