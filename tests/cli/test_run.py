"""The API of a program that runs: where it begins, and what keeps it from that."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.commands import ENVIRONMENT
from tests.peers import PATIENCE_S, Server, connect_error, echo, nobody

PROGRAM = [sys.executable, "-P", "-c", "from faultproxy.cli import main; main()"]


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [*PROGRAM, "run", *arguments]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as it:
        try:
            yield it
        finally:
            it.terminate()


def line_of(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """The next line of the log with this event."""
    assert process.stdout is not None
    return next(line for line in map(json.loads, process.stdout) if line["event"] == event)


def failing(arguments: Sequence[str]) -> tuple[int, str]:
    done = subprocess.run([*PROGRAM, "run", *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_it_begins_with_nothing() -> None:
    """Without a file there are no proxies; the first one that is made is there at once."""
    with Server(echo) as server, running("--api", "127.0.0.1:0") as process:
        api = f"http://{line_of(process, 'api.started')['listen']}"
        assert httpx.get(f"{api}/v1/proxies", timeout=PATIENCE_S).json() == {"proxies": []}
        assert httpx.get(f"{api}/v1/status", timeout=PATIENCE_S).json()["file"] is None
        p = {"listen": "127.0.0.1:0", "upstream": server.address}
        answer = httpx.put(f"{api}/v1/proxies/p", json=p, timeout=PATIENCE_S)
        host, _, port = answer.json()["listen"].rpartition(":")
        assert connect_error((host, int(port))) is None
        assert httpx.put(f"{api}/v1/config", json={}, timeout=PATIENCE_S).status_code == 200
        assert connect_error((host, int(port))) == "ECONNREFUSED"


def test_without_a_file_an_api_is_due() -> None:
    """Else nothing could ever run: exit code 2, and what to write."""
    code, said = failing([])
    assert (code, "Missing argument 'FILE'; without one, write --api ADDRESS." in said) == (2, True)


def test_a_file_without_proxies(tmp_path: Path) -> None:
    """It is valid beside an API, wherever that is asked for."""
    file = tmp_path / "f.yaml"
    file.write_text("proxies: {}\n")
    code, said = failing([str(file)])
    assert (code, said.startswith(f"{file}:1:10: proxies: holds nothing")) == (2, True)
    with running(str(file), "--api", "127.0.0.1:0") as process:
        line_of(process, "api.started")
    file.write_text("api: 127.0.0.1:0\n")
    with running(str(file)) as process:
        line_of(process, "api.started")


def test_a_file_with_a_proxy_that_dials_the_api(tmp_path: Path) -> None:
    """It is not run: exit code 2, and which proxy it is."""
    file = tmp_path / "f.yaml"
    with nobody() as api:
        file.write_text(f"proxies: {{p: {{listen: '127.0.0.1:0', upstream: '{api}'}}}}\n")
    code, said = failing([str(file), "--api", api])
    assert code == 2
    assert said == f'proxies.p.upstream: "{api}" is where the API listens; write the address of the server\n'
