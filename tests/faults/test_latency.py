from itertools import pairwise
from statistics import fmean, median, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from faultproxy.faults.base import Direction
from faultproxy.faults.latency import Latency
from tests.faults.shapes import draws, dues, joined, through

DRAWS = 20_000
PROPERTY = settings(derandomize=True, deadline=None, max_examples=100)
DISTRIBUTIONS = ("uniform", "normal", "pareto")


def latency(**options: object) -> Latency:
    return Latency.model_validate(options)


def delays(fault: Latency, count: int = DRAWS) -> list[float]:
    """The delays of pieces that come too far apart to wait for each other."""
    shaper, apart_s = fault.shaper(draws()), 1000.0
    return [shaper.shape(number * apart_s, number, b"x")[0][0] - number * apart_s for number in range(count)]


def test_every_piece_is_later_by_the_delay() -> None:
    """Without jitter each piece, and the end, is due exactly so long after it came, unchanged."""
    shaper = latency(delay="50ms").shaper(draws())
    segments = through(shaper, [b"one", b"two", b"three"], now=10.0, every_s=0.001)
    assert segments == [
        (10.05, b"one", False),
        (10.001 + 0.05, b"two", False),
        (10.001 + 0.001 + 0.05, b"three", False),
    ]
    assert shaper.end(10.003, fin=True) == 10.003 + 0.05


@pytest.mark.parametrize("fin", [True, False])
def test_the_end_is_late_too(fin: bool) -> None:
    """FIN and RST take as long as data, and never overtake it."""
    shaper = latency(delay="50ms", jitter="40ms").shaper(draws())
    last = dues(through(shaper, [b"x"] * 100, now=10.0))[-1]
    assert shaper.end(10.0, fin=fin) >= last
    assert 0.01 <= latency(delay="50ms", jitter="40ms").shaper(draws()).end(10.0, fin=fin) - 10.0 <= 0.09 + 1e-9


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_piece_never_overtakes_another(distribution: str) -> None:
    """However the jitter falls, pieces are due in the order in which they came, none before it came."""
    fault = latency(delay="10ms", jitter="20ms", distribution=distribution)
    segments = through(fault.shaper(draws()), [b"%d" % number for number in range(1000)], now=5.0, every_s=0.001)
    assert joined(segments) == b"".join(b"%d" % number for number in range(1000))
    assert all(earlier <= later for earlier, later in pairwise(dues(segments)))
    assert all(due >= 5.0 + number * 0.001 - 1e-9 for number, due in enumerate(dues(segments)))


def test_uniform_jitter_lies_within_its_bounds() -> None:
    """Delay ± jitter: nothing beyond, the mean and the spread of a uniform distribution."""
    drawn = delays(latency(delay="100ms", jitter="20ms"))
    assert 0.08 - 1e-6 <= min(drawn) < 0.081
    assert 0.119 < max(drawn) <= 0.12 + 1e-6
    deviation = 0.04 / 12**0.5
    assert abs(fmean(drawn) - 0.1) < 4 * deviation / DRAWS**0.5
    assert stdev(drawn) == pytest.approx(deviation, rel=0.03)


def test_normal_jitter_is_the_standard_deviation() -> None:
    """The mean is the delay, the standard deviation is the jitter, and two thirds lie within one of them."""
    drawn = delays(latency(delay="100ms", jitter="10ms", distribution="normal"))
    assert abs(fmean(drawn) - 0.1) < 4 * 0.01 / DRAWS**0.5
    assert stdev(drawn) == pytest.approx(0.01, rel=0.03)
    within = sum(abs(delay - 0.1) < 0.01 for delay in drawn) / DRAWS
    assert abs(within - 0.6827) < 4 * (0.6827 * 0.3173 / DRAWS) ** 0.5


def test_pareto_jitter_is_a_tail_on_top_of_the_delay() -> None:
    """Never less than the delay; the median and the share of the very late ones are those of shape 3."""
    drawn = delays(latency(delay="100ms", jitter="10ms", distribution="pareto"))
    assert min(drawn) >= 0.1 - 1e-6
    assert median(drawn) == pytest.approx(0.1 + 0.01 * (2 ** (1 / 3) - 1), rel=0.01)
    late = sum(delay > 0.11 for delay in drawn) / DRAWS  # the scale doubled: an eighth
    assert abs(late - 1 / 8) < 4 * (1 / 8 * 7 / 8 / DRAWS) ** 0.5


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_delay_is_never_below_zero(distribution: str) -> None:
    """Jitter that is larger than the delay is cut off at no delay."""
    drawn = delays(latency(delay="1ms", jitter="50ms", distribution=distribution), 2000)
    assert min(drawn) >= 0
    assert max(drawn) > 0.04


@PROPERTY
@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.sampled_from(DISTRIBUTIONS))
def test_every_draw_is_a_delay(one: float, other: float, distribution: str) -> None:
    """From any two numbers in [0, 1) comes a finite delay that is not negative."""
    assert 0 <= latency(delay="5ms", jitter="9ms", distribution=distribution).drawn(one, other) < float("inf")


def test_the_draws_depend_on_the_seed_and_the_connection_alone() -> None:
    """The same connection is delayed the same again; another seed, or another connection, differently."""
    fault = latency(delay="100ms", jitter="20ms")
    pieces = [b"x"] * 50
    drawn = [
        dues(through(fault.shaper(draws(*parts)), pieces, every_s=1)) for parts in ((1, 7), (1, 7), (2, 7), (1, 8))
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0] != drawn[3]


def test_a_direction_limits_it() -> None:
    """Both directions unless one is named."""
    assert all(latency(delay="1ms").acts_on(direction) for direction in Direction)
    assert [latency(delay="1ms", direction="upstream").acts_on(one) for one in Direction] == [True, False]


@pytest.mark.parametrize("options", [{}, {"delay": 5}, {"delay": "5"}, {"delay": "1ms", "distribution": "gauss"}])
def test_what_is_not_a_latency(options: dict[str, object]) -> None:
    """A delay is due, with a unit, and the distribution is one of three."""
    with pytest.raises(ValidationError):
        latency(**options)
