import pytest
from pydantic import ValidationError

from faultproxy.faults.base import options
from faultproxy.faults.hang import Hang
from tests.faults.links import Remembered


@pytest.mark.parametrize(("written", "for_s"), [({}, None), ({"for": "2s"}, 2.0), ({"for": "0s"}, 0.0)])
async def test_it_freezes_the_link(written: dict[str, object], for_s: float | None) -> None:
    """For ever unless ``for`` says how long; the client sees silence."""
    link, fault = Remembered(), Hang.model_validate(written)
    await fault.strike(link)
    assert link.verbs == [("freeze", for_s)]
    assert fault.client_sees(link) == "silence"
    assert Hang.model_validate(options(fault)) == fault


async def test_without_acknowledgements_it_isolates_the_link() -> None:
    """A partition, for as long as it says."""
    for written, for_s in (({"acks": False}, None), ({"acks": False, "for": "2s"}, 2.0)):
        link, fault = Remembered(), Hang.model_validate(written)
        await fault.strike(link)
        assert link.verbs == [("isolate", for_s)]
        assert fault.client_sees(link) == "silence"
        assert Hang.model_validate(options(fault)) == fault


def test_what_is_not_a_hang() -> None:
    """A duration is due, and no other key."""
    for written in ({"for": 2}, {"for_": "2s"}, {"forever": True}, {"acks": "no"}, {"acks": 0}):
        with pytest.raises(ValidationError):
            Hang.model_validate(written)
