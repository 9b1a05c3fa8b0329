import pytest
from pydantic import ValidationError

from faultproxy.faults.refuse import Refuse
from tests.faults.recording import RecordingHalfOpen


def test_it_has_no_options() -> None:
    """``refuse:`` and nothing more; the client sees ECONNREFUSED."""
    client = RecordingHalfOpen()
    Refuse.model_validate({}).answer(client)
    assert client.answers == [("refuse",)]
    assert Refuse.model_validate({}).client_sees == "ECONNREFUSED"
    with pytest.raises(ValidationError):
        Refuse.model_validate({"after": "1s"})
