"""What counts is what the clients of the demo catch."""

from contextlib import suppress

import pytest
from click.testing import CliRunner

from faultproxy.cli import main
from faultproxy.tools.demo import clients


def test_a_client_that_sees_something_else_than_the_log_says_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is what the client caught: one that has seen nothing makes its row wrong."""

    def shrug(client: clients.DemoClient) -> None:
        client.connect()
        with suppress(OSError):
            client.receive()

    monkeypatch.setattr(clients, "CLIENTS", {**clients.CLIENTS, "reset": clients.once(shrug)})
    result = CliRunner().invoke(main, ["demo"], env={"COLUMNS": "250"})
    assert result.exit_code == 1
    assert result.output.count("WRONG") == 1
    assert "reset#1: the log says ECONNRESET, the client saw nothing" in result.output
