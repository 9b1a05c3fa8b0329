import pytest
from pydantic import ValidationError

from faultproxy.faults.base import options
from faultproxy.faults.slow_connect import SlowConnect


def test_it_has_a_delay_and_no_direction() -> None:
    """The delay must be some time; a handshake has no direction."""
    fault = SlowConnect.model_validate({"delay": "50ms"})
    assert (fault.delay, fault.client_sees, options(fault)) == (0.05, "delay", {"delay": "50ms"})
    for wrong in ({}, {"delay": "0s"}, {"delay": "1s", "direction": "upstream"}):
        with pytest.raises(ValidationError):
            SlowConnect.model_validate(wrong)
