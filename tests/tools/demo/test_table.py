"""The demo, as a user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from faultproxy.faults import CATALOGUE
from faultproxy.faults.noop import Noop
from tests.commands import PACKAGE

ROWS = 25


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
        assert f"{kind.key}:" in table or kind is Noop  # of which nothing is seen
    assert len(re.findall(r" ok *$", table, re.MULTILINE)) == ROWS
    assert f"All {ROWS} rows are as config/demo.yaml says." in table
    assert max(map(len, table.splitlines())) <= (columns or 110)
