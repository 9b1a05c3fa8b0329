import pytest

from faultproxy.faults.base import Direction
from faultproxy.faults.half_close import HalfClose
from tests.faults.links import Remembered


@pytest.mark.parametrize(("direction", "sees"), [("downstream", "EOF"), ("upstream", "nothing")])
async def test_which_direction_it_ends(direction: str, sees: str) -> None:
    """The one that is named; the client sees EOF only if it is the one that it reads, and once."""
    link, fault = Remembered(), HalfClose.model_validate({"direction": direction})
    await fault.strike(link)
    assert link.verbs == [("shut", Direction(direction))]
    assert fault.client_sees(link) == sees
    assert fault.client_sees(Remembered(client_has_eof=True)) == "nothing"


def test_downstream_is_the_default() -> None:
    """The client reads EOF."""
    assert HalfClose.model_validate({}).direction is Direction.DOWNSTREAM
