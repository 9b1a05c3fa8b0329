from faultproxy.faults.close import Close
from tests.faults.links import Remembered


async def test_it_closes() -> None:
    """FIN both ways; a client that has read EOF sees nothing more."""
    link, fault = Remembered(), Close.model_validate({})
    await fault.strike(link)
    assert link.verbs == [("close",)]
    assert fault.client_sees(link) == "EOF"
    assert fault.client_sees(Remembered(client_has_eof=True)) == "nothing"
