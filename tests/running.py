"""A real faultproxy in a process of its own, its log, and stages of many proxies to play scenes on."""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Self

import yaml

from tests.commands import PACKAGE
from tests.peers import PATIENCE_S, Address, Upstream, connect

Line = dict[str, Any]
Settings = Mapping[str, Any]

_LIBC = ctypes.CDLL(None)
_PR_CAPBSET_DROP, _CAP_NET_ADMIN, _CAP_NET_RAW = 24, 12, 13


class Faultproxy:
    """``faultproxy run FILE``, from its start to its end; at the end nothing must have crashed or been complained of.

    The file is written from a mapping, or from text as it is. ``level`` is how much it logs, whatever the file
    says; ``may_complain`` allows for words on stderr; without ``privileges`` it can neither see SYNs nor
    filter sockets, even as root. ``raw_sockets`` takes those alone away.
    """

    def __init__(
        self,
        folder: Path,
        config: Settings | str,
        *options: str,
        max_fds: int | None = None,
        environment: Mapping[str, str] | None = None,
        reads_log: bool = True,
        may_complain: bool = False,
        level: str | None = "debug",
        privileges: bool = True,
        raw_sockets: bool = True,
    ) -> None:
        self.file = folder / "faultproxy.yaml"
        self.log: list[Line] = []
        self.errors = ""
        self._options = options if level is None else (*options, "--log-level", level)
        self._max_fds = max_fds
        self._environment = environment or {}
        self._reads_log = reads_log
        self._may_complain = may_complain
        self._withheld = [] if privileges else [_CAP_NET_ADMIN, _CAP_NET_RAW]
        self._withheld += [] if raw_sockets else [_CAP_NET_RAW]
        self._news = threading.Condition()
        self._readers: list[threading.Thread] = []
        self.write(config)

    def __enter__(self) -> Self:
        path = os.pathsep.join([*filter(None, [self._environment.get("PYTHONPATH")]), str(PACKAGE)])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "faultproxy", "run", str(self.file), *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **self._environment, "PYTHONPATH": path},
            preexec_fn=self._limit,  # noqa: PLW1509  # no threads hold locks yet
        )
        if self._reads_log:
            self.read_log()
        self._start(self._read_errors)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(0.5)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        if kind is None:
            crashes = self.seen("connection.crashed")
            assert not crashes, crashes[0]["traceback"]
            assert self._may_complain or not self.errors, self.errors

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def write(self, config: Settings | str) -> None:
        """Write the file in place."""
        self.file.write_text(text_of(config))

    def edit(self, config: Settings | str) -> Line:
        """Write the file in place, and have it read at once; what became of that. Something must have changed."""
        before = self.verdicts()
        self.write(config)
        self.signal(signal.SIGHUP)
        return self.next_verdict(before)

    def verdicts(self) -> int:
        """How often the log has reported of an edit so far."""
        with self._news:
            return sum(map(_is_verdict, self.log))

    def next_verdict(self, before: int) -> Line:
        """The line that tells what became of the edit that followed ``before`` others."""
        return self._wait(_is_verdict, before + 1, "an edit in the log")

    def address(self, proxy: str) -> Address:
        """Where a proxy really listens, for a client on this host."""
        host, _, port = self.wait_for("proxy.started", proxy=proxy)["listen"].rpartition(":")
        return host.strip("[]") or "127.0.0.1", int(port)

    def wait_for(self, event: str, nth: int = 1, **fields: Any) -> Line:
        """The first line, or the ``nth``, of this event with these fields; fails with the log if none comes."""
        return self._wait(
            lambda line: line["event"] == event and fields.items() <= line.items(), nth, f"{event} {fields or ''}"
        )

    def seen(self, event: str, **fields: Any) -> list[Line]:
        """The lines of this event with these fields, so far."""
        with self._news:
            return [line for line in self.log if line["event"] == event and fields.items() <= line.items()]

    def signal(self, number: signal.Signals) -> None:
        """Send it."""
        self.process.send_signal(number)

    def exit_code(self) -> int:
        """How it ended, once it has."""
        return self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.exit_code()

    def resident_bytes(self) -> int:
        """The memory that the process occupies (proc(5), statm)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def read_log(self) -> None:
        """Read the log from now on."""
        self._start(self._read_log)

    def _limit(self) -> None:
        for number in (signal.SIGHUP, signal.SIGINT):  # nohup, and shells in the background, have them ignored
            signal.signal(number, signal.SIG_DFL)
        if self._max_fds is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._max_fds, self._max_fds))
        for capability in self._withheld:
            _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for who is not root, and has none

    def _start(self, read: Any) -> None:
        self._readers.append(threading.Thread(target=read))
        self._readers[-1].start()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = json.loads(text)
            with self._news:
                self.log.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read().decode()

    def _wait(self, is_it: Any, nth: int, what: str) -> Line:
        deadline = monotonic() + PATIENCE_S
        with self._news:
            looked_at, found = 0, 0
            while True:
                for line in self.log[looked_at:]:
                    found += is_it(line)
                    if found == nth:
                        return line
                looked_at = len(self.log)
                if not self._news.wait(0.1) and (monotonic() > deadline or self.process.poll() is not None):
                    reported = "\n".join(map(json.dumps, self.log[-200:]))
                    raise AssertionError(f"waited in vain for {what}; the log:\n{reported}\n{self.errors}")


def _is_verdict(line: Mapping[str, object]) -> bool:
    # What was loaded without a change was already noticed by itself before it was asked for.
    event, changes = line["event"], line.get("changes")
    return event == "config.rejected" or (event == "config.loaded" and changes != [])


@dataclass(frozen=True)
class Scene:
    """One proxy of a stage: its rules, its other settings, and how large its peers' receive buffers are.

    ``upstream`` is an address where the stage has nobody, or makes a listener other than the usual.
    """

    rules: Sequence[Settings] = ()
    settings: Settings = field(default_factory=dict)
    receive_buffer: int | None = None
    upstream: str | Callable[[], Upstream] | None = None


class Stage:
    """A running faultproxy with one proxy a scene, each with an upstream of its own that nobody else talks to."""

    def __init__(self, folder: Path, scenes: Mapping[str, Scene], *, privileges: bool = True) -> None:
        self.scenes = scenes
        self._stack = ExitStack()
        self.upstreams = {
            name: self._stack.enter_context(
                scene.upstream() if scene.upstream is not None else Upstream(receive_buffer=scene.receive_buffer)
            )
            for name, scene in scenes.items()
            if not isinstance(scene.upstream, str)
        }
        proxies = {name: self.settings(name) for name in scenes}
        self.proxy = self._stack.enter_context(Faultproxy(folder, {"proxies": proxies}, privileges=privileges))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def settings(self, name: str) -> Settings:
        """A proxy's mapping in the configuration."""
        scene = self.scenes[name]
        upstream = scene.upstream if isinstance(scene.upstream, str) else self.upstreams[name].address
        return {"listen": "127.0.0.1:0", "upstream": upstream, **scene.settings, "rules": list(scene.rules)}

    def connect(self, name: str) -> socket.socket:
        """A client of this proxy."""
        return connect(self.proxy.address(name), receive_buffer=self.scenes[name].receive_buffer)

    @contextmanager
    def ends(self, name: str) -> Iterator[tuple[socket.socket, socket.socket]]:
        """A client of this proxy, and the server's end of its connection."""
        with self.connect(name) as client, self.upstreams[name].accept() as server:
            yield client, server

    def injected(self, name: str, number: int = 1, **fields: Any) -> Line:
        """The fault that was injected into a connection of this proxy."""
        return self.proxy.wait_for("fault.injected", connection=f"{name}#{number}", **fields)

    def closed(self, name: str, number: int = 1) -> Line:
        """The end of a connection of this proxy."""
        return self.proxy.wait_for("connection.closed", connection=f"{name}#{number}")


def one(upstream: str, *rules: Settings, **settings: object) -> Settings:
    """The configuration of a single proxy, ``p``."""
    return {"proxies": {"p": {"listen": "127.0.0.1:0", "upstream": upstream, **settings, "rules": list(rules)}}}


def text_of(config: Settings | str) -> str:
    """A configuration as a file holds it."""
    return config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
