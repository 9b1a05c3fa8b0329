"""The first match in a stream, in whatever pieces it comes, and what looking for it costs."""

import random
import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultproxy.faults.matcher import WINDOW, Matcher
from tests.faults.shapes import cut

PROPERTY = settings(derandomize=True, deadline=None, max_examples=200)


def search(text: str, pieces: Sequence[bytes], offset: int = 0, nth: int = 1) -> int | None:
    """Where the match ends; a search reports it once, with the piece in which it is complete."""
    looking = Matcher(text, offset, nth)
    for piece in pieces:
        before, offset = offset, offset + len(piece)
        reported = looking(piece)
        assert reported is None or (reported == looking.end and before < reported <= offset)
    return looking.end


def one_by_one(data: bytes) -> list[bytes]:
    return [data[offset : offset + 1] for offset in range(len(data))]


@PROPERTY
@given(
    st.sampled_from(
        [
            "^ab",
            "\\Aba",
            "(?m)^c",
            "ab",
            "a+b",
            "a{3}",
            "(?:ab|abba)c?",
            "b.c",
            "[^a]a[^a]",
            "c\\w*c",
            "(?i)AbC",
            "a.*?c",
        ]
    ),
    st.lists(st.sampled_from([b"a", b"b", b"c", b" ", b"abba", b"\n"]), max_size=60).map(b"".join),
    st.lists(st.integers(0, 300), max_size=8),
)
def test_segmentation_does_not_matter(text: str, data: bytes, cuts: list[int]) -> None:
    """The match ends with the shortest beginning of the stream that holds one, in whatever pieces it comes."""
    pattern = re.compile(text.encode())
    shortest = next((end for end in range(len(data) + 1) if pattern.search(data[:end])), None)
    assert search(text, [data]) == shortest
    assert search(text, cut(data, cuts)) == shortest
    assert search(text, one_by_one(data)) == shortest


@pytest.mark.parametrize("split", range(1, 12))
def test_a_match_over_a_boundary(split: int) -> None:
    """Wherever the stream is cut, the match is found, and ends with its last byte."""
    data = b"x" * 5 + b"NEEDLE" + b"y" * 5
    assert search("NEEDLE", [data[:split], data[split:]]) == 11


def test_only_the_first_match_counts() -> None:
    """What matches later is not reported."""
    looking = Matcher("ab", 0)
    assert [looking(piece) for piece in (b"a", b"bab", b"ab")] == [None, 2, None]
    assert looking.end == 2


@PROPERTY
@given(
    st.sampled_from(["ab", "a+b", "a{3}", "b.c", "^ab", "a", "(?:ab|abba)c"]),
    st.lists(st.sampled_from([b"a", b"b", b"c", b"ab", b"abba"]), max_size=60).map(b"".join),
    st.integers(1, 5),
    st.lists(st.integers(0, 300), max_size=8),
)
def test_the_nth_match(text: str, data: bytes, nth: int, cuts: list[int]) -> None:
    """Each begins behind the end of the one before it, in whatever pieces the stream comes."""
    pattern, end, found = re.compile(text.encode()), 0, None
    for _ in range(nth):
        ends = (stop for stop in range(end + 1, len(data) + 1) if pattern.search(data, end, stop))
        found = next(ends, None)
        if found is None:
            break
        end = found
    expected = end if found is not None else None
    for pieces in ([data], cut(data, cuts), one_by_one(data)):
        assert search(text, pieces, nth=nth) == expected


def test_the_thousandth_match_far_into_the_stream() -> None:
    """Counted over pieces of any size, one after another and far apart."""
    data = (b"OK" + b"." * 8000) * 999 + b"OKOK"
    for size in (1000, 4096, 100_000):
        assert search("OK", [data[at : at + size] for at in range(0, len(data), size)], nth=1000) == len(data) - 2


