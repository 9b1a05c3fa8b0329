import pytest

from faultproxy.faults.base import Side
from faultproxy.faults.reset import Reset
from tests.faults.recording import RecordingPeers, seen_by_client, steps_of


def reset(**options: object) -> Reset:
    return Reset.model_validate(options)


@pytest.mark.parametrize(
    ("to", "sides", "sees"),
    [
        ("both", (Side.CLIENT, Side.SERVER), ("ECONNRESET", "EPIPE")),
        ("client", (Side.CLIENT,), ("ECONNRESET", "EPIPE")),
        ("server", (Side.SERVER,), ("EOF", "nothing")),
    ],
)
async def test_whom_it_resets(to: str, sides: tuple[Side, ...], sees: tuple[str, str]) -> None:
    """The sides that ``to`` names, once it is reported; what the client sees depends on whether it was sent FIN."""
    fault = reset(to=to)
    stop, *rest = await steps_of(fault)
    assert stop == ("stop",)
    assert [step for step in rest if step != ("settle",)] == [
        step for side in sides for step in (("report", None), ("rst", side))
    ]
    assert seen_by_client(fault) == sees
    assert fault.touches_server is (to != "client")


@pytest.mark.parametrize("after", ["4B", {"match": "x"}])
async def test_behind_the_data(after: object) -> None:
    """Where bytes have triggered it, each side is reset once it has all of them."""
    assert await steps_of(reset(after=after)) == [
        ("stop",),
        ("flush", Side.CLIENT),
        ("report", None),
        ("rst", Side.CLIENT),
        ("flush", Side.SERVER),
        ("report", None),
        ("rst", Side.SERVER),
    ]


async def test_on_time() -> None:
    """Where time has triggered it, nothing is waited for."""
    steps = await steps_of(reset(after="1s"))
    assert ("flush", Side.CLIENT) not in steps
    assert ("settle",) not in steps


@pytest.mark.parametrize(("to", "waits"), [("both", True), ("client", True), ("server", False)])
async def test_at_once(to: str, waits: bool) -> None:
    """A client's connect() that is still under way would fail; its process is given a moment to return from it."""
    assert (("settle",) in await steps_of(reset(to=to))) is waits


async def test_what_was_not_delivered_is_reported() -> None:
    """The reset is then less than exact."""
    peers = RecordingPeers(undelivered="7 bytes were not acknowledged", no_rst="a Unix socket")
    assert ("report", "7 bytes were not acknowledged") in await steps_of(reset(after="1kB"), peers)


@pytest.mark.parametrize(("to", "reason"), [("both", "a Unix socket"), ("server", "a Unix socket"), ("client", None)])
async def test_a_server_that_cannot_be_reset(to: str, reason: str | None) -> None:
    """That is reported, if it was to be."""
    steps = await steps_of(reset(to=to), RecordingPeers(no_rst="a Unix socket"))
    assert next(step for step in steps if step[0] == "report") == ("report", reason)
