import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from faultproxy.units import (
    format_duration,
    format_size,
    parse_duration,
    parse_probability,
    parse_size,
    quote,
)

FIXED = settings(derandomize=True, deadline=None)
NUMBERS = st.from_regex(r"(?:0|[1-9][0-9]{0,4})(?:\.[0-9]{1,9})?", fullmatch=True)
SPACES = st.sampled_from(["", " "])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250us", 250e-6), ("10ms", 0.01), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("0s", 0.0), ("100us", 1e-4)],
)
def test_duration(text: str, seconds: float) -> None:
    """A duration is its exact number of seconds, rounded once."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512B", 512),
        ("4KiB", 4096),
        ("1MiB", 2**20),
        ("10kB", 10_000),
        ("1MB", 10**6),
        ("1.001kB", 1001),
        ("1 GiB", 2**30),
    ],
)
def test_size(text: str, size: int) -> None:
    """A size is a whole number of bytes, however it is written."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("value", "fraction"),
    [("10%", 0.1), ("33.3%", 0.333), ("100%", 1.0), ("0%", 0.0), ("0.5 %", 0.005), (0.1, 0.1), (0, 0.0), (1, 1.0)],
)
def test_probability(value: object, fraction: float) -> None:
    """A probability is a percentage or a number from 0 to 1."""
    assert parse_probability(value) == fraction


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (4, '"4" has no unit; write 4ms, 4s or 4m'),
        (-4, '"-4" has no unit; write 10ms, 10s or 10m'),
        (1e300, '"1e+300" has no unit; write 10ms, 10s or 10m'),
        (True, '"true" is not a duration; write 10ms, 10s or 10m (units: us ms s m h)'),
        ("4", '"4" is not a duration; write 10ms, 10s or 10m (units: us ms s m h)'),
        ("-4s", '"-4s" is not a duration; write 10ms, 10s or 10m (units: us ms s m h)'),
        ("4S", '"4S" is not a duration; write 10ms, 10s or 10m (units: us ms s m h)'),
        ("04s", '"04s" is not a duration; write 10ms, 10s or 10m (units: us ms s m h)'),
        ("٤s", '"٤s" is not a duration; write 10ms, 10s or 10m (units: us ms s m h)'),
        ("4s\n", '"4s\\n" is not a duration; write 10ms, 10s or 10m (units: us ms s m h)'),
        ("{units}", '"{units}" is not a duration; write 10ms, 10s or 10m (units: us ms s m h)'),
        ([1] * 1000, "a list is not a duration; write 10ms, 10s or 10m (units: us ms s m h)"),
        ("876001h", '"876001h" is longer than a century; write a shorter duration'),
    ],
)
def test_bad_duration(value: object, message: str) -> None:
    """A value that is no duration is refused with what would be right."""
    with pytest.raises(PydanticCustomError) as error:
        parse_duration(value)
    assert error.value.message() == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (4096, '"4096" has no unit; write 4096B, 4096KiB or 4096MiB'),
        ("4k", '"4k" is not a size; write 10B, 10KiB or 10MiB (units: B kB MB GB KiB MiB GiB)'),
        ("1.5B", '"1.5B" is not a whole number of bytes; write 2B'),
        ("9000000000GB", '"9000000000GB" is larger than 8 PiB; write a smaller size'),
    ],
)
def test_bad_size(value: object, message: str) -> None:
    """A value that is no size is refused with what would be right."""
    with pytest.raises(PydanticCustomError) as error:
        parse_size(value)
    assert error.value.message() == message


@pytest.mark.parametrize(
    "value", [10, -0.1, True, "10", "101%", "05%", "10%\n", float("nan"), float("inf"), None, [0.1]]
)
def test_bad_probability(value: object) -> None:
    """A value that is no probability is refused."""
    with pytest.raises(PydanticCustomError, match="is not a probability; write a percentage such as 10%, or a number"):
        parse_probability(value)


@FIXED
@given(NUMBERS, SPACES, st.sampled_from(["us", "ms", "s", "m", "h"]))
def test_duration_round_trip(number: str, space: str, unit: str) -> None:
    """Every duration that can be written is written back as text that reads as the same number."""
    seconds = parse_duration(number + space + unit)
    assert parse_duration(format_duration(seconds)) == seconds


@FIXED
@given(st.integers(10**8, 3 * 10**15), st.sampled_from(["us", "ms"]))
def test_long_duration_round_trip(number: int, unit: str) -> None:
    """So is a duration of more digits than a float has room for."""
    seconds = parse_duration(f"{number % 10**12}.{number % 10**9:09d}{unit}")
    assert parse_duration(format_duration(seconds)) == seconds


@FIXED
@given(st.integers(0, 2**53))
def test_size_round_trip(size: int) -> None:
    """Every size up to the largest is written back as text that reads as the same number."""
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (1e-4, "100us"),
        (0.01, "10ms"),
        (90.0, "90s"),
        (60.0, "1m"),
        (7200.0, "2h"),
        (0.1, "100ms"),
        (0.7, "700ms"),
        (1.5, "1.5s"),
        (150.0, "150s"),
        (12.345, "12.345s"),
        (1.234567, "1.234567s"),
        (0.0015, "1.5ms"),
        (1e-9, "0.001us"),
        (86400.0, "24h"),
    ],
)
def test_duration_is_short(seconds: float, text: str) -> None:
    """A duration is written in the unit that makes it shortest."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0B"), (1000, "1kB"), (4096, "4KiB"), (4097, "4097B")])
def test_size_is_short(size: int, text: str) -> None:
    """A size is written in the unit that makes it shortest."""
    assert format_size(size) == text


@FIXED
@given(st.text() | st.integers() | st.booleans() | st.none() | st.lists(st.integers()))
def test_quote_is_one_short_line(value: object) -> None:
    """Whatever a file holds, an error message stays on one short line of printable characters."""
    quoted = quote(value)
    assert quoted.isprintable()
    assert len(quoted) <= 2 + 40 * len("\\U00000000")
