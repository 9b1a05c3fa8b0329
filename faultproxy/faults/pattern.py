"""Regular expressions over a stream of bytes, which comes in pieces of any size."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr
from pydantic_core import PydanticCustomError

WINDOW = 4096
"""A match may be at most this many bytes long."""


def compile_pattern(text: str) -> re.Pattern[bytes]:
    """The expression over bytes; text outside ASCII stands for its UTF-8."""
    return re.compile(text.encode())


def _is_pattern(text: str) -> str:
    try:
        pattern = compile_pattern(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise PydanticCustomError("pattern", f"is not a regular expression: {error}") from None
    if pattern.search(b""):
        raise PydanticCustomError("pattern", "matches nothing at all; write an expression that needs at least one byte")
    return text


Pattern = Annotated[StrictStr, Field(min_length=1, max_length=1000), AfterValidator(_is_pattern)]


class Search:
    """Looks for the first match in a stream whose pieces it is shown in order, the first beginning at ``offset``.

    The match ends where the shortest beginning of the stream that holds a match ends: so it does not
    matter in which pieces the stream comes. ``end`` is that offset, once it is known.
    """

    def __init__(self, text: str, offset: int) -> None:
        self.end: int | None = None
        self._pattern = compile_pattern(text)
        self._tail = b""
        self._offset = offset

    def __call__(self, piece: bytes) -> int | None:
        """Where the match ends, told by the piece in which it does."""
        if self.end is not None:
            return None
        window = self._tail + piece
        if self._pattern.search(window):
            self.end = self._offset - len(self._tail) + self._shortest(window)
            return self.end
        self._tail = window[-WINDOW:]
        self._offset += len(piece)
        return None

    def _shortest(self, window: bytes) -> int:
        low, high = len(self._tail), len(window)
        while low + 1 < high:
            middle = (low + high) // 2
            if self._pattern.search(window, 0, middle):
                high = middle
            else:
                low = middle
        return high
