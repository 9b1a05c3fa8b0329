from faultproxy.faults.broken_pipe import BrokenPipe
from tests.faults.links import Remembered


async def test_it_breaks_the_pipe() -> None:
    """FIN and RST to the client, whatever it was sent before; the server need not be there."""
    link, fault = Remembered(), BrokenPipe.model_validate({})
    await fault.strike(link)
    assert link.verbs == [("break_pipe",)]
    assert not fault.touches_server
    assert {fault.client_sees(Remembered(client_has_eof=has)) for has in (False, True)} == {"EPIPE"}
