"""From waits to the policy that made them."""

import math
import random
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ([1.0, 2.0], "2 waits are too few to tell"),
        ([0.001, 2.0], "one wait, of 2 s, after a first retry at once is too little to tell"),
        ([1.0, 2.0, 0.3], "3 waits vary too much"),
        ([1.6, 0.8, 0.4, 0.2], "its waits become shorter"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "grow by the same amount each time"),
        ([0.112, 0.224, 0.314, 0.427, 0.501, 0.601], "grow by the same amount each time"),
        ([0.3, 0.7, 0.3, 0.7, 0.3, 0.7], "two waits alternate: perhaps several clients behind one address"),
        ([0.45, 0.39, 0.45, 0.38, 0.46, 0.38, 0.46], "two waits alternate: perhaps several clients behind one address"),
        ([1.0, 3.0, 1.0, 1.0, 3.0, 1.0, 1.0, 2.2], "some waits are all the same, and others differ"),
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


def test_much_longer_waits_are_no_jitter() -> None:
    """A second client that came between looks like that."""
    assert "much longer than jitter" in seen(0.35, 0.23, 0.36, 0.68, 0.33, 1.43, 0.31, 2.78, 0.39, 5.14, 0.32, 9.1).why


@given(st.floats(0.02, 60), st.floats(1.4, 5), st.integers(4, 12), st.booleans())
def test_an_exact_policy_is_always_recognised(first_s: float, factor: float, waits: int, is_capped: bool) -> None:
    """Whatever its first wait, its factor and its cap."""
    cap_s = first_s * factor ** (waits // 2) if is_capped else math.inf
    backoff = seen(*(min(first_s * factor**number, cap_s) for number in range(waits)))
    assert (backoff.kind, backoff.jitter) == ("exponential", "none")
    assert backoff.factor == pytest.approx(factor, rel=0.02)
    assert backoff.first_s == pytest.approx(first_s, rel=0.02)


@given(st.lists(st.lists(st.floats(0, 1e6), max_size=40), max_size=8), st.integers(0, 50))
def test_any_waits_have_an_answer(episodes: list[list[float]], overlaps: int) -> None:
    """Nothing raises, and what is unclear has its reason."""
    backoff = recognise(episodes, overlaps)
    assert (backoff.kind in {"none", "unclear"}) == bool(backoff.why)


@dataclass(frozen=True)
class Policy:
    """How a generated client waits: jitter is a fraction to either side, noise another on top of it."""

    kind: str
    first_s: float
    factor: float
    cap_s: float | None
    jitter: float
    noise: float = 0.2

    @classmethod
    def draw(cls, draw: random.Random, kind: str, jitter: float, *, is_capped: bool = False) -> Self:
        first_s, factor = draw.choice([0.02, 0.1, 0.5, 1.0, 5.0]), draw.uniform(1.5, 3)
        return cls(kind, first_s, factor, first_s * factor ** draw.uniform(2, 3) if is_capped else None, jitter)

    def waits(self, draw: random.Random, number: int) -> list[float]:
        wanted = (self.first_s * (self.factor**n if self.kind == "exponential" else 1.0) for n in range(number))
        return [
            min(wait_s, self.cap_s or math.inf)
            * draw.uniform(1 - self.jitter, 1 + self.jitter)
            * draw.uniform(1 - self.noise, 1 + self.noise)
            for wait_s in wanted
        ]

    def is_recognised(self, backoff: Backoff) -> bool:
        if self.kind == "constant" or backoff.factor is None:
            return backoff.kind == self.kind
        return backoff.kind == self.kind and abs(backoff.factor / self.factor - 1) < 0.3


@pytest.mark.parametrize(
    ("kind", "jitter", "is_capped", "attempts", "episodes"),
    [
        ("constant", 0.0, False, 6, 1),
        ("exponential", 0.0, False, 6, 1),
        ("exponential", 0.0, True, 6, 1),
        ("constant", 0.25, False, 6, 1),
        ("exponential", 0.25, False, 6, 1),
        ("exponential", 0.25, True, 6, 3),
        ("constant", 0.5, False, 11, 1),
        ("exponential", 0.5, False, 11, 1),
        ("exponential", 0.5, True, 9, 5),
        ("exponential", 1.0, False, 17, 1),
        ("exponential", 1.0, False, 9, 3),
    ],
)
def test_noise_of_a_fifth_does_not_hide_a_policy(
    kind: str, jitter: float, is_capped: bool, attempts: int, episodes: int
) -> None:
    """Of 200 clients 95 in 100 are recognised, with their factor; from six attempts on, with much jitter from more."""
    draw = random.Random(f"{kind} {jitter} {is_capped}")
    right = 0
    for _ in range(200):
        policy = Policy.draw(draw, kind, jitter, is_capped=is_capped)
        right += policy.is_recognised(recognise([policy.waits(draw, attempts - 1) for _ in range(episodes)]))
    assert right >= 190


def test_jitter_is_told_from_none() -> None:
    """Of 400 clients with half of jitter hardly one is said to have none; and none without any to have some."""
    draw = random.Random(1)
    with_jitter = [
        recognise([Policy.draw(draw, "exponential", 0.5).waits(draw, 10)]).jitter == "none" for _ in range(400)
    ]
    exact = Policy("exponential", 0.1, 2.0, None, 0.0, noise=0.02)
    without = [recognise([exact.waits(draw, 8)]).jitter == "some" for _ in range(400)]
    assert sum(with_jitter) <= 4
    assert sum(without) == 0


@pytest.mark.parametrize("noise", [0.01, 0.2])
@pytest.mark.parametrize("kinds", [("constant", "exponential"), ("exponential", "exponential"), ("capped", "capped")])
def test_two_clients_that_overlap_are_unclear(kinds: tuple[str, str], noise: float) -> None:
    """Their attempts come in one sequence, and nothing tells whose each is: of 200 such pairs 95 in 100 are not guessed."""
    draw = random.Random(2)
    unclear = pairs = 0
    while pairs < 200:
        starts = []
        for kind in kinds:
            first_s, factor = draw.uniform(0.1, 1), draw.uniform(1.5, 3)
            cap_s = first_s * factor ** draw.uniform(1.5, 3.5) if kind == "capped" else None
            growth = "constant" if kind == "constant" else "exponential"
            policy = Policy(growth, first_s, factor, cap_s, 0.0, noise)
            start_s = draw.uniform(0, 1.5 * policy.first_s)
            starts.append([start_s, *accumulate(policy.waits(draw, draw.randint(6, 9)), initial=start_s)][1:])
        end_s = min(times[-1] for times in starts)
        merged = sorted(time_s for times in starts for time_s in times if time_s <= end_s)
        if min(sum(time_s <= end_s for time_s in times) for times in starts) < 3:
            continue  # one of them had recovered before the other was well under way
        pairs += 1
        unclear += recognise([[b - a for a, b in pairwise(merged)]]).kind == "unclear"
    assert unclear >= 190


@pytest.mark.parametrize("waits", [5, 10])
def test_waits_without_a_policy_are_not_exponential(waits: int) -> None:
    """Of 200 persons who try again when they like 95 in 100 are not said to have a backoff."""
    draw = random.Random(3)
    found = [recognise([[draw.lognormvariate(0, 0.8) for _ in range(waits)]]).kind for _ in range(200)]
    assert found.count("exponential") <= 10
