"""Text and values from elsewhere, as they may stand in a line or an answer of ours."""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from math import isfinite

import orjson

LONGEST_TYPO = 40
"""Longer texts are no typo, and would take long to compare."""


def one_line(text: str) -> str:
    """The text with what cannot be printed escaped, line ends among it: it steers no terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def nearest(typo: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, if there is one."""
    near = get_close_matches(typo.lower(), names, 1) if len(typo) <= LONGEST_TYPO else []
    return near[0] if near else None


def to_json(value: object) -> bytes:
    """A value as JSON. Whatever JSON has no form for, such as half a pair of surrogates, is in it as text."""
    try:
        return orjson.dumps(value, default=_as_text)
    except TypeError:  # half a pair of surrogates, an integer over 64 bits, a key that is no text
        return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")).encode()


def plain(value: object) -> object:
    """The same value in what JSON can say."""
    if isinstance(value, dict):
        return {plain(_as_text(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    return _as_text(value).encode(errors="backslashreplace").decode()


def _as_text(value: object) -> str:
    """What JSON has no form for. Payload is never shown, only how much of it there is."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{memoryview(value).nbytes} bytes"
    return str(value)
