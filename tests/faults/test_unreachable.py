import pytest
from pydantic import ValidationError

from faultproxy.faults.base import options
from faultproxy.faults.unreachable import Unreachable
from tests.faults.recording import RecordingHalfOpen


@pytest.mark.parametrize(("code", "sees"), [(None, "EHOSTUNREACH"), ("host", "EHOSTUNREACH"), ("net", "ENETUNREACH")])
def test_the_code_says_what_cannot_be_reached(code: str | None, sees: str) -> None:
    """The host unless the rule says the network; the errno follows it, and so does the answer."""
    fault = Unreachable.model_validate({"code": code} if code else {})
    client = RecordingHalfOpen()
    fault.answer(client)
    assert fault.connect_returns() == sees
    assert client.answers == [("unreachable", code or "host")]
    assert options(fault) == {"code": code or "host"}


def test_there_are_no_other_codes() -> None:
    """ICMP has more, but Linux clients see one of these."""
    with pytest.raises(ValidationError):
        Unreachable.model_validate({"code": "port"})
