"""A histogram of durations."""

from faultproxy.upstream.durations import BOUNDS_S, Durations


def test_each_is_counted_once() -> None:
    """A duration that is a bound belongs to it; above the last there is one more."""
    durations = Durations()
    for duration_s in (0.0, BOUNDS_S[0], 0.0006, BOUNDS_S[-1], 60.0):
        durations.add(duration_s)
    assert durations.counts == [2, 1, *[0] * (len(BOUNDS_S) - 3), 1, 1]
    assert durations.sum_s == sum((0.0, BOUNDS_S[0], 0.0006, BOUNDS_S[-1], 60.0))
