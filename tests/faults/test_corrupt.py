from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from faultproxy.faults.base import MAX_READ
from faultproxy.faults.corrupt import Corrupt
from tests.faults.shapes import cut, draws, joined, through

PROPERTY = settings(derandomize=True, deadline=None, max_examples=30)
BYTES = 1_000_000


def corrupt(**options: object) -> Corrupt:
    return Corrupt.model_validate(options)


def corrupted(fault: Corrupt, pieces: list[bytes], seed: int = 1) -> bytes:
    return joined(through(fault.shaper(draws(seed)), pieces))


def changes(before: bytes, after: bytes) -> list[int]:
    assert len(before) == len(after)
    return [offset for offset, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]


@PROPERTY
@given(
    st.integers(0, 6000),
    st.lists(st.integers(0, 50_000), max_size=20),
    st.sampled_from(
        [{"probability": "100%"}, {"probability": 0.5}, {"probability": 0.001}, {"at": [0, 1, 4095, 4096]}]
    ),
)
def test_segmentation_does_not_matter(count: int, cuts: list[int], options: dict[str, object]) -> None:
    """The same bytes come out whether they come in one piece, in many, or one by one."""
    fault, data = corrupt(**options), bytes(range(256)) * (count // 256 + 1)
    whole = corrupted(fault, [data[:count]])
    assert corrupted(fault, cut(data[:count], cuts)) == whole
    assert corrupted(fault, [data[offset : offset + 1] for offset in range(min(count, 300))]) == whole[:300]


def test_it_begins_anywhere() -> None:
    """A shape that joins the stream in its middle changes it as one that was there from the start."""
    fault = corrupt(probability="5%")
    whole = corrupted(fault, [bytes(10_000)])
    assert joined(fault.shaper(draws()).shape(0.0, 6789, bytes(3211))) == whole[6789:]


def test_a_byte_that_is_picked_always_changes() -> None:
    """At 100 % not one byte is what it was."""
    for value in (0, 0x55, 0xFF):
        data = bytes([value]) * 50_000
        assert len(changes(data, corrupted(corrupt(probability="100%"), [data]))) == len(data)


@pytest.mark.parametrize("probability", [0.5, 0.1, 0.01, 0.0001])
def test_the_share_of_bytes_that_change(probability: float) -> None:
    """Within four standard deviations of what was asked for, in the first and in the second half alike."""
    data = bytes(BYTES)
    changed = changes(data, corrupted(corrupt(probability=probability), [data]))
    for part in (changed[: len(changed)], [offset for offset in changed if offset < BYTES / 2]):
        tried = BYTES if part == changed else BYTES / 2
        sigma = (tried * probability * (1 - probability)) ** 0.5
        assert abs(len(part) - tried * probability) < 4 * sigma + 1


def test_changes_are_independent() -> None:
    """After a change the next byte is changed as often as any, over the edges of blocks too."""
    data, probability = bytes(BYTES), 0.1
    changed = changes(data, corrupted(corrupt(probability=probability), [data]))
    next_to = sum(later == earlier + 1 for earlier, later in pairwise(changed))
    assert abs(next_to - len(changed) * probability) < 4 * (len(changed) * probability * (1 - probability)) ** 0.5
    first = sum(offset % 4096 == 0 for offset in changed)
    tried = BYTES // 4096
    assert abs(first - tried * probability) < 4 * (tried * probability * (1 - probability)) ** 0.5 + 1


def test_every_change_comes() -> None:
    """A changed byte takes each of the 255 other values."""
    data = corrupted(corrupt(probability="100%"), [bytes(50_000)])
    assert set(data) == set(range(1, 256))


@pytest.mark.parametrize("probability", ["0%", 0, 0.0])
def test_no_probability_changes_nothing(probability: object) -> None:
    """Not one byte."""
    assert corrupted(corrupt(probability=probability), [b"data" * 5000]) == b"data" * 5000


def test_a_tiny_probability_ends() -> None:
    """The smallest that can be written is drawn without error."""
    assert len(corrupted(corrupt(probability=5e-324), [bytes(100_000)])) == 100_000
    assert len(corrupted(corrupt(probability=1e-17), [bytes(100_000)])) == 100_000


@pytest.mark.parametrize("at", [[0], [3, 1], [5, 5], [0, 4095, 4096, 8191], [10**9]])
def test_the_bytes_at_given_offsets(at: list[int]) -> None:
    """Those and no others."""
    data = bytes(10_000)
    assert changes(data, corrupted(corrupt(at=at), cut(data, [1, 4, 4096, 5000]))) == sorted(
        {offset for offset in at if offset < len(data)}
    )


def test_the_seed_decides() -> None:
    """The same again with the same seed, something else with another."""
    fault = corrupt(probability="1%")
    first, again, other = (corrupted(fault, [bytes(100_000)], seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("probability", "max_read"), [("0%", MAX_READ), ("0.1%", MAX_READ), ("10%", 20_480), ("100%", 4096)]
)
def test_many_changes_come_in_small_reads(probability: str, max_read: int) -> None:
    """Each change is drawn, and the other connections wait meanwhile."""
    assert corrupt(probability=probability).shaper(draws()).max_read == max_read
    assert corrupt(at=[1]).shaper(draws()).max_read == MAX_READ


def test_it_takes_no_time() -> None:
    """Data and end are due when they came."""
    shaper = corrupt(probability="1%").shaper(draws())
    assert [due for due, _, _ in shaper.shape(4.0, 0, bytes(100_000))] == [4.0]
    assert shaper.end(4.0, fin=True) == 4.0


@pytest.mark.parametrize(
    "options",
    [{}, {"at": []}, {"at": [-1]}, {"at": 3}, {"at": ["3"]}, {"at": [1], "probability": "1%"}, {"probability": "101%"}],
)
def test_what_is_not_a_corruption(options: dict[str, object]) -> None:
    """Exactly one of probability and offsets is due."""
    with pytest.raises(ValidationError):
        corrupt(**options)
