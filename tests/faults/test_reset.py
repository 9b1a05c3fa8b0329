import pytest

from faultproxy.faults.base import Side
from faultproxy.faults.reset import Reset
from tests.faults.links import Remembered


@pytest.mark.parametrize(
    ("to", "sides", "sees", "sees_after_eof"),
    [
        ("both", (Side.CLIENT, Side.SERVER), "ECONNRESET", "EPIPE"),
        ("client", (Side.CLIENT,), "ECONNRESET", "EPIPE"),
        ("server", (Side.SERVER,), "EOF", "nothing"),
    ],
)
async def test_whom_it_resets(to: str, sides: tuple[Side, ...], sees: str, sees_after_eof: str) -> None:
    """The sides that ``to`` names; what the client sees depends on whether it has read EOF."""
    link, fault = Remembered(), Reset.model_validate({"to": to})
    await fault.strike(link)
    assert link.verbs == [("reset", *sides)]
    assert fault.client_sees(link) == sees
    assert fault.client_sees(Remembered(client_has_eof=True)) == sees_after_eof
    assert fault.touches_server is (to != "client")
