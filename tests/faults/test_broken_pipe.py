import pytest

from faultproxy.faults.base import Side
from faultproxy.faults.broken_pipe import BrokenPipe
from tests.faults.recording import RecordingPeers, Step, seen_by_client, steps_of


@pytest.mark.parametrize(
    ("after", "waits"),
    [
        ("0B", ("settle",)),
        ("1s", ("settle",)),
        ("4B", ("flush", Side.CLIENT)),
        ({"match": "x"}, ("flush", Side.CLIENT)),
    ],
)
async def test_fin_then_reset(after: object, waits: Step) -> None:
    """The client is sent RST right behind FIN: once it has the bytes that were waited for, else after a moment."""
    assert await steps_of(BrokenPipe.model_validate({"after": after})) == [
        ("stop",),
        waits,
        ("fin", Side.CLIENT),
        ("fin_sent", Side.CLIENT),
        ("rst", Side.CLIENT),
        ("report", None),
    ]


async def test_what_was_not_delivered_is_reported() -> None:
    """It is then less than exact."""
    steps = await steps_of(BrokenPipe.model_validate({"after": "4B"}), RecordingPeers(undelivered="2 bytes were not"))
    assert steps[-1] == ("report", "2 bytes were not")


def test_what_the_client_sees() -> None:
    """EPIPE, whatever it was sent before; the server need not be there."""
    assert seen_by_client(BrokenPipe()) == ("EPIPE", "EPIPE")
    assert not BrokenPipe().touches_server
