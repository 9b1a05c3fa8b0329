from bisect import bisect_left
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from faultproxy.faults.bandwidth import Bandwidth
from faultproxy.faults.base import MAX_READ, Segment
from tests.faults.shapes import cut, draws, joined, through

PROPERTY = settings(derandomize=True, deadline=None, max_examples=100)
RATES = ("2kB/s", "64KiB/s", "1MB/s", "8Mbit/s", "100MB/s")


def bandwidth(**options: object) -> Bandwidth:
    return Bandwidth.model_validate(options)


def most_and_least_in_a_second(segments: Sequence[Segment]) -> tuple[int, int]:
    """The most and the fewest bytes that leave in any second of a stream, from its first byte to its last."""
    times = [due for due, _, _ in segments]
    sums = [0]
    for _, data, _ in segments:
        sums.append(sums[-1] + len(data))
    most, least = 0, sums[-1]
    for index, due in enumerate(times):
        if due + 1 < times[-1]:
            most = max(most, sums[bisect_left(times, due + 1)] - sums[index])
            least = min(least, sums[bisect_left(times, due + 1 + 1e-9)] - sums[index])
    return most, least


@pytest.mark.parametrize(
    ("rate", "size"), [*((rate, MAX_READ) for rate in RATES), *((rate, 1460) for rate in RATES[:-1])]
)
def test_any_second_has_the_rate(rate: str, size: int) -> None:
    """Whatever the pieces, every second of a steady stream carries the rate within one percent, and one burst."""
    fault = bandwidth(rate=rate)
    shaper = fault.shaper(draws())
    count = int(fault.rate * 3) // size + 2
    segments = through(shaper, [bytes(size)] * count)
    most, least = most_and_least_in_a_second(segments)
    burst = max(len(data) for _, data, _ in segments)
    assert most <= fault.rate * 1.01 + burst
    assert least >= fault.rate * 0.99 - burst
    assert segments[-1][0] == pytest.approx(count * size / fault.rate, rel=0.001)


def test_the_first_bytes_are_paid_for_too() -> None:
    """Nothing is free: 1,000 bytes at 1 kB/s are all there after a second, and half of them after half."""
    segments = through(bandwidth(rate="1kB/s").shaper(draws()), [bytes(1000)], now=100.0)
    assert segments[-1][0] == pytest.approx(101.0)
    assert sum(len(data) for due, data, _ in segments if due <= 100.5 + 1e-9) == 500


@pytest.mark.parametrize(("options", "burst"), [({}, 10_000), ({"burst": "100B"}, 100), ({"burst": "1MB"}, 1_000_000)])
def test_no_piece_is_larger_than_the_burst(options: dict[str, str], burst: int) -> None:
    """10 ms of the rate unless something else is given."""
    segments = through(bandwidth(rate="1MB/s", **options).shaper(draws()), [bytes(3_000_000)])
    assert max(len(data) for _, data, _ in segments) == burst
    assert len({due for due, _, _ in segments}) == len(segments)


def test_the_smallest_rates_still_move() -> None:
    """At a bit a second a byte is due after eight."""
    segments = through(bandwidth(rate="1bit/s").shaper(draws()), [b"ab"])
    assert segments == [(8.0, b"a", False), (16.0, b"b", False)]


def test_idle_time_earns_nothing() -> None:
    """After a pause the stream goes on at the rate, as it began."""
    shaper = bandwidth(rate="1kB/s").shaper(draws())
    assert shaper.shape(0.0, 0, bytes(500))[-1][0] == pytest.approx(0.5)
    assert shaper.shape(60.0, 500, bytes(1000))[-1][0] == pytest.approx(61.0)


def test_the_end_waits_for_the_data() -> None:
    """FIN is due with the last byte, and costs nothing."""
    shaper = bandwidth(rate="1kB/s").shaper(draws())
    assert shaper.end(5.0, fin=True) == 5.0
    shaper.shape(5.0, 0, bytes(1000))
    assert shaper.end(5.1, fin=True) == pytest.approx(6.0)


@PROPERTY
@given(st.binary(max_size=2000), st.lists(st.integers(0, 5000)), st.sampled_from(RATES))
def test_bytes_are_kept(data: bytes, cuts: list[int], rate: str) -> None:
    """Nothing is lost, repeated or out of order, however the stream is cut up, nor early."""
    pieces = cut(data, cuts)
    segments = through(bandwidth(rate=rate).shaper(draws()), pieces, now=3.0)
    assert joined(segments) == data
    times = [due for due, _, _ in segments]
    assert times == sorted(times)
    assert all(due > 3.0 for due in times)


@pytest.mark.parametrize("options", [{}, {"rate": "9PiB/s"}, {"rate": "1MB"}, {"rate": "1MB/s", "burst": "0B"}])
def test_what_is_not_a_bandwidth(options: dict[str, object]) -> None:
    """A rate is due, and a burst is more than nothing."""
    with pytest.raises(ValidationError):
        bandwidth(**options)
