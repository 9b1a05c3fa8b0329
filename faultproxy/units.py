"""Quantities as users type them: always with a unit, so that no number can be misread.

Each type is a plain number inside (seconds, bytes, a fraction), is read from YAML text, and is
written back as a person would write it, in text that reads as the same number.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from faultproxy.text import one_line

_SECONDS = MappingProxyType(
    {"us": Fraction(1, 10**6), "ms": Fraction(1, 10**3), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600)}
)
_BYTES = MappingProxyType(
    {
        "B": Fraction(1),
        "kB": Fraction(10**3),
        "MB": Fraction(10**6),
        "GB": Fraction(10**9),
        "KiB": Fraction(2**10),
        "MiB": Fraction(2**20),
        "GiB": Fraction(2**30),
    }
)
_BYTES_A_SECOND = MappingProxyType(
    {f"{unit}/s": scale for unit, scale in _BYTES.items()}
    | {f"{prefix}bit/s": Fraction(scale, 8) for prefix, scale in (("", 1), ("k", 10**3), ("M", 10**6), ("G", 10**9))}
)
_LONGEST_S = 100 * 365 * 86400
_LARGEST_B = 2**53

# Use re.fullmatch: with re.match, Python's `$` is also before a last newline. In JSON Schema (ECMA) it is the very end.
NUMBER = r"(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,9})?"
DURATION_PATTERN = rf"^{NUMBER} ?(?:us|ms|s|m|h)$"
POSITIVE_DURATION_PATTERN = rf"^(?=[0-9.]*[1-9]){NUMBER} ?(?:us|ms|s|m|h)$"
SIZE_PATTERN = rf"^{NUMBER} ?(?:B|kB|MB|GB|KiB|MiB|GiB)$"
POSITIVE_SIZE_PATTERN = rf"^(?=[0-9.]*[1-9]){NUMBER} ?(?:B|kB|MB|GB|KiB|MiB|GiB)$"
RATE_PATTERN = rf"^{NUMBER} ?(?:(?:B|kB|MB|GB|KiB|MiB|GiB)/s|(?:k|M|G)?bit/s)$"
PERCENT_PATTERN = r"^(?:100(?:\.0{1,9})?|(?:0|[1-9][0-9]?)(?:\.[0-9]{1,9})?) ?%$"


def parse_duration(value: object) -> float:
    """Seconds, from ``250us``, ``10ms``, ``1.5s``, ``2m`` or ``1h``."""
    seconds = _parse(value, "duration", _SECONDS, "{0}ms, {0}s or {0}m")
    if seconds > _LONGEST_S:
        raise PydanticCustomError("duration", f"{quote(value)} is longer than a century; write a shorter duration")
    return float(seconds)


def parse_size(value: object) -> int:
    """Bytes, from ``512B``, ``10kB``, ``4KiB``, ``1MB`` or ``1MiB``; a whole number of them."""
    size = _parse(value, "size", _BYTES, "{0}B, {0}KiB or {0}MiB")
    if size > _LARGEST_B:
        raise PydanticCustomError("size", f"{quote(value)} is larger than 8 PiB; write a smaller size")
    if size.denominator != 1:
        raise PydanticCustomError("size", f"{quote(value)} is not a whole number of bytes; write {round(size)}B")
    return int(size)


def parse_rate(value: object) -> float:
    """Bytes a second, from ``64KiB/s``, ``1MB/s`` or ``8Mbit/s``; 0 is none."""
    rate = _parse(value, "rate", _BYTES_A_SECOND, "{0}B/s, {0}KiB/s or {0}Mbit/s")
    if rate > _LARGEST_B:
        raise PydanticCustomError("rate", f"{quote(value)} is more than 8 PiB/s; write a lower rate")
    return float(rate)


def parse_probability(value: object) -> float:
    """A fraction from 0 to 1, from ``10%`` or ``0.1``."""
    if isinstance(value, str) and re.fullmatch(PERCENT_PATTERN, value):
        return float(Fraction(value.removesuffix("%").strip()) / 100)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise PydanticCustomError(
        "probability", f"{quote(value)} is not a probability; write a percentage such as 10%, or a number from 0 to 1"
    )


@lru_cache(maxsize=1000)
def format_duration(seconds: float) -> str:
    """What a person writes: the shortest text that reads back as the same number, in a unit of which it is one or more.

    Every duration that was read from text has one; for any other, the nearest nanosecond.
    """
    exact = Fraction(repr(seconds))
    numbers = ((exact / scale, unit) for unit, scale in _SECONDS.items())
    texts = [(number, _decimal(number) + unit) for number, unit in numbers if (number * 10**9).denominator == 1]
    nearest = exact, _decimal(exact) + "s"
    return min(texts, key=lambda text: (text[0] < 1, len(text[1]), text[0] >= 1000), default=nearest)[1]


def format_size(size: int) -> str:
    """The shortest of the byte units that divides the size."""
    texts = [f"{size // scale}{unit}" for unit, scale in _BYTES.items() if size % scale == 0]
    return min(texts, key=len)


def format_rate(rate: float) -> str:
    """The shortest text that reads back as the same number of bytes a second."""
    texts = [
        _decimal(Fraction(rate) / scale) + unit
        for unit, scale in _BYTES_A_SECOND.items()
        if (Fraction(rate) / scale * 10**9).denominator == 1
    ]
    return min(texts, key=len, default=_decimal(Fraction(rate)) + "B/s")


def format_probability(fraction: float) -> float:
    """A fraction is its own text."""
    return fraction


def one_or_many(value: object) -> object:
    """A list as it is, and anything else as a list of one."""
    return value if isinstance(value, list) else [value]


def quote(value: object) -> str:
    """A value as it may stand in an error message: short, on one line, in double quotes."""
    if value is None or isinstance(value, (dict, list)):
        return "nothing" if value is None else "a mapping" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text if len(text) <= 40 else text[:37] + "..."
    return f'"{one_line(text)}"'


def _parse(value: object, kind: str, units: Mapping[str, Fraction], examples: str) -> Fraction:
    """The exact number that a text with a unit stands for, in the unit whose scale is 1."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = value if re.fullmatch(NUMBER, str(value)) else 10
        raise PydanticCustomError("unit", f"{quote(value)} has no unit; write {examples.format(number)}")
    match = re.fullmatch(rf"({NUMBER}) ?([a-zA-Z/]+)", value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        right = f"write {examples.format('10')} (units: {' '.join(units)})"
        raise PydanticCustomError(kind, f"{quote(value)} is not a {kind}; {right}")
    return Fraction(match[1]) * units[match[2]]


def _decimal(number: Fraction) -> str:
    whole, billionths = divmod(round(number * 10**9), 10**9)
    return f"{whole}.{billionths:09d}".rstrip("0").rstrip(".")


def _positive(seconds: float) -> float:
    if seconds == 0:
        raise PydanticCustomError("duration", "is no time at all; write a duration such as 10s")
    return seconds


def _some(size: int) -> int:
    if size == 0:
        raise PydanticCustomError("size", "is nothing at all; write a size such as 4KiB")
    return size


def schema_of(pattern: str, example: str) -> WithJsonSchema:
    """The JSON Schema of a text."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Duration = Annotated[
    float, BeforeValidator(parse_duration), PlainSerializer(format_duration), schema_of(DURATION_PATTERN, "10s")
]
PositiveDuration = Annotated[Duration, AfterValidator(_positive), schema_of(POSITIVE_DURATION_PATTERN, "10s")]
Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size), schema_of(SIZE_PATTERN, "4KiB")]
PositiveSize = Annotated[Size, AfterValidator(_some), schema_of(POSITIVE_SIZE_PATTERN, "4KiB")]
Rate = Annotated[float, BeforeValidator(parse_rate), PlainSerializer(format_rate), schema_of(RATE_PATTERN, "64KiB/s")]
Chance = Annotated[
    float,
    BeforeValidator(parse_probability),
    PlainSerializer(format_probability),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": PERCENT_PATTERN}],
            "examples": ["10%"],
        }
    ),
]
