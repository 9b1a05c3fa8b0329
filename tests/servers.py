"""Real servers for tests: those that are installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.peers import PATIENCE_S, nobody

DEBIAN = [*sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True), os.environ.get("PATH", "")]


def program(name: str) -> str:
    """Where a program is; without it there is nothing to test."""
    path = shutil.which(name, path=os.pathsep.join(DEBIAN))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def output(*command: str, stdin: bytes = b"", **options: Any) -> bytes:
    """What a client prints; it must not complain."""
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        command, input=stdin, capture_output=True, check=False, timeout=60, **options
    )
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


@contextmanager
def running(command: Sequence[str], is_ready: Sequence[str], **options: Any) -> Iterator[None]:
    """A server, from when its own client says that it is ready."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet, **options) as process:
        try:
            for _ in range(int(PATIENCE_S / 0.1)):
                if subprocess.run(is_ready, **quiet, check=False).returncode == 0:
                    break
                Event().wait(0.1)
            else:
                pytest.fail(f"{command[0]} did not become ready")
            yield
        finally:
            process.terminate()


def unused_port() -> str:
    """A port that nobody listens on."""
    with nobody() as address:
        return address.rpartition(":")[2]


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """The port of a Redis that keeps nothing."""
    server, cli, port = program("redis-server"), program("redis-cli"), unused_port()
    with running([server, "--port", port, "--save", "", "--dir", str(folder)], [cli, "-e", "-p", port, "ping"]):
        yield port


@contextmanager
def postgresql() -> Iterator[str]:
    """The port of a PostgreSQL that trusts ``me`` with the database ``postgres``."""
    initdb, postgres, psql, port = program("initdb"), program("postgres"), program("psql"), unused_port()
    user: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="faultproxy-"))
    try:
        if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
            account = pwd.getpwnam("nobody")
            os.chown(folder, account.pw_uid, account.pw_gid)
            user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        data = str(folder / "data")
        output(initdb, "-D", data, "-U", "me", "-A", "trust", "--no-sync", cwd=folder, **user)
        server = [postgres, "-D", data, "-p", port, "-k", str(folder), "-h", "127.0.0.1", "-F"]
        direct = [psql, "-h", "127.0.0.1", "-U", "me", "-d", "postgres", "-p", port, "-c", "select 1"]
        with running(server, direct, cwd=folder, **user):
            yield port
    finally:
        shutil.rmtree(folder)
