import pytest

from faultproxy.faults.abort import Abort
from tests.faults.links import Remembered


async def test_it_aborts() -> None:
    """ECONNABORTED, whatever the client has read before; the server need not be there."""
    fault, link = Abort(), Remembered()
    await fault.strike(link)
    assert link.verbs == [("abort",)]
    assert not fault.touches_server
    assert {fault.client_sees(Remembered(client_has_eof=has)) for has in (False, True)} == {"ECONNABORTED"}


@pytest.mark.parametrize(("has_eof", "sees"), [(False, "ECONNRESET"), (True, "EPIPE")])
def test_where_it_cannot_it_is_a_reset(has_eof: bool, sees: str) -> None:
    """The log says what the client sees then."""
    assert Abort().client_sees_instead(Remembered(client_has_eof=has_eof)) == sees
