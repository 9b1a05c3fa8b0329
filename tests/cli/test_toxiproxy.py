"""``faultproxy toxiproxy``: a process that stands where Toxiproxy's server stood."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import faultproxy
from tests.commands import PACKAGE
from tests.peers import PATIENCE_S, Upstream, connect

FLAGS = ("-config", "-host", "-port", "-proxy-metrics", "-runtime-metrics", "-seed", "-version")


class Running:
    """The process, and the lines of its log until its API answers; ``url`` is where."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        while not self.lines or self.lines[-1]["event"] != "api.started":
            assert process.stdout is not None
            self.lines.append(json.loads(process.stdout.readline()))
        self.url = f"http://{self.lines[-1]['listen']}"

    def get(self, path: str) -> Any:
        """What it answers."""
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE_S).json()

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of an event, until the API answered."""
        return [line for line in self.lines if line["event"] == event]


@contextmanager
def running(*flags: str, environment: Mapping[str, str] | None = None, errors: str = "") -> Iterator[Running]:
    """The server with these flags, on a port of its own; at the end SIGTERM ends it at once, and well."""
    with started(*flags, "-port=0", environment=environment) as process:
        yield Running(process)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == errors


@contextmanager
def started(*flags: str, environment: Mapping[str, str] | None = None) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "faultproxy", "toxiproxy", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE), **(environment or {})},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ended(*flags: str) -> tuple[int, str, str]:
    """The exit code of the server, what it printed, and its errors."""
    with started(*flags) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
        return process.returncode, output, errors


def test_it_answers_without_any_flag_but_the_port() -> None:
    """On localhost, with no proxies; the draws are of a seed that is logged with each proxy."""
    with running("-seed=7") as server:
        assert server.url.startswith("http://localhost:")
        assert server.get("/version") == {"version": "2.12.0"}
        assert server.get("/proxies") == {}


def test_all_addresses() -> None:
    """0.0.0.0 is all of them, of IPv6 as well, as it is for Go."""
    with running("-host=0.0.0.0") as server:
        port = server.url.rpartition(":")[2]
        for host in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{host}:{port}/version", timeout=PATIENCE_S).status_code == 200


def test_a_configuration(tmp_path: Path) -> None:
    """The proxies are there before the API answers, toxics and all; the seed is the flag's."""
    file = tmp_path / "proxies.json"
    toxic = {"type": "latency", "attributes": {"latency": 5}}
    file.write_text(json.dumps([{"name": "a", "listen": "127.0.0.1:0", "upstream": "b:1", "toxics": [toxic]}]))
    with running("-config", str(file), "--seed=7") as server:
        assert server.get("/proxies")["a"]["toxics"][0]["attributes"] == {"latency": 5, "jitter": 0}
        assert server.said("proxy.started")[0]["seed"] == 7


@pytest.mark.parametrize("text", [None, "[{]"])
def test_a_configuration_that_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    """It is missing or no JSON: that is logged, and the server runs on."""
    file = tmp_path / "proxies.json"
    if text is not None:
        file.write_text(text)
    with running(f"-config={file}") as server:
        (rejected,) = server.said("config.rejected")
        assert rejected["errors"][0].startswith(str(file))
        assert server.get("/proxies") == {}


def test_it_ends_at_once() -> None:
    """Open connections do not hold it up."""
    with Upstream() as upstream, running() as server:
        body = {"name": "a", "listen": "127.0.0.1:0", "upstream": upstream.address}
        listen = httpx.post(f"{server.url}/proxies", json=body, timeout=PATIENCE_S).json()["listen"]
        host, _, port = listen.rpartition(":")
        assert "drain: 0s" in httpx.get(f"{server.url}/v1/config", timeout=PATIENCE_S).text
        with connect((host, int(port))), upstream.accept():
            server.process.terminate()
            assert server.process.wait(PATIENCE_S) == 0


def test_log_level() -> None:
    """LOG_LEVEL is heeded; one that is none is complained of, and no more."""
    with running(environment={"LOG_LEVEL": "trace"}) as server:
        assert server.get("/version")
    complaint = 'LOG_LEVEL is "loud"; write one of trace, debug, info, warn, warning, error, fatal, panic, disabled\n'
    with running(environment={"LOG_LEVEL": "loud"}, errors=complaint) as server:
        assert server.get("/version")


def test_allowed_hosts() -> None:
    """A host that is called by a name of the network is allowed by the environment, as no flag of Toxiproxy's says so."""
    with running(environment={"FAULTPROXY_ALLOWED_HOSTS": "docker.example.com other.example"}) as server:
        for host, status in (("docker.example.com", 200), ("evil.example", 403)):
            answer = httpx.get(f"{server.url}/version", headers={"host": host}, timeout=PATIENCE_S)
            assert answer.status_code == status


@pytest.mark.parametrize(
    ("flag", "names"),
    [
        ("-proxy-metrics", {"toxiproxy_proxy_received_bytes_total", "toxiproxy_proxy_sent_bytes_total"}),
        ("-runtime-metrics", {"process_open_fds"}),
        ("-proxy-metrics=false", set()),
    ],
)
def test_metrics(flag: str, names: set[str]) -> None:
    """Our own are always there; those of Toxiproxy, and of the process, where a flag asks for them."""
    with running(flag) as server:
        body = {"name": "a", "listen": "127.0.0.1:0", "upstream": "localhost:1"}
        httpx.post(f"{server.url}/proxies", json=body, timeout=PATIENCE_S).raise_for_status()
        text = httpx.get(f"{server.url}/metrics", timeout=PATIENCE_S).text
        found = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if not line.startswith("#")}
        assert "faultproxy_connections_total" in found
        asked_for = {"toxiproxy_proxy_received_bytes_total", "toxiproxy_proxy_sent_bytes_total", "process_open_fds"}
        assert found & asked_for == names


def test_version() -> None:
    """In Toxiproxy's words first."""
    version = f"toxiproxy-server version 2.12.0 (faultproxy {faultproxy.__version__})\n"
    assert ended("-version") == (0, version, "")


def test_help() -> None:
    """Every flag is named."""
    code, output, errors = ended("-h")
    assert (code, output) == (0, "")
    assert all(f"  {flag}" in errors for flag in FLAGS)


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("-hosts=a", "flag provided but not defined: -hosts\n"),
        ("-config", "flag needs an argument: -config\n"),
        ("-port=http", '-host and -port: "localhost:http" is not an address'),
        ("-host=a b", '-host and -port: "a b:8474" is not an address'),
    ],
)
def test_bad_flags(flag: str, says: str) -> None:
    """Exit code 2, and what is wrong first."""
    code, output, errors = ended(flag)
    assert (code, output) == (2, "")
    assert errors.startswith(says)


def test_a_port_that_is_taken() -> None:
    """Exit code 1, and who holds it; Toxiproxy runs on without an API."""
    with Upstream() as upstream:
        code, _, errors = ended("-host=127.0.0.1", f"-port={upstream.port}")
    assert code == 1
    assert f"127.0.0.1:{upstream.port}" in errors
