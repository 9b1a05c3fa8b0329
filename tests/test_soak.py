"""Random traffic, rules and edits for a while; scripts/soak goes on for longer."""

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent.parent / "scripts" / "soak"


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_wrong(seed: int) -> None:
    """What clients saw is what the log says, nobody waits, and nothing is left."""
    command = [sys.executable, str(SOAK), "--minutes", "0.15", "--seed", str(seed), "--python", sys.executable]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all is well\n")
