"""The demo and the doctor as commands; what they show is tested with tools."""

import signal
from collections.abc import Awaitable, Callable

import pytest
import trio
from rich.console import Console

from tests.commands import Run

Play = Callable[[Console], Awaitable[bool]]


@pytest.mark.parametrize(("command", "played"), [("demo", "run_demo"), ("doctor", "run_doctor")])
def test_what_went_wrong_is_an_exit_code(ran: Run, monkeypatch: pytest.MonkeyPatch, command: str, played: str) -> None:
    """0 if every fault was as it should be, 1 if not, or if it was interrupted, which is said."""

    async def is_right(_: Console) -> bool:
        return True

    async def is_wrong(_: Console) -> bool:
        return False

    async def is_interrupted(_: Console) -> bool:
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()
        return True

    def ran_with(play: Play) -> tuple[int, str, str]:
        monkeypatch.setattr(f"faultproxy.cli.trials.{played}", play)
        return ran(command)

    assert ran_with(is_right) == (0, "", "")
    assert ran_with(is_wrong) == (1, "", "")
    assert ran_with(is_interrupted) == (1, "", "Aborted!\n")
