"""Quantities as users type them: always with a unit, so that no number can be misread.

Each type is a plain number inside (seconds, bytes, a fraction), is read from YAML text, and is
written back as the shortest text that reads as the same number.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

_SECONDS = MappingProxyType({"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0})
_BYTES = MappingProxyType(
    {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
)
_LONGEST_S = 100 * 365 * 86400.0
_LARGEST_B = 2**53

NUMBER = r"(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,9})?"
DURATION_PATTERN = rf"^{NUMBER} ?(?:us|ms|s|m|h)$"
SIZE_PATTERN = rf"^{NUMBER} ?(?:B|kB|MB|GB|KiB|MiB|GiB)$"
PERCENT_PATTERN = r"^(?:100(?:\.0{1,9})?|[0-9]{1,2}(?:\.[0-9]{1,9})?) ?%$"


def parse_duration(value: object) -> float:
    """Seconds, from ``250us``, ``10ms``, ``1.5s``, ``2m`` or ``1h``."""
    amount, unit = _split(value, "duration", _SECONDS, "{0}ms, {0}s or {0}m")
    seconds = float(amount) * _SECONDS[unit]
    if seconds > _LONGEST_S:
        raise PydanticCustomError("too_long", "is longer than a century; write a shorter duration")
    return seconds


def parse_size(value: object) -> int:
    """Bytes, from ``512B``, ``10kB``, ``4KiB``, ``1MB`` or ``1MiB``; a whole number of them."""
    amount, unit = _split(value, "size", _BYTES, "{0}B, {0}KiB or {0}MiB")
    size = float(amount) * _BYTES[unit]
    if size > _LARGEST_B:
        raise PydanticCustomError("too_large", "is larger than 8 PiB; write a smaller size")
    if size != int(size):
        raise PydanticCustomError("fraction", "is not a whole number of bytes; write {near}B", {"near": round(size)})
    return int(size)


def parse_probability(value: object) -> float:
    """A fraction from 0 to 1, from ``10%`` or ``0.1``."""
    if isinstance(value, str) and re.match(PERCENT_PATTERN, value):
        return float(value.removesuffix("%")) / 100
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise PydanticCustomError(
        "probability", "{value} is not a probability; write a percentage such as 10%, or a number from 0 to 1", {"value": quote(value)}
    )


def format_duration(seconds: float) -> str:
    """The shortest of ``us ms s m h`` that reads back as the same number of seconds."""
    texts = ((f"{seconds / scale:.9f}".rstrip("0").rstrip("."), unit) for unit, scale in _SECONDS.items())
    same = (number + unit for number, unit in texts if float(number) * _SECONDS[unit] == seconds)
    return min(same, key=len, default=f"{seconds:.9f}s")


def format_size(size: int) -> str:
    """The shortest of the byte units that divides the size."""
    return min((f"{size // scale}{unit}" for unit, scale in _BYTES.items() if size % scale == 0), key=len)


def format_probability(fraction: float) -> float:
    """A fraction is its own text."""
    return fraction


def quote(value: object) -> str:
    """A value as it may stand in an error message: short, on one line, in double quotes."""
    text = str(value) if len(str(value)) <= 40 else str(value)[:37] + "..."
    return '"' + text.encode("unicode_escape").decode("ascii") + '"'


def _split(value: object, kind: str, units: Mapping[str, float], examples: str) -> tuple[str, str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise PydanticCustomError(
            "unit", "{value} has no unit; write {examples}", {"value": quote(value), "examples": examples.format(value)}
        )
    match = re.match(rf"^({NUMBER}) ?([a-zA-Z]+)$", value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise PydanticCustomError(
            kind,
            "{value} is not a " + kind + "; write {examples} (units: {units})",
            {"value": quote(value), "examples": examples.format("10"), "units": " ".join(units)},
        )
    return match[1], match[2]


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN}),
]
Probability = Annotated[
    float,
    BeforeValidator(parse_probability),
    PlainSerializer(format_probability),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": PERCENT_PATTERN}]}
    ),
]
