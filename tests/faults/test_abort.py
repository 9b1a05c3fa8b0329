import pytest

from faultproxy.faults.abort import Abort
from faultproxy.faults.base import Need, Side
from tests.faults.recording import RecordingPeers, seen_by_client, steps_of


async def test_the_clients_socket_is_destroyed() -> None:
    """Then ours is closed."""
    assert await steps_of(Abort()) == [("stop",), ("destroy_client",), ("report", None), ("rst", Side.CLIENT)]


async def test_behind_the_data() -> None:
    """Where bytes have triggered it, the client first has all of them; else that is reported."""
    steps = await steps_of(Abort.model_validate({"after": "4B"}), RecordingPeers(undelivered="2 bytes were not"))
    assert steps == [
        ("stop",),
        ("flush", Side.CLIENT),
        ("destroy_client",),
        ("report", "2 bytes were not"),
        ("rst", Side.CLIENT),
    ]


async def test_where_that_is_not_possible_the_client_is_reset() -> None:
    """The reason is reported."""
    steps = await steps_of(Abort(), RecordingPeers(no_destroy="another namespace"))
    assert steps[-2:] == [("report", "the connection is reset: another namespace"), ("rst", Side.CLIENT)]


def test_what_the_client_sees() -> None:
    """ECONNABORTED; EOF, if it was sent FIN before: a read does not fail then. The server need not be there."""
    assert seen_by_client(Abort()) == ("ECONNABORTED", "EOF")
    assert not Abort().touches_server
    assert Abort().needs is Need.DESTROY


@pytest.mark.parametrize(("has_eof", "sees"), [(False, "ECONNRESET"), (True, "EPIPE")])
def test_what_it_sees_where_that_is_not_possible(has_eof: bool, sees: str) -> None:
    """What a client sees that is reset."""
    assert Abort().client_sees_instead(RecordingPeers(client_has_eof=has_eof)) == sees
