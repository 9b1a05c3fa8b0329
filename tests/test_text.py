"""What cannot be printed does no harm."""

import pytest

from faultproxy.text import one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain: ü \\", "plain: ü \\"), ("a\nb\r", r"a\nb\r"), ("\x1b[2J", r"\x1b[2J"), ("\u2028\udcff", r"\u2028\udcff")],
)
def test_one_line(text: str, shown: str) -> None:
    """Line ends, escapes and halves of characters are written as Python writes them; all else stays as it is."""
    assert one_line(text) == shown