def test_offsets_are_those_of_the_stream() -> None:
    """A search that begins in the middle counts from the beginning all the same."""
    assert search("end", [b"the e", b"nd"], offset=1000) == 1007


def test_what_was_before_the_search_is_not_seen() -> None:
    """A match needs all of its bytes to come after the search began."""
    assert search("abc", [b"bc", b"abc"], offset=1) == 6


def test_a_match_as_long_as_the_window() -> None:
    """4 KiB is found in pieces of any size, far into the stream."""
    data = b"." * 10_000 + b"<" + b"x" * (WINDOW - 2) + b">" + b"." * 5000
    end = 10_000 + WINDOW
    for size in (1, 7, 1000, WINDOW, 100_000):
        assert search("<x+>", [data[at : at + size] for at in range(0, len(data), size)]) == end


@pytest.mark.parametrize("size", [1, 7, 1000, WINDOW, 100_000])
def test_a_match_longer_than_the_window_is_none(size: int) -> None:
    """It is found in no pieces, however large; one that comes later is."""
    data = b"<" + b"x" * WINDOW + b">" + b"." * 100 + b"<xx>" + b"." * 100
    assert search("<[^>]+>", [data[at : at + size] for at in range(0, len(data), size)]) == WINDOW + 106


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
@pytest.mark.parametrize(("text", "end"), [("^abc", None), ("\\Aabc", None), ("^x+", 1), ("(?m)^abc", 5005)])
def test_the_beginning_is_the_streams(text: str, end: int | None, size: int) -> None:
    """^ is where the search began, however long ago that is, and not where what is remembered begins."""
    data = b"x" * 5001 + b"\nabcabc" + b"." * 10_000
    assert search(text, [data[at : at + size] for at in range(0, len(data), size)]) == end


def test_a_stream_without_a_match_is_not_kept() -> None:
    """However long it is, no more than a window of it is remembered."""
    looking = Matcher("needle", 0)
    for _ in range(20):
        looking(bytes(300_000))
    assert len(looking._before) <= 2 * WINDOW


def test_text_outside_ascii_is_its_utf8() -> None:
    """A user types characters, the stream has bytes."""
    assert search("naïve", one_by_one("so naïve".encode())) == 9


PIECE = 256 * 1024


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("(a+)+b", b"a" * PIECE),
        (r"\w+@example", b"a" * PIECE),
        ("<a.*>", b"<a" * (PIECE // 2)),
        ("(x+x+)+y", b"x" * PIECE),
        ("<[^>]*>", (b"<" + b"x" * WINDOW + b">") * (PIECE // (WINDOW + 2))),
        ("<.*>", b"<" * WINDOW + b"x" * WINDOW + b">" * (PIECE - 2 * WINDOW)),
        ("a(?:.{97})*b", (b"a" * 97 + b"\n" * WINDOW) * (PIECE // (WINDOW + 97))),
    ],
)
def test_a_piece_takes_milliseconds(text: str, data: bytes) -> None:
    """256 KiB that go almost all the way of matching cost what any 256 KiB cost, and a byte alone no more."""
    looking = Matcher(text, 0)
    assert fastest(looking, data) < 0.02
    assert fastest(looking, data[:1]) < 0.002
    assert looking.end is None


@pytest.mark.parametrize("text", ["a[ab]{20}c", "[ab]*a[ab]{100}c", "a[ab]{480}c"])
def test_what_costs_much_is_read_in_small_pieces(text: str) -> None:
    """An expression for which every byte is a surprise takes few of them at once."""
    looking = Matcher(text, 0)
    data = random.Random(1).choices(b"ab", k=looking.max_read)
    assert fastest(looking, bytes(data)) < 0.02
    assert looking.max_read < 32 * 1024


def fastest(looking: Matcher, data: bytes) -> float:
    """The processor time of the fastest of five pieces."""
    times = []
    for _ in range(5):
        start = time.process_time()
        looking(data)
        times.append(time.process_time() - start)
    return min(times)
