"""Regular expressions of users, over bytes: they take time that is linear in the bytes, whatever both are (RE2)."""

import re
from typing import Annotated

import re2  # type: ignore[import-untyped]  # google-re2 has no types; nobody else imports it
from pydantic import AfterValidator, Field, StrictStr
from pydantic_core import PydanticCustomError

_MOST_MEMORY = 2**20
_MOST_STEPS = 500
_TOKEN = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\\.|[^]\\])*\]|\(\?<?[=!]|.", re.DOTALL)
_BESIDE = frozenset({"$", r"\Z", r"\z", r"\b", r"\B", "(?=", "(?!", "(?<=", "(?<!"})
_BEYOND = re.compile(r".*: (\\[1-9]|\(\?[P>(]|[*+?}]\+)", re.DOTALL)


class Regex:
    """An expression over bytes, in RE2's syntax; text outside ASCII stands for its UTF-8.

    ``steps`` bounds how many steps a byte takes. Raises ValueError, whose text says what is wrong, and what to do.
    """

    __slots__ = ("_compiled", "steps")

    def __init__(self, text: str) -> None:
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.never_capture = True
        options.max_mem = _MOST_MEMORY
        options.log_errors = False
        try:
            self._compiled = re2.compile(text.encode(), options)
        except re2.error as error:
            raise ValueError(_in_words(error.args[0].decode(errors="replace"))) from None
        self.steps: int = self._compiled.programsize
        if self.steps > _MOST_STEPS:
            raise ValueError(_TOO_LARGE)

    def find(self, data: bytes, start: int = 0, end: int | None = None) -> tuple[int, int] | None:
        """Where the first match in a part of the data begins and ends. What is before that part is seen by ``^``."""
        found = self._compiled.search(data, start, end)
        span: tuple[int, int] | None = found.span() if found is not None else None
        return span


def _in_words(reason: str) -> str:
    beyond = _BEYOND.match(reason)
    if reason.startswith("invalid repetition size: "):
        return f"repeats more than 1000 times, {reason.partition(': ')[2]}; write a smaller count, or + for any"
    if reason.startswith("pattern too large"):
        return _TOO_LARGE
    if beyond is not None:
        return f"uses {beyond[1]}, which no search in linear time can do; write an expression without it (RE2's syntax)"
    return f"is not a regular expression: {reason}; correct it, or put \\ before what stands for itself"


_TOO_LARGE = "takes too many steps for each byte; write smaller counts, or fewer alternatives"


def _is_pattern(text: str) -> str:
    beside = next((token for token in _TOKEN.findall(text) if token in _BESIDE), None)
    if beside is not None:
        # Whether it matches would depend on the pieces in which the stream comes.
        raise PydanticCustomError("pattern", f"looks at bytes beside the match, which may come later; remove {beside}")
    try:
        regex = Regex(text)
    except ValueError as error:
        raise PydanticCustomError("pattern", str(error)) from None
    if regex.find(b"") is not None:
        raise PydanticCustomError("pattern", "matches the empty text; write an expression that needs at least one byte")
    return text


Pattern = Annotated[
    StrictStr, Field(min_length=1, max_length=1000, examples=["ERROR [0-9]+"]), AfterValidator(_is_pattern)
]
