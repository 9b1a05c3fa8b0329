"""Regular expressions over a stream of bytes, which comes in pieces of any size."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr
from pydantic_core import PydanticCustomError

WINDOW = 4096
"""A match may be at most this many bytes long."""

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]|\(\?<?[=!]|.", re.DOTALL)
_BESIDE = frozenset({"$", r"\Z", r"\b", r"\B", "(?=", "(?!", "(?<=", "(?<!"})


def compile_pattern(text: str) -> re.Pattern[bytes]:
    """The expression over bytes; text outside ASCII stands for its UTF-8."""
    return re.compile(text.encode())


def _is_pattern(text: str) -> str:
    try:
        pattern = compile_pattern(text)
    except (re.error, OverflowError, RecursionError) as error:
        right = "correct it, or put \\ before what stands for itself"
        raise PydanticCustomError("pattern", f"is not a regular expression: {error}; {right}") from None
    if pattern.search(b""):
        raise PydanticCustomError("pattern", "matches the empty text; write an expression that needs at least one byte")
    beside = next((token for token in _TOKEN.findall(text) if token in _BESIDE), None)
    if beside is not None:
        # Whether it matches would depend on the pieces in which the stream comes.
        raise PydanticCustomError("pattern", f"looks at bytes beside the match, which may come later; remove {beside}")
    return text


Pattern = Annotated[
    StrictStr, Field(min_length=1, max_length=1000, examples=["ERROR [0-9]+"]), AfterValidator(_is_pattern)
]


class Search:
    """Looks for the first match in a stream whose pieces it is shown in order, the first beginning at ``offset``.

    The match ends where the shortest beginning of the stream that holds a match ends: so it does not
    matter in which pieces the stream comes. ``end`` is that offset, once it is known.
    """

    def __init__(self, text: str, offset: int) -> None:
        self.end: int | None = None
        self._pattern = compile_pattern(text)
        self._tail = b""
        self._first = 0
        self._offset = offset

    def __call__(self, piece: bytes) -> int | None:
        """Where the match ends, told by the piece in which it does."""
        if self.end is not None:
            return None
        window = self._tail + piece
        first = self._first
        while self._pattern.search(window, first):
            end = self._shortest(window, first)
            if self._pattern.search(window, max(first, end - WINDOW), end):
                self.end = self._offset - len(self._tail) + end
                return self.end
            first = end - WINDOW + 1  # what begins before is too long already
        # One byte more than can match, so that ^ does not take the rest for a beginning.
        self._tail = window[-WINDOW - 1 :]
        self._first = self._first or int(len(window) > WINDOW)
        self._offset += len(piece)
        return None

    def _shortest(self, window: bytes, first: int) -> int:
        low, high = len(self._tail), len(window)
        while low + 1 < high:
            middle = (low + high) // 2
            if self._pattern.search(window, first, middle):
                high = middle
            else:
                low = middle
        return high
