import pytest
from pydantic import ValidationError

from faultproxy.faults.base import Direction, options
from faultproxy.faults.loss import Loss


def test_its_probability_is_its_loss() -> None:
    """As a fraction, however it is written; the client finds everything late."""
    for written in ("20%", 0.2):
        fault = Loss.model_validate({"probability": written})
        assert fault.loss == 0.2
        assert Loss.model_validate(options(fault)) == fault
    assert Loss.client_sees == "delay"


def test_whose_packets() -> None:
    """Both peers' unless a direction is given."""
    acts = {
        direction: [Loss.model_validate({"probability": 1, "direction": direction}).acts_on(each) for each in Direction]
        for direction in ("both", "upstream", "downstream")
    }
    assert acts == {"both": [True, True], "upstream": [True, False], "downstream": [False, True]}
    assert Loss.model_validate({"probability": 1}).direction == "both"


def test_what_is_not_a_loss() -> None:
    """A probability is due, and the direction is one that there is."""
    for written in ({}, {"probability": "200%"}, {"probability": "1%", "direction": "down"}, {"probability": True}):
        with pytest.raises(ValidationError):
            Loss.model_validate(written)
