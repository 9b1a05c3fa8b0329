import pytest
from pydantic import ValidationError

from faultproxy.faults.connect_timeout import ConnectTimeout
from tests.faults.recording import RecordingHalfOpen


def test_the_syn_is_ignored() -> None:
    """``connect_timeout:`` and nothing more; how long it takes is the client's business."""
    fault = ConnectTimeout.model_validate({})
    client = RecordingHalfOpen()
    fault.answer(client)
    assert client.answers == [("ignore",)]
    assert fault.connect_returns() == "ETIMEDOUT"
    with pytest.raises(ValidationError):
        ConnectTimeout.model_validate({"after": "1s"})
