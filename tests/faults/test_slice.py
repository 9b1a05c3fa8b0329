from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from faultproxy.faults.slice import Slice
from tests.faults.shapes import cut, draws, dues, joined, through

PROPERTY = settings(derandomize=True, deadline=None, max_examples=100)


def sliced(**options: object) -> Slice:
    return Slice.model_validate(options)


def test_pieces_have_the_size() -> None:
    """All but the last of what is read at once, each in a segment of its own, at once."""
    segments = through(sliced(size="100B").shaper(draws()), [bytes(250), bytes(50)], now=7.0)
    assert [(due, len(data), own_segment) for due, data, own_segment in segments] == [
        (7.0, 100, True), (7.0, 100, True), (7.0, 50, True), (7.0, 50, True),
    ]  # fmt: skip


@PROPERTY
@given(st.binary(max_size=2000), st.lists(st.integers(0, 5000)), st.integers(1, 300), st.integers(0, 400))
def test_bytes_are_kept(data: bytes, cuts: list[int], size: int, jitter: int) -> None:
    """However the stream comes, nothing is lost or out of order, and no piece is larger than size and jitter."""
    shaper = sliced(size=f"{size}B", jitter=f"{jitter}B").shaper(draws())
    segments = through(shaper, cut(data, cuts))
    assert joined(segments) == data
    assert all(1 <= len(piece) <= size + jitter and own_segment for _, piece, own_segment in segments)


def test_jitter_spreads_the_sizes() -> None:
    """Every size from size - jitter to size + jitter comes, about as often above as below, and none beyond."""
    segments = through(sliced(size="100B", jitter="10B").shaper(draws()), [bytes(500_000)])
    sizes = [len(data) for _, data, _ in segments][:-1]
    assert set(sizes) == set(range(90, 111))
    assert abs(sum(sizes) / len(sizes) - 100) < 4 * 6.1 / len(sizes) ** 0.5


def test_jitter_larger_than_the_size_leaves_a_byte() -> None:
    """A piece is never empty."""
    segments = through(sliced(size="2B", jitter="50B").shaper(draws()), [bytes(10_000)])
    assert min(len(data) for _, data, _ in segments) == 1


def test_a_pause_stands_between_two_pieces() -> None:
    """The first piece is not late; every other is due a pause after the one before, over reads too."""
    segments = through(sliced(size="10B", pause="5ms").shaper(draws()), [bytes(30), bytes(20)], now=1.0)
    assert dues(segments) == pytest.approx([1.0, 1.005, 1.01, 1.015, 1.02])


def test_a_pause_that_has_passed_is_not_waited_for() -> None:
    """A piece that comes late enough by itself leaves at once."""
    shaper = sliced(size="10B", pause="5ms").shaper(draws())
    shaper.shape(1.0, 0, bytes(10))
    assert dues(shaper.shape(2.0, 10, bytes(20))) == [2.0, 2.005]


def test_the_end_comes_after_the_last_piece() -> None:
    """FIN overtakes nothing."""
    shaper = sliced(size="10B", pause="5ms").shaper(draws())
    last = dues(shaper.shape(1.0, 0, bytes(100)))[-1]
    assert shaper.end(1.0, fin=True) >= last
    assert sliced(size="10B").shaper(draws()).end(1.0, fin=True) == 1.0


def test_the_sizes_depend_on_the_seed_alone() -> None:
    """The same connection is cut up the same again."""
    fault = sliced(size="100B", jitter="50B")
    first, again, other = (through(fault.shaper(draws(seed)), [bytes(10_000)]) for seed in (1, 1, 2))
    assert first == again != other


def test_order_is_kept_with_pauses() -> None:
    """Pieces are due in the order of the stream."""
    segments = through(sliced(size="10B", pause="1ms").shaper(draws()), [bytes(95)] * 20, every_s=0.003)
    assert all(earlier <= later for earlier, later in pairwise(dues(segments)))


@pytest.mark.parametrize("options", [{}, {"size": "0B"}, {"size": 10}, {"size": "10B", "pause": "1B"}])
def test_what_is_not_a_slice(options: dict[str, object]) -> None:
    """A size is due, and more than nothing."""
    with pytest.raises(ValidationError):
        sliced(**options)
