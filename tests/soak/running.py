"""A faultproxy that runs among its upstreams, as the edits and attacks have it."""

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from tests.peers import PATIENCE_S, Address
from tests.soak import sitecustomize
from tests.soak.bystander import Bystander
from tests.soak.log import Log
from tests.soak.rules import Settings, config
from tests.soak.traffic import serving

DESCRIPTORS = 1024
_STRANGER = (
    "import socket, sys; open('/proc/self/comm', 'wb').write(b'\\x1b[2J\\xff'); "
    "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); sys.stdin.read()"
)

Usage = dict[str, int]


class Running:
    """It runs inside the block, and ``end()`` ends it. ``wrong`` is what must not be, as sentences.

    ``stop`` is set when everybody is to come to an end. ``taken`` is the address of a stranger with an unprintable name.
    """

    def __init__(self, python: Path) -> None:
        self.log = Log()
        self.wrong: list[str] = []
        self.stop = threading.Event()
        self._python = python

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.file = self.folder / "faultproxy.yaml"
            self.bystander = stack.enter_context(Bystander())
            self.upstreams = self._upstreams(stack)
            self.taken = stack.enter_context(_stranger())
            self.write(self.config(None))
            self.process = stack.enter_context(self._start())
            stack.callback(self.process.kill)
            self._reader = threading.Thread(target=self.log.follow, args=(self.process.stdout,))
            self._reader.start()
            stack.callback(self._reader.join)
            stack.callback(self.process.kill)
            started = self.wait_until(lambda: len(self.log.addresses) == len(self.config(None)["proxies"]))
            assert started, f"it does not start: {self._errors()}"
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def config(self, r: random.Random | None) -> Settings:
        """Random rules, or none."""
        return config(r, self.upstreams, self._itself)

    def address(self, proxy: str) -> Address:
        """Where it listens."""
        return self.log.addresses[proxy]

    def write(self, settings: Settings | str, *, in_place: bool = True) -> None:
        """Write the file anew, or put another in its place."""
        text = settings if isinstance(settings, str) else json.dumps(settings)
        if in_place:
            self.file.write_text(text)
        else:
            other = self.folder / "other"
            other.write_text(text)
            other.rename(self.file)

    def check(self, holds: bool, otherwise: str) -> None:
        """Note what is wrong, unless this holds."""
        if not holds:
            self.wrong.append(otherwise)

    def wait_until(self, holds: Callable[[], bool]) -> bool:
        """Whether it comes to hold."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > deadline or self.process.poll() is not None:
                return False
            time.sleep(0.05)
        return True

    def resident_kib(self) -> int:
        """The memory that it occupies (proc(5))."""
        return int(self._status()["VmRSS"].split()[0])

    def usage(self) -> Usage:
        """What it has of the system's, and how many objects of its own."""
        counts = self.folder / "counts"
        counts.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        assert self.wait_until(counts.exists), f"it does not answer SIGUSR2: {self._errors()}"
        return {
            "descriptors": len(os.listdir(f"/proc/{self.process.pid}/fd")),
            "threads": int(self._status()["Threads"]),
            "resident_kib": self.resident_kib(),
            **json.loads(counts.read_text()),
        }

    def end(self, *signals: signal.Signals) -> None:
        """Send these signals at once; it ends well, and its log too."""
        for number in signals:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self._reader.join()
        errors = self._errors()
        self.check(code == 0 and not errors, f"it ended with {code}: {errors}")
        self.check(self.log.counts["proxy.stopped"] > 0, "the log has no end")

    def _errors(self) -> str:
        """What it has complained of. Ends it, should it still run."""
        assert self.process.stderr is not None
        self.process.kill()
        return f"{self.process.stderr.read()[-3000:]}"

    def _status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {name: text for name, _, text in (line.partition(":") for line in lines)}

    def _start(self) -> "subprocess.Popen[str]":
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(sitecustomize.__file__).parent),
            "SOAK_COUNTS": str(self.folder / "counts"),
        }
        command = [str(self._python), "-P", "-m", "faultproxy", "run", str(self.file), "--log-level", "debug"]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=self.folder,
            text=True,
        )
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        return process

    def _upstreams(self, stack: ExitStack) -> dict[str, str]:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        stack.enter_context(serving(listener))
        plain = f"127.0.0.1:{listener.getsockname()[1]}"
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(self.folder / "unix"))
        unix.listen(128)
        stack.enter_context(serving(unix))
        full = stack.enter_context(socket.socket(socket.AF_UNIX))
        full.bind(str(self.folder / "full"))
        full.listen(0)
        dead = stack.enter_context(socket.socket())
        dead.bind(("127.0.0.1", 0))
        with socket.create_server(("127.0.0.1", 0)) as free:
            itself = free.getsockname()[1]
        self._itself = f"127.0.0.1:{itself}"
        return {
            **dict.fromkeys(("plain", "intercepting", "expressions", "held", "moves"), plain),
            "bystander": self.bystander.upstream,
            "named": plain.replace("127.0.0.1", "localhost"),
            "unix": f"unix:{self.folder}/unix",
            "full": f"unix:{self.folder}/full",
            "dead": f"127.0.0.1:{dead.getsockname()[1]}",
            "itself": f"itself.test:{itself}",
            **{f"hangs-{number}": f"{number}.hang.test:1" for number in (1, 2, 3)},
        }


@contextmanager
def _stranger() -> Iterator[str]:
    """The address that a process with an unprintable name has."""
    with subprocess.Popen([sys.executable, "-c", _STRANGER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()
