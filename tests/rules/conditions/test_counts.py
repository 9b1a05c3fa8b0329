"""How many connections there are, and which of them this is."""

from typing import Any

import pytest
from pydantic import ValidationError

from faultproxy.rules.conditions.counts import Bounds
from tests.rules.conditions.judging import missed


@pytest.mark.parametrize(
    ("bounds", "holding"),
    [({"min": 2}, [2, 3, 4]), ({"max": 2}, [0, 1, 2]), ({"min": 1, "max": 2}, [1, 2]), ({"max": 0}, [0])],
)
def test_open_connections(bounds: dict[str, int], holding: list[int]) -> None:
    """Bounds include both ends."""
    assert [count for count in range(5) if Bounds.model_validate(bounds).hold(count)] == holding
    assert [
        count for count in range(5) if missed({"open_connections": bounds}, open_connections=count) is None
    ] == holding


@pytest.mark.parametrize(("numbers", "holding"), [(2, [2]), ([3, 1], [1, 3])])
def test_connection(numbers: object, holding: list[int]) -> None:
    """A connection is chosen by the proxy's own number of it."""
    assert [number for number in range(1, 5) if missed({"connection": numbers}, number=number) is None] == holding


@pytest.mark.parametrize("keys", [{}, {"min": 3, "max": 2}, {"min": -1}, {"min": "3"}, {"min": True}])
def test_bounds_that_make_no_sense_are_refused(keys: dict[str, Any]) -> None:
    """Bounds that nothing can satisfy, that say nothing, or that are no counts are an error."""
    with pytest.raises(ValidationError):
        Bounds.model_validate(keys)
