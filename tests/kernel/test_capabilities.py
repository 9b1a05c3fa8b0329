import os
import subprocess
import sys
from pathlib import Path

import pytest

import faultproxy
from faultproxy.kernel import capabilities
from tests.servers import program


def sets() -> dict[str, str]:
    """The capability sets of this process (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return dict(line.split(":\t") for line in lines if line.startswith("Cap"))


def test_what_is_permitted_is_effective_and_nothing_else_changes() -> None:
    """Whatever this process has, and though it be nothing."""
    before = sets()
    capabilities.use_permitted()
    assert sets() == {**before, "CapEff": before["CapPrm"]}


def test_privileges_are_what_the_process_has() -> None:
    """As the bits of /proc/self/status say, 12 for NET_ADMIN and 13 for NET_RAW."""
    ours, reported = capabilities.privileges(), sets()
    for name, bit in ((capabilities.NET_ADMIN, 12), (capabilities.NET_RAW, 13)):
        assert (name in ours.effective) == bool(int(reported["CapEff"], 16) & 1 << bit)


def test_privileges_that_cannot_be_gained() -> None:
    """no-new-privileges is seen, and so is an empty set."""
    command = [
        program("setpriv"),
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
        sys.executable,
        "-c",
        _PRINT,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"privileges cannot be given up here: {done.stderr}")
    assert done.stdout.split() == ["0", "False"]


_PRINT = (
    "from faultproxy.kernel.capabilities import privileges; ours = privileges();"
    "print(len(ours.effective), ours.may_gain)"
)


def test_they_are_lent_to_programs() -> None:
    """What this process is permitted, an ordinary user's programs have too; without any there is nothing to lend."""
    if os.geteuid() or capabilities.NET_ADMIN not in capabilities.privileges().effective:
        pytest.skip("takes root's privileges, to give them up")
    code = """
import ctypes, os, subprocess, sys
from faultproxy.kernel import capabilities
ctypes.CDLL(None).prctl(8, 1)  # PR_SET_KEEPCAPS
os.setuid(65534)
if sys.argv[1] == "lend":
    capabilities.lend()
print(int(subprocess.run(["grep", "CapEff", "/proc/self/status"], capture_output=True).stdout.split()[1], 16) >> 12 & 3)
"""
    command = [sys.executable, "-P", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(Path(faultproxy.__file__).parent.parent)}
    for word, lent in (("keep", b"0\n"), ("lend", b"3\n")):
        done = subprocess.run([*command, word], env=environment, capture_output=True, check=False)
        assert (done.stdout, done.stderr) == (lent, b"")
