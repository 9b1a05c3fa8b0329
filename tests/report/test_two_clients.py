"""How well two clients behind one address explain waits."""

from itertools import accumulate, pairwise

import pytest

from faultproxy.report.policies import explanations
from faultproxy.report.two_clients import two_clients


def merged(one: list[float], other: list[float], starts_s: float) -> list[float]:
    """The waits between the attempts of both."""
    times = sorted([*accumulate(one, initial=0.0), *accumulate(other, initial=starts_s)])
    return [after - before for before, after in pairwise(times)]


@pytest.mark.parametrize(
    ("one", "other", "starts_s"),
    [
        ([1.0] * 8, [0.7] * 10, 0.25),
        ([0.2 * 2**n for n in range(6)], [0.3 * 2**n for n in range(5)], 0.13),
        ([0.5] * 18, [0.2 * 2**n for n in range(6)], 0.31),
        ([min(0.1 * 2**n, 1.6) for n in range(9)], [min(0.13 * 2**n, 1.6) for n in range(9)], 0.05),
    ],
)
def test_two_explain_better_than_one(one: list[float], other: list[float], starts_s: float) -> None:
    """Whatever each of them does."""
    gaps = merged(one, other, starts_s)
    evidence, of_waits = two_clients([gaps])
    assert of_waits == min(24, len(gaps))
    assert evidence > max(its.evidence for its in explanations([gaps])) + 3


def test_one_explains_better_than_two() -> None:
    """Where there is one."""
    for gaps in ([0.5, 0.6, 0.45, 0.5, 0.55, 0.42, 0.5], [0.1, 0.22, 0.35, 0.9, 1.4, 3.1]):
        assert two_clients([gaps])[0] < max(its.evidence for its in explanations([gaps])) - 3


def test_a_wait_is_too_few() -> None:
    """Two attempts cannot be shared out between two clients that wait."""
    assert two_clients([[1.0]]) == (float("-inf"), 1)
