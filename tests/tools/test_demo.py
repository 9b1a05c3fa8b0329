"""The demo, as a user runs it."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

import faultproxy
from faultproxy.cli import main
from faultproxy.faults import CATALOGUE
from faultproxy.tools import demo

ROWS = 24
PACKAGE = Path(faultproxy.__file__).parent.parent


def run(folder: Path, columns: int | None) -> str:
    folder.chmod(0o500)
    variables = {"HOME": str(folder), "PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "faultproxy", "demo"],
        check=False,
        cwd=folder,
        env=variables | ({"COLUMNS": str(columns)} if columns else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


@pytest.mark.parametrize("columns", [None, 80, 120])
def test_every_row_is_right(tmp_path: Path, columns: int | None) -> None:
    """In a folder it cannot write to, into a pipe: every fault is in the table with what was caught, and every row is ok."""
    table = run(tmp_path, columns)
    for caught in ("ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError", "EOF after 1,000 bytes"):
        assert caught in table
    for number in ("ECONNREFUSED 111", "ECONNRESET 104", "EPIPE 32"):
        assert number in table
    for kind in CATALOGUE:
        assert f"{kind.key}:" in table
    assert len(re.findall(r" ok *$", table, re.MULTILINE)) == ROWS
    assert f"All {ROWS} rows are as config/demo.yaml says." in table
    assert max(map(len, table.splitlines())) <= (columns or 110)


@pytest.mark.parametrize(
    ("right", "wrong", "reported"),
    [
        ("expect: {min: 3, max: 3}", "expect: {min: 4}", 'retry: "cold start" injected 3 faults, expected at least 4'),
        ("expect: {min: 1, max: 1}", "expect: {max: 0}", 'pass: "all others" injected 1 fault, expected at most 0'),
        ("half_close: {after: 1kB}", "close: {after: 1kB}", "half: what the client wrote after the EOF never arrived"),
    ],
)
def test_a_row_that_is_not_as_the_file_says_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str, reported: str
) -> None:
    """A sabotaged file: the row is marked and says why, the others are ok, and the exit code is 1."""
    text = demo.demo_file().read_text()
    assert right in text
    sabotaged = tmp_path / "demo.yaml"
    sabotaged.write_text(text.replace(right, wrong))
    monkeypatch.setattr(demo, "demo_file", lambda: sabotaged)
    result = CliRunner().invoke(main, ["demo"], env={"COLUMNS": "250"})
    assert result.exit_code == 1
    assert result.output.count("WRONG") == 1
    assert reported in result.output
    assert f"1 of {ROWS} rows is not as config/demo.yaml says." in result.output


def test_a_client_that_sees_something_else_than_the_log_says_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is what the client caught: one that has seen nothing makes its row wrong."""

    def shrug(client: demo.DemoClient) -> None:
        client.connect()
        with suppress(OSError):
            client.receive()

    monkeypatch.setattr(demo, "CLIENTS", {**demo.CLIENTS, "reset": demo.once(shrug)})
    result = CliRunner().invoke(main, ["demo"], env={"COLUMNS": "250"})
    assert result.exit_code == 1
    assert result.output.count("WRONG") == 1
    assert "reset#1: the log says ECONNRESET, the client saw nothing" in result.output
