"""corrupt: some bytes are not what was sent."""

import math
from bisect import bisect_left
from random import Random  # noqa: TID251  # seeded by a draw, so that a block is one draw and not a thousand
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from faultproxy.faults.base import MAX_READ, ClientSees, Draw, Segment, Shaper, StreamShape
from faultproxy.units import Chance

_BLOCK = 4096
_MOST_CHANGES = 2048  # some 3 ms, in which no other connection is served


class Corrupt(StreamShape):
    """Each byte is changed with ``probability``, or those ``at`` these offsets of the direction are, counted from 0.

    A byte that is picked always changes. Which are picked is a function of the seed, the proxy, the rule, the
    connection, the direction and the offset, so that segmentation does not matter.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["probability"]}, {"required": ["at"]}]})
    key: ClassVar[str] = "corrupt"
    client_sees: ClassVar[ClientSees] = "change"

    probability: Chance | None = None
    """How likely each byte is to be changed."""
    at: Annotated[tuple[Annotated[StrictInt, Field(ge=0, lt=2**53)], ...], Field(min_length=1)] | None = None
    """The offsets of the bytes to change, from 0, in each direction."""

    def shaper(self, draw: Draw) -> Shaper:
        return _Corrupted(self, draw)

    @model_validator(mode="after")
    def _changes_something(self) -> "Corrupt":
        if (self.probability is None) == (self.at is None):
            raise PydanticCustomError("corrupt", "needs exactly one of probability and at, such as {probability: 0.1%}")
        return self


class _Corrupted(Shaper):
    def __init__(self, corrupt: Corrupt, draw: Draw) -> None:
        changes = MAX_READ * (corrupt.probability or 0.0)
        self.max_read = MAX_READ if changes <= _MOST_CHANGES else max(_BLOCK, int(MAX_READ * _MOST_CHANGES / changes))
        self._probability = corrupt.probability
        self._at = sorted(set(corrupt.at or ()))
        self._draw = draw
        self._block: tuple[int, dict[int, int]] = (-1, {})

    def shape(self, due: float, offset: int, data: bytes) -> list[Segment]:
        changed: bytearray | None = None
        for position, mask in self._changes(offset, offset + len(data)):
            changed = changed or bytearray(data)
            changed[position - offset] ^= mask
            self.changed += 1
        return [(due, bytes(changed) if changed else data, False)]

    def _changes(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The offsets in [start, stop) whose bytes change, each with the bits that change."""
        if self._probability is None:
            picked = self._at[bisect_left(self._at, start) : bisect_left(self._at, stop)]
            return [(offset, 1 + int(self._draw(offset) * 255)) for offset in picked]
        blocks = range(start // _BLOCK, (stop - 1) // _BLOCK + 1)
        masks = (item for block in blocks for item in self._masks(block).items())
        return [(offset, mask) for offset, mask in masks if start <= offset < stop]

    def _masks(self, block: int) -> dict[int, int]:
        """The changes of one block, from its own random numbers; the last block is kept, as small reads share it."""
        if self._block[0] != block:
            self._block = (block, _draw_block(block * _BLOCK, self._probability or 0.0, self._draw(("block", block))))
        return self._block[1]


def _draw_block(start: int, probability: float, seed: float) -> dict[int, int]:
    if probability == 0:
        return {}
    random = Random(seed)
    masks: dict[int, int] = {}
    offset = start - 1
    while True:
        # How many bytes stay as they are before the next change has a geometric distribution.
        spared = min(_BLOCK, math.log(1 - random.random()) / math.log1p(-probability)) if probability < 1 else 0
        offset += int(spared) + 1
        if offset >= start + _BLOCK:
            return masks
        masks[offset] = random.randrange(1, 256)
