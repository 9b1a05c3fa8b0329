"""The languages: how each one's client is built and run, and the words in which it says each errno."""

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self

from tests.peers import PATIENCE_S

SOURCES = Path(__file__).parent / "clients"
ERRNOS = ("ECONNREFUSED", "ECONNRESET", "EPIPE", "ECONNABORTED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH")
SILENCE = "silence"
"""What a client that gave up by its own timeout saw."""


@dataclass(frozen=True)
class Language:
    """A language.

    ``words`` are all that its client may say for each errno, whichever call failed; ``build`` and ``run`` are commands,
    with ``{source}`` for the client's source and ``{built}`` for a folder that the build may fill; ``needs`` are programs they call.
    """

    name: str
    source: str
    version: Sequence[str]
    words: Mapping[str, Sequence[str]]
    run: Sequence[str]
    build: Sequence[str] = ()
    needs: Sequence[str] = ()

    @cached_property
    def missing(self) -> str | None:
        """The program that it needs and this machine lacks, or cannot run, as a rustc of rustup's without a toolchain."""
        programs = [command[0] for command in (self.build, self.run, self.version) if command] + [*self.needs]
        lacking = next((one for one in programs if "{" not in one and shutil.which(one) is None), None)
        if lacking is None and subprocess.run(self.version, check=False, capture_output=True).returncode:
            return f"{self.version[0]} that works"
        return lacking

    def errno_of(self, said: str) -> str:
        """The errno that was meant; what was said, where nothing known was."""
        return next((name for name, words in self.words.items() if said in words), said)

    def first_line_of_version(self) -> str:
        """What the compiler or the interpreter calls itself."""
        done = subprocess.run(self.version, capture_output=True, text=True, check=True)
        return next(line for line in (done.stdout + done.stderr).splitlines() if line)


class Client:
    """A running client: exchanges in, what it said out. It is built first, into ``folder``."""

    def __init__(self, language: Language, folder: Path) -> None:
        self.language = language
        source = SOURCES / language.source
        if language.build:
            subprocess.run(_filled(language.build, source, folder), check=True, timeout=6 * PATIENCE_S)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
        self._process = subprocess.Popen(
            _filled(language.run, source, folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "LC_ALL": "C"},
        )
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def exchange(self, host: str, port: int, request: str, steps: str) -> dict[str, str]:
        """Take the steps in a new connection; what the client said, key by key."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{host} {port} {request} {steps}\n")
        self._process.stdin.flush()
        try:
            line = self._lines.get(timeout=PATIENCE_S)
        except Empty:
            self._process.kill()  # or every exchange after this one would wait as well
            raise AssertionError(f"{self.language.name}: no answer in {PATIENCE_S} s to {request} {steps}") from None
        assert line, f"{self.language.name}: the client ended at {request} {steps}"
        return dict(field.split("=", 1) for field in line.rstrip("\n\t").split("\t"))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")


def _filled(command: Sequence[str], source: Path, folder: Path) -> list[str]:
    return [part.format(source=source, built=folder) for part in command]


def _strerror(name: str) -> str:
    return os.strerror(getattr(errno, name))


def _python(name: str) -> list[str]:
    number = getattr(errno, name)
    return [f"{type(OSError(number, '')).__name__}: [Errno {number}] {_strerror(name)}"]


def _rust(kind: str, name: str) -> list[str]:
    return [f"{kind}: {_strerror(name)} (os error {getattr(errno, name)})"]


def _c(name: str) -> list[str]:
    return [f"{name}: {_strerror(name)}"]


_C_WORDS = {name: _c(name) for name in ERRNOS} | {SILENCE: [*_c("EINPROGRESS"), *_c("EAGAIN")]}

PYTHON = Language(
    "Python",
    "client.py",
    run=[sys.executable, "{source}"],
    version=[sys.executable, "--version"],
    words={name: _python(name) for name in ERRNOS} | {SILENCE: ["TimeoutError: timed out"]},
)

C = Language(
    "C",
    "client.c",
    build=["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", "{built}/client", "{source}"],
    run=["{built}/client"],
    version=["gcc", "--version"],
    words=_C_WORDS,
)

NODE = Language(
    "Node",
    "client.js",
    run=["node", "{source}"],
    version=["node", "--version"],
    words={name: [f"Error: {call} {name}" for call in ("connect", "read", "write")] for name in ERRNOS}
    | {SILENCE: ["timeout"]},
)

JAVA = Language(
    "Java",
    "Client.java",
    build=["javac", "-d", "{built}", "{source}"],
    run=["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp", "{built}", "Client"],
    version=["java", "-version"],
    words={
        "ECONNREFUSED": ["java.net.ConnectException: Connection refused"],
        "ECONNRESET": [
            "java.net.SocketException: Connection reset",
            "java.net.SocketException: Connection reset by peer",
        ],
        "EPIPE": ["java.net.SocketException: Broken pipe"],
        "ECONNABORTED": ["java.net.SocketException: Software caused connection abort"],
        "ETIMEDOUT": [
            "java.net.ConnectException: Connection timed out",
            "java.net.SocketException: Connection timed out",
        ],
        "EHOSTUNREACH": ["java.net.NoRouteToHostException: No route to host"],
        "ENETUNREACH": ["java.net.SocketException: Network is unreachable"],
        SILENCE: [
            "java.net.SocketTimeoutException: Connect timed out",
            "java.net.SocketTimeoutException: Read timed out",
        ],
    },
)

RUST = Language(
    "Rust",
    "client.rs",
    build=["rustc", "--edition", "2021", "-D", "warnings", "-o", "{built}/client", "{source}"],
    run=["{built}/client"],
    needs=["cc"],  # its linker
    version=["rustc", "--version"],
    words={
        "ECONNREFUSED": _rust("ConnectionRefused", "ECONNREFUSED"),
        "ECONNRESET": _rust("ConnectionReset", "ECONNRESET"),
        "EPIPE": _rust("BrokenPipe", "EPIPE"),
        "ECONNABORTED": _rust("ConnectionAborted", "ECONNABORTED"),
        "ETIMEDOUT": _rust("TimedOut", "ETIMEDOUT"),
        "EHOSTUNREACH": _rust("HostUnreachable", "EHOSTUNREACH"),
        "ENETUNREACH": _rust("NetworkUnreachable", "ENETUNREACH"),
        SILENCE: ["TimedOut: connection timed out", *_rust("WouldBlock", "EAGAIN")],
    },
)

PERL = Language(
    "Perl",
    "client.pl",
    run=["perl", "{source}"],
    version=["perl", "-e", "print qq(perl $^V\\n)"],
    words=_C_WORDS,
)

LANGUAGES = (PYTHON, C, NODE, JAVA, RUST, PERL)
