"""Commands in processes and in this one: where they are, what one did, and files for them."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import faultproxy

PACKAGE = Path(faultproxy.__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PACKAGE)}
"""For a process that is to import what is tested."""

GOOD = "proxies:\n  p: {listen: ':0', upstream: 'a:1', rules: [{name: r, refuse: }]}\n"
TWO = "proxies:\n  p: {listen: ':0', upstream: 'a:1'}\n  q: {listen: ':0', upstream: 'a:1'}\n"
BAD = "proxies:\n  p: {listen: 'x', upstream: 'a:1'}\nsede: 3\n"
BAD_ERRORS = (
    '2:15: proxies.p.listen: "x" is not an address; write HOST:PORT, "[IPV6]:PORT", :PORT or unix:/path',
    '3:1: sede: "sede" is not a key here; write seed',
)


class Ran(NamedTuple):
    """What a command did."""

    code: int
    output: str
    errors: str


Run = Callable[..., Ran]
"""Runs a command in this process: the fixture ``ran``."""


def bad_lines(files: Path) -> str:
    return "".join(f"{files}/bad.yaml:{line}\n" for line in BAD_ERRORS)


def environment(folder: Path) -> dict[str, str]:
    """An environment whose faultproxy command is the one that is tested."""
    command = folder / "bin" / "faultproxy"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom faultproxy.cli import main\nmain()\n")
    command.chmod(0o755)
    return {**ENVIRONMENT, "PATH": f"{command.parent}:{os.environ['PATH']}"}
