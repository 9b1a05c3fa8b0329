"""Real systems with their own clients and load tools, in small pieces and late: no error that was not injected."""

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
from tests.running import Faultproxy, one

RULES = [
    {"name": "in pieces", "slice": {"size": "300B", "jitter": "299B"}},
    {"name": "late", "latency": {"delay": "1ms", "jitter": "1ms"}},
]
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


@pytest.fixture
def port() -> str:
    """A port that nobody listens on."""
    with nobody() as address:
        return address.rpartition(":")[2]


def no_other_fault(proxy: Faultproxy) -> None:
    """The shapes acted, and nothing broke: every connection ended as its peers wanted it."""
    proxy.stop()
    assert {line["fault"] for line in proxy.seen("fault.injected")} == {"slice", "latency"}
    assert {line["ended_by"] for line in proxy.seen("connection.closed")} <= {"client", "server"}
    assert not proxy.seen("upstream.failed")


def test_redis(tmp_path: Path, port: str) -> None:
    """redis-benchmark has no error, and redis-cli gets back the megabyte that it stored."""
    server, cli, benchmark = map(program, ("redis-server", "redis-cli", "redis-benchmark"))
    command = [server, "--port", port, "--save", "", "--dir", str(tmp_path)]
    with (
        running(command, [cli, "-e", "-p", port, "ping"]),
        Faultproxy(tmp_path, {**one(f"127.0.0.1:{port}", *RULES), "drain": "5s"}) as proxy,
    ):
        at = str(proxy.address("p")[1])
        value = bytes(range(33, 126)) * 10_000
        assert output(cli, "-e", "-p", at, "-x", "set", "big", stdin=value) == b"OK\n"
        assert output(cli, "-e", "--raw", "-p", at, "get", "big") == value + b"\n"
        for options in (
            ["-t", "set,get,lpush,lrange_100", "-d", "500"],
            ["-P", "8", "-t", "set,get,incr", "-d", "2000"],
        ):
            said = output(benchmark, "-e", "-p", at, "-c", "10", "-n", "400", "--csv", *options)
            assert b"error" not in said.lower(), said
        no_other_fault(proxy)


def test_postgresql(tmp_path: Path, port: str) -> None:
    """pgbench finishes every transaction, and psql gets a megabyte as it was sent."""
    initdb, postgres, psql, pgbench = map(program, ("initdb", "postgres", "psql", "pgbench"))
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
        with (
            running(server, direct, cwd=folder, **user),
            Faultproxy(tmp_path, {**one(f"127.0.0.1:{port}", *RULES), "drain": "5s"}) as proxy,
        ):
            at = ["-h", "127.0.0.1", "-U", "me", "-p", str(proxy.address("p")[1])]
            output(pgbench, *at, "-i", "-I", "dtGp", "-q", "postgres")
            said = output(pgbench, *at, "-n", "-c", "4", "-t", "15", "-M", "prepared", "postgres")
            assert b"actually processed: 60/60" in said
            assert b"failed transactions: 0 " in said
            script = b"\\copy (select md5(i::text) from generate_series(1, 20000) i) to stdout\n"
            rows = output(psql, *at, "-d", "postgres", "-v", "ON_ERROR_STOP=1", stdin=script).split()
            assert (len(rows), rows[0], {len(row) for row in rows}) == (
                20_000,
                b"c4ca4238a0b923820dcc509a6f75849b",
                {32},
            )
            no_other_fault(proxy)
    finally:
        shutil.rmtree(folder)
