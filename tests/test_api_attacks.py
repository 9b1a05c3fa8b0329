"""Thousands of malformed requests at the API; scripts/soak-api sends 100,000."""

import subprocess
import sys
from pathlib import Path


def test_nothing_is_wrong() -> None:
    """It stays up, no bug shows, whoever asks properly is answered, and nothing is left behind."""
    command = [sys.executable, "-m", "tests.soak.api", "--requests", "4000", "--seed", "1"]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all is well\n")
