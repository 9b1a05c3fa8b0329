import pytest
from pydantic import ValidationError

from faultproxy.faults.base import options
from faultproxy.faults.loss import Loss


def test_its_probability_is_its_loss() -> None:
    """As a fraction, however it is written; the client finds everything late."""
    for written in ("20%", 0.2):
        fault = Loss.model_validate({"probability": written})
        assert fault.loss == 0.2
        assert Loss.model_validate(options(fault)) == fault
    assert Loss.client_sees == "delay"


def test_what_is_not_a_loss() -> None:
    """A probability is due, and nothing else is taken: what is lost comes from the client."""
    for written in ({}, {"probability": "200%"}, {"probability": "1%", "direction": "both"}, {"probability": True}):
        with pytest.raises(ValidationError):
            Loss.model_validate(written)
