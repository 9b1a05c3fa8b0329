"""Random traffic, rules, edits and attacks for a minute; scripts/soak goes on for longer."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.alone
def test_nothing_is_wrong() -> None:
    """What clients saw is what the log says, nobody waits, nothing is left, and it ends well."""
    command = [sys.executable, "-m", "tests.soak", "--minutes", "1", "--seed", "1"]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all is well\n")
