import pytest
from pydantic import ValidationError

from faultproxy.faults.slow_close import SlowClose
from tests.faults.shapes import draws, through


def test_only_fin_is_held_back() -> None:
    """Data leaves when it comes; FIN leaves later by the delay; a reset does not."""
    shaper = SlowClose.model_validate({"delay": "300ms"}).shaper(draws())
    assert through(shaper, [b"one", b"two"], now=2.0) == [(2.0, b"one", False), (2.0, b"two", False)]
    assert shaper.end(2.0, fin=True) == 2.3
    assert shaper.end(2.0, fin=False) == 2.0


def test_a_delay_is_due() -> None:
    """With a unit."""
    for options in ({}, {"delay": 1}):
        with pytest.raises(ValidationError):
            SlowClose.model_validate(options)
