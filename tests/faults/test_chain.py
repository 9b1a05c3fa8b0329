from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import MAX_BUFFERED, MAX_READ, Segment, Shaper, StreamShape
from faultproxy.faults.chain import Chain
from tests.faults.shapes import cut, draws, dues, joined

PROPERTY = settings(derandomize=True, deadline=None, max_examples=100)
KINDS = {kind.key: kind for kind in CATALOGUE if issubclass(kind, StreamShape)}
SHAPES: list[Mapping[str, Mapping[str, object]]] = [
    {"latency": {"delay": "50ms"}},
    {"latency": {"delay": "50ms", "jitter": "90ms"}},
    {"bandwidth": {"rate": "2kB/s"}},
    {"bandwidth": {"rate": "100MB/s"}},
    {"slice": {"size": "1B"}},
    {"slice": {"size": "100B", "jitter": "50B", "pause": "1ms"}},
    {"corrupt": {"probability": "1%"}},
    {"slow_close": {"delay": "1s"}},
]


def shapers(*faults: Mapping[str, Mapping[str, object]]) -> list[Shaper]:
    """The shapers of these faults; two of a kind draw differently, as those of two rules do."""
    pairs = [(key, options) for fault in faults for key, options in fault.items()]
    return [KINDS[key].model_validate(options).shaper(draws(1, place)) for place, (key, options) in enumerate(pairs)]


def chain(*faults: Mapping[str, Mapping[str, object]], offset: int = 0, acted: list[int] | None = None) -> Chain:
    return Chain(shapers(*faults), offset, (acted if acted is not None else []).append)


def shaped(one: Chain, *pieces: bytes, now: float = 0.0) -> list[Segment]:
    return [segment for piece in pieces for segment in one.shape(now, piece)]


def test_delays_add_up() -> None:
    """Two rules with latency are as late as both together, at the end too."""
    one = chain({"latency": {"delay": "30ms"}}, {"latency": {"delay": "50ms"}})
    assert dues(shaped(one, b"x", now=1.0)) == pytest.approx([1.08])
    assert one.end(1.0, fin=True) == pytest.approx(1.08)


def test_what_one_lets_out_the_next_takes_in() -> None:
    """A rate before a delay, and a delay before a rate, come to the same."""
    rate, delay = {"bandwidth": {"rate": "1kB/s"}}, {"latency": {"delay": "1s"}}
    for one in (chain(rate, delay), chain(delay, rate)):
        segments = shaped(one, bytes(500), bytes(500), now=10.0)
        assert segments[-1][0] == pytest.approx(12.0)
        assert min(dues(segments)) > 11.0
        assert one.end(10.0, fin=True) == pytest.approx(12.0)


def test_the_slower_rate_rules() -> None:
    """Two rates one behind the other are the lower of the two."""
    for faults in (("1kB/s", "3kB/s"), ("3kB/s", "1kB/s")):
        one = chain(*({"bandwidth": {"rate": rate}} for rate in faults))
        assert shaped(one, bytes(2000))[-1][0] == pytest.approx(2.0, rel=0.02)


def test_slices_stay_slices() -> None:
    """What is cut up leaves in segments of its own, also when it is delayed, metered or cut up again afterwards."""
    for after in SHAPES:
        segments = shaped(chain({"slice": {"size": "10B"}}, after), bytes(35))
        edge, edges = 0, set()
        for _, data, own_segment in segments:
            edge += len(data)
            if own_segment:
                edges.add(edge)
        assert {10, 20, 30, 35} <= edges


def test_offsets_are_those_of_the_direction() -> None:
    """Each shape sees where its bytes stand in the stream, from the chain's first on, behind a slice too."""
    corrupt: Mapping[str, Mapping[str, object]] = {"corrupt": {"at": [1000, 1007, 1012]}}
    for faults in ([corrupt], [{"slice": {"size": "3B"}}, corrupt], [{"latency": {"delay": "1s"}}, corrupt]):
        data = joined(shaped(chain(*faults, offset=1000), bytes(5), bytes(5), bytes(5)))
        assert [place for place, byte in enumerate(data) if byte] == [0, 7, 12]


@PROPERTY
@given(
    st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4),
    st.integers(0, 5000),
    st.lists(st.integers(0, 10_000), max_size=10),
)
def test_order_and_bytes_are_kept(
    faults: list[Mapping[str, Mapping[str, object]]], count: int, cuts: list[int]
) -> None:
    """Whatever is combined: no byte is lost, none is early, none overtakes another, and the end comes last."""
    one, data = chain(*faults), bytes(range(256)) * 20
    segments = shaped(one, *cut(data[:count], cuts), now=2.0)
    times = dues(segments)
    assert times == sorted(times)
    assert all(due >= 2.0 for due in times)
    assert one.end(2.0, fin=True) >= max(times, default=2.0)
    assert all(data for _, data, _ in segments)
    assert len(joined(segments)) == count
    if not any("corrupt" in fault for fault in faults):
        assert joined(segments) == data[:count]


@pytest.mark.parametrize("one", SHAPES)
@pytest.mark.parametrize("other", SHAPES)
def test_what_is_held_is_bounded(
    one: Mapping[str, Mapping[str, object]], other: Mapping[str, Mapping[str, object]]
) -> None:
    """No combination holds more than 4 MiB, reads more at once than it holds, or makes too many pieces of a read."""
    both = chain(one, other)
    assert 1 <= both.max_read <= both.max_buffered <= MAX_BUFFERED
    assert both.max_read <= MAX_READ
    assert len(shaped(both, bytes(both.max_read))) <= 4096


def test_a_rate_holds_no_more_than_it_needs() -> None:
    """What a slow pipe holds is gone soon after an edit takes the rate away; with a delay it holds that much more."""
    assert chain({"bandwidth": {"rate": "2kB/s"}}).max_buffered <= 2000
    assert 100_000 <= chain({"bandwidth": {"rate": "100kB/s"}}, {"latency": {"delay": "1s"}}).max_buffered <= 200_000
    assert chain({"bandwidth": {"rate": "1B/s"}}).max_buffered >= 1


def test_who_acted_is_reported() -> None:
    """A shape reports when it delays, cuts up, changes, or holds back the end; not when it lets everything pass."""
    acted: list[int] = []
    one = chain({"corrupt": {"at": [5]}}, {"latency": {"delay": "1ms"}}, {"slow_close": {"delay": "1s"}}, acted=acted)
    one.shape(0.0, b"12345")
    assert set(acted) == {1}
    one.shape(0.0, b"6")
    assert set(acted) == {0, 1}
    one.end(0.0, fin=False)
    assert set(acted) == {0, 1}
    one.end(0.0, fin=True)
    assert set(acted) == {0, 1, 2}
