"""What cannot be printed does no harm."""

import json
from pathlib import Path

import pytest

from faultproxy.text import nearest, one_line, to_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain: ü \\", "plain: ü \\"), ("a\nb\r", r"a\nb\r"), ("\x1b[2J", r"\x1b[2J"), ("\u2028\udcff", r"\u2028\udcff")],
)
def test_one_line(text: str, shown: str) -> None:
    """Line ends, escapes and halves of characters are written as Python writes them; all else stays as it is."""
    assert one_line(text) == shown


def test_the_nearest_name() -> None:
    """In any case; none for what is like no name, nor for a long text, which is not compared at all."""
    names = ["latency", "bandwidth", "l" * 50]
    assert nearest("LATANCY", names) == "latency"
    assert nearest("reset", names) is None
    assert nearest("l" * 50, names) is None


def test_json_of_what_json_has_no_form_for() -> None:
    """It is there as text; all else is as it would be without it."""
    value = {"\udcff": ["\udc80é", 2**70, None, 1.5, True, {2: b"secret"}, Path("/x"), float("inf"), ("a",)]}
    assert json.loads(to_json(value)) == {
        "\\udcff": ["\\udc80é", 2**70, None, 1.5, True, {"2": "6 bytes"}, "/x", "inf", ["a"]]
    }
    assert to_json({"a": ["é", Path("/x")]}) == '{"a":["é","/x"]}'.encode()
