import pytest

from faultproxy.faults.close import Close
from tests.faults.recording import seen_by_client, steps_of


@pytest.mark.parametrize("after", ["0B", "4B", "1s"])
async def test_it_stops(after: str) -> None:
    """What is open then is ended with FIN, after all data, so there is nothing to wait for."""
    assert await steps_of(Close.model_validate({"after": after})) == [("stop",), ("report", None)]


def test_what_the_client_sees() -> None:
    """EOF, once."""
    assert seen_by_client(Close()) == ("EOF", "nothing")
    assert Close().touches_server
