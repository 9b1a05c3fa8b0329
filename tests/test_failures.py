"""A command that the system refuses something says so in one sentence, and ends with exit code 1."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faultproxy.failures import CannotListen, sentence
from tests.commands import ENVIRONMENT

CONFIG = str(Path(__file__).parent.parent / "config" / "slow-network.yaml")
LOG = str(Path(__file__).parent.parent / "docs" / "reading-the-log.jsonl")
FULL = "cannot write the output: No space left on device (ENOSPC)\n"
NOBODY = 65534


def run(*command: str, out: str = os.devnull, limit: Callable[[], None] | None = None) -> tuple[int, str]:
    """The exit code of a command, and what it says on standard error."""
    with Path(out).open("wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "faultproxy", *command],
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            preexec_fn=limit,  # no threads hold locks yet
            text=True,
            check=False,
        )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command", [["check", CONFIG], ["schema"], ["explain", CONFIG], ["replay", LOG], ["--help"], ["demo"], ["doctor"]]
)
def test_a_full_disk(command: list[str]) -> None:
    """Also where much was written before it was full, and nothing is said of what is left in a buffer."""
    code, said = run(*command, out="/dev/full")
    assert (code, said.splitlines()[-1]) == (1, FULL.rstrip())
    assert said.count("cannot write") == 1


@pytest.mark.parametrize(
    ("redirect", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_a_log_that_cannot_be_written(tmp_path: Path, redirect: str, why: str) -> None:
    """It is said once on standard error; the proxy serves all the same, and ends well."""
    file = tmp_path / "f.yaml"
    file.write_text(
        "proxies: {p: {listen: '127.0.0.1:0', upstream: 'a:1'}, q: {listen: '127.0.0.1:0', upstream: 'a:1'}}"
    )
    command = f'exec "$0" -P -m faultproxy run {file} {redirect}'
    with subprocess.Popen(
        ["sh", "-c", command, sys.executable], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.terminate()
        assert process.stderr.read() == ""
    assert said.startswith(f"cannot write the log: {why} (")
    assert process.returncode == 0


@pytest.mark.parametrize("command", [["run", CONFIG], ["demo"], ["doctor"]])
def test_few_descriptors(command: list[str]) -> None:
    """What needs more than a process may have open names the limit, and how to raise it."""
    code, said = run(*command, limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)))
    assert (code, said) == (1, "too many open files (EMFILE): raise the limit of 8 with ulimit -n\n")


@pytest.mark.parametrize("command", [["check", CONFIG], ["schema"], ["explain", CONFIG]])
def test_what_needs_few_descriptors(command: list[str]) -> None:
    """Eight are enough to validate, describe and explain."""
    assert run(*command, limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))) == (0, "")


@pytest.mark.parametrize("command", [["run", CONFIG], ["demo"], ["doctor"]])
def test_no_more_processes(command: list[str]) -> None:
    """Where no thread can be started. Root is not limited, so the program becomes somebody else once it is imported."""
    program = f"""
import encodings.idna, importlib.resources, os, resource
import faultproxy.cli.run, faultproxy.cli.trials
from faultproxy.cli import main
importlib.resources.files("faultproxy").joinpath("demo.yaml").is_file()  # loads what nobody else may read
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
if os.geteuid() == 0:
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
main({command})
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    refused = "cannot start a thread: raise the limit of 1 processes with ulimit -u\n"
    assert (done.stdout, done.stderr, done.returncode) == ("", refused, 1)


def test_of_a_group_the_first_is_said() -> None:
    """If all in it are of the kind; a bug among them is a bug."""
    scarce, refused = OSError(errno.ENOMEM, "no memory"), CannotListen("proxies.p.listen: no", may_pass=True)
    assert sentence(ExceptionGroup("", [ExceptionGroup("", [refused]), scarce])) == "proxies.p.listen: no"
    assert sentence(ExceptionGroup("", [refused, ValueError("bug")])) is None
    assert sentence(MemoryError()) == sentence(scarce) == "not enough memory (ENOMEM)"


@pytest.mark.parametrize("bug", [ValueError("bug"), OSError("bug"), OSError(errno.EINVAL, "bug"), RuntimeError("bug")])
def test_a_bug_is_a_bug(bug: Exception) -> None:
    """It keeps its traceback."""
    assert sentence(bug) is None
