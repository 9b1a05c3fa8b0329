"""What texts about conditions are made of."""

import pytest

from faultproxy.rules.conditions.base import either, nth


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (11, "11th"),
        (12, "12th"),
        (13, "13th"),
        (21, "21st"),
        (111, "111th"),
    ],
)
def test_ordinals_in_words(number: int, text: str) -> None:
    """As they are said."""
    assert nth(number) == text


def test_alternatives_in_words() -> None:
    """The last one stands behind an or."""
    assert [either((1,)), either((1, 2)), either((1, 2, 3))] == ["1", "1 or 2", "1, 2 or 3"]
