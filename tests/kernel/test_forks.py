"""Callbacks run after forks, in both processes, for as long as their owner lives."""

import subprocess
import sys

SCRIPT = """
import gc, os
from faultproxy.kernel.forks import on_fork

class Owner:
    def __init__(self, name):
        self.name = name
        on_fork(self, lambda it: print(it.name, "before", flush=True), lambda it: print(it.name, "child", flush=True))

one, other = Owner("one"), Owner("other")
del other
gc.collect()
if not os.fork():
    os._exit(0)
os.wait()
"""


def test_callbacks_run_in_both_processes() -> None:
    """An owner is called before the fork, and in the child; one that is gone is not."""
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert (run.stdout.split("\n"), run.stderr) == (["one before", "one child", ""], "")
