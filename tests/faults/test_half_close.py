import pytest

from faultproxy.faults.base import Direction
from faultproxy.faults.half_close import HalfClose
from tests.faults.recording import RecordingPeers, seen_by_client, steps_of


@pytest.mark.parametrize(
    ("direction", "sees"), [("downstream", ("EOF", "nothing")), ("upstream", ("nothing", "nothing"))]
)
async def test_which_direction_it_ends(direction: str, sees: tuple[str, str]) -> None:
    """The one that is named; the client sees EOF only if it is the one that it reads, and once."""
    fault = HalfClose.model_validate({"direction": direction})
    assert await steps_of(fault) == [("end", Direction(direction)), ("report", None)]
    assert seen_by_client(fault) == sees
    assert not fault.silences


async def test_what_has_been_ended_is_not_reported_again() -> None:
    """Nothing has happened then."""
    assert await steps_of(HalfClose(), RecordingPeers(is_ended=True)) == [("end", Direction.DOWNSTREAM)]


def test_downstream_is_the_default() -> None:
    """The client reads EOF."""
    assert HalfClose.model_validate({}).direction is Direction.DOWNSTREAM
