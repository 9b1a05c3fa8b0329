import pytest

from faultproxy.faults.base import Direction
from faultproxy.faults.blackhole import Blackhole
from tests.faults.recording import seen_by_client, steps_of

UP, DOWN = Direction.UPSTREAM, Direction.DOWNSTREAM


@pytest.mark.parametrize(("direction", "ways"), [("upstream", [UP]), ("downstream", [DOWN]), ("both", [DOWN, UP])])
async def test_which_bytes_it_throws_away(direction: str, ways: list[Direction]) -> None:
    """Those of the direction that is named, from when it is reported on; only both leave nothing to be carried."""
    fault = Blackhole.model_validate({"direction": direction})
    assert await steps_of(fault) == [*(("discard", way) for way in ways), ("report", None)]
    assert fault.discards == set(ways)
    assert fault.silences is (direction == "both")
    assert seen_by_client(fault) == ("silence", "silence")


def test_both_is_the_default() -> None:
    """Nothing arrives anywhere."""
    assert Blackhole().discards == {UP, DOWN}
