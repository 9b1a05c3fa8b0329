"""How well each policy explains waits."""

import math

import pytest

from faultproxy.report.policies import Explanation, explanations, log_sum


def best(*gaps: float) -> Explanation:
    return max(explanations([gaps]), key=lambda its: its.evidence)


@pytest.mark.parametrize(
    ("gaps", "growth"),
    [
        ([0.5, 0.52, 0.49, 0.5, 0.51], "constant"),
        ([0.1, 0.2, 0.41, 0.79, 1.6], "exponential"),
        ([1.6, 0.8, 0.41, 0.2, 0.1], "shorter"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "linear"),
        ([0.9, 0.04, 7.0, 0.3, 0.02, 2.5, 0.1, 4.0], "random"),
    ],
)
def test_the_best_reason(gaps: list[float], growth: str) -> None:
    """Each kind of waits is best explained by what makes such waits."""
    assert best(*gaps).growth == growth


def test_a_cap_and_a_factor() -> None:
    """The best explanation says where the waits end to grow, and how many lie there."""
    its = best(0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0)
    assert its.cap is not None
    assert math.exp(its.cap) == pytest.approx(1.0, rel=0.01)
    assert its.at_cap == 3
    assert math.exp(its.level) == pytest.approx(0.1, rel=0.02)
    assert math.exp(its.slope) == pytest.approx(2, rel=0.02)


def test_full_jitter() -> None:
    """Waits of anything up to the whole are explained as such: by a spread of one."""
    episodes = [[0.09, 0.05, 0.33, 0.7, 0.2], [0.03, 0.19, 0.1, 0.78, 1.5], [0.08, 0.12, 0.39, 0.15, 1.2]]
    its = max(explanations(episodes), key=lambda one: one.evidence)
    assert (its.growth, its.spread) == ("exponential", 1.0)


def test_log_sum() -> None:
    """It does not overflow, and nothing adds nothing."""
    assert log_sum([1000.0, 1000.0]) == pytest.approx(1000 + math.log(2))
    assert log_sum([-math.inf, -math.inf]) == -math.inf
