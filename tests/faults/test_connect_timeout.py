import pytest
from pydantic import ValidationError

from faultproxy.faults.connect_timeout import ConnectTimeout
from tests.faults.half_open import Remembered


def test_the_knock_is_ignored() -> None:
    """``connect_timeout:`` and nothing more; how long it takes is the client's business."""
    fault = ConnectTimeout.model_validate({})
    knock = Remembered()
    fault.answer(knock)
    assert knock.answers == [("ignore",)]
    assert fault.connect_returns() == "ETIMEDOUT"
    with pytest.raises(ValidationError):
        ConnectTimeout.model_validate({"after": "1s"})
