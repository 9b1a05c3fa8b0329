import pytest
from pydantic import ValidationError

from faultproxy.faults.base import Need, Side, options
from faultproxy.faults.hang import Hang
from tests.faults.recording import RecordingPeers, seen_by_client, steps_of


def hang(**options: object) -> Hang:
    return Hang.model_validate(options)


@pytest.mark.parametrize(("written", "for_s"), [({}, None), ({"for": "2s"}, 2.0), ({"for": "0s"}, 0.0)])
async def test_it_freezes(written: dict[str, object], for_s: float | None) -> None:
    """For ever unless ``for`` says how long; the client sees silence. It needs nothing."""
    fault = hang(**written)
    assert await steps_of(fault) == [("freeze", for_s), ("report", None)]
    assert seen_by_client(fault) == ("silence", "silence")
    assert fault.needs is Need.NOTHING
    assert fault.silences is (for_s is None)
    assert Hang.model_validate(options(fault)) == fault


@pytest.mark.parametrize(("written", "for_s"), [({}, None), ({"for": "2s"}, 2.0)])
async def test_without_acknowledgements_it_is_a_partition(written: dict[str, object], for_s: float | None) -> None:
    """For as long as it says. It needs a filter."""
    fault = hang(acks=False, **written)
    assert await steps_of(fault) == [("freeze", for_s), ("freeze", for_s), ("partition",), ("report", None)]
    assert seen_by_client(fault) == ("silence", "silence")
    assert fault.needs is Need.FILTER
    assert Hang.model_validate(options(fault)) == fault


async def test_a_partition_behind_the_data() -> None:
    """Where bytes have triggered it, it begins, and its time too, once the client has them, or another fault is due."""
    fault = hang(acks=False, after="4B", **{"for": "2s"})
    assert await steps_of(fault, RecordingPeers(undelivered="another fault was due"), until=7.5) == [
        ("freeze", 2.0),
        ("flush", Side.CLIENT, 7.5),
        ("freeze", 2.0),
        ("partition",),
        ("report", "another fault was due"),
    ]


async def test_a_connection_that_ends_before_the_partition() -> None:
    """There is nothing to part, and nothing to report."""
    peers = RecordingPeers(on_flush=RecordingPeers.stop)
    assert await steps_of(hang(acks=False, after="4B"), peers) == [
        ("freeze", None),
        ("flush", Side.CLIENT),
        ("stop",),
    ]


async def test_where_a_partition_is_not_possible() -> None:
    """It is a hang, and the reason is reported."""
    steps = await steps_of(hang(acks=False), RecordingPeers(no_partition="no filter is allowed"))
    assert steps[-1] == ("report", "what is sent is acknowledged: no filter is allowed")


def test_what_is_not_a_hang() -> None:
    """A duration is due, and no other key."""
    for written in ({"for": 2}, {"for_": "2s"}, {"forever": True}, {"acks": "no"}, {"acks": 0}):
        with pytest.raises(ValidationError):
            Hang.model_validate(written)
