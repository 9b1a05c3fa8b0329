"""Shapes at work without a proxy: the numbers that they draw, and streams cut into segments for them."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise

from faultproxy.faults.base import Draw, Segment, Shaper
from faultproxy.rules.draw import draw


def draws(seed: int = 1, *parts: object) -> Draw:
    """The draws of one shape in one direction of one connection."""
    return partial(draw, seed, "proxy", "rule", *parts)


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data in the pieces that these cuts make of it."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:stop] for start, stop in pairwise(edges)]


def through(shaper: Shaper, pieces: Sequence[bytes], now: float = 0.0, every_s: float = 0.0) -> list[Segment]:
    """What becomes of a stream whose pieces come ``every_s`` seconds."""
    segments: list[Segment] = []
    offset = 0
    for piece in pieces:
        segments += shaper.shape(now, offset, piece)
        offset += len(piece)
        now += every_s
    return segments


def joined(segments: Iterable[Segment]) -> bytes:
    """The bytes of all of them."""
    return b"".join(data for _, data, _ in segments)


def dues(segments: Iterable[Segment]) -> list[float]:
    """When they are due."""
    return [due for due, _, _ in segments]
