"""What README.md and docs/ show is what there is: every configuration is loaded, every piece of code is run."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import faultproxy
from faultproxy.config.loader import load, parse
from faultproxy.faults import CATALOGUE
from faultproxy.rules.rule import BaseRule

ROOT = Path(__file__).parent.parent
PACKAGE = Path(faultproxy.__file__).parent.parent
README = ROOT / "README.md"
RETRIES = ROOT / "docs" / "testing-your-retries.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text()
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = [Block(page.name, text.count("\n", 0, fence.start()) + 1, *fence.groups()) for fence in fences]
    return [block for block in found if block.language == language]


CONFIGS = [block for page in PAGES for block in blocks(page, "yaml") if "\nservices:" not in f"\n{block.text}"]
SNIPPETS = [block for block in blocks(RETRIES, "python") if "import pytest" not in block.text]
TESTS = [block for block in blocks(RETRIES, "python") if "import pytest" in block.text]


class Shop(BaseHTTPRequestHandler):
    """A real little HTTP server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"hello\n")

    do_POST = do_GET  # noqa: N815  # http.server looks for this name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def shop() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def environment(folder: Path) -> dict[str, str]:
    """An environment whose faultproxy command is the one that is tested."""
    command = folder / "bin" / "faultproxy"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom faultproxy.cli import main\nmain()\n")
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(PACKAGE)}


@contextmanager
def running(folder: Path, text: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Where the proxy of this configuration listens, and its log, complete when the block is left."""
    file = folder / "faultproxy.yaml"
    file.write_text(text)
    command = ["faultproxy", "run", str(file)]
    log: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(folder)) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["listen"], log
        process.terminate()
        log += map(json.loads, process.stdout)
    assert process.returncode == 0


@pytest.mark.parametrize("block", CONFIGS, ids=str)
def test_every_configuration_is_valid(block: Block) -> None:
    """A reader can copy any configuration from the page, and faultproxy takes it."""
    assert parse(block.text.encode(), str(block)).proxies


@pytest.mark.parametrize("block", SNIPPETS, ids=str)
def test_every_snippet_does_what_the_page_says(tmp_path: Path, shop: int, block: Block) -> None:
    """The code of the page, run through the rules of the page before a real HTTP server, asserts what it shows."""
    (config,) = blocks(RETRIES, "yaml")
    rules = config.text.replace("127.0.0.1:18080", "127.0.0.1:0").replace(":8080", f":{shop}")
    with running(tmp_path, rules) as (listen, log):
        exec(compile(block.text.replace("18080", listen.rpartition(":")[2]), str(block), "exec"), {})
    strikes = [line for line in log if line["event"] == "fault.injected"]
    assert 1 <= len(strikes) <= 3
    assert {line["client_sees"] for line in strikes} == {"ECONNRESET"}


@pytest.mark.parametrize("block", TESTS, ids=str)
def test_every_test_passes(tmp_path: Path, shop: int, block: Block) -> None:
    """A test that a reader copies from the page passes in a project of its own."""
    (tmp_path / "test_shop.py").write_text(block.text.replace(":8080", f":{shop}"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"],
        check=False,
        cwd=tmp_path,
        env={**environment(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_log_line_in_the_readme_is_a_log_line(tmp_path: Path, shop: int) -> None:
    """The example has the fields of a real line, in the same order, and the values that do not change with the day."""
    (example,) = (json.loads(block.text) for block in blocks(README, "json"))
    (config,) = (block for block in CONFIGS if block.page == "README.md" and "cut mid-reply" in block.text)
    rule = next(rule for rule in yaml.safe_load(config.text)["proxies"]["redis"]["rules"] if "after" in str(rule))
    rules = [{"name": rule["name"], "reset": {"after": "3B"}}]
    proxies = {"redis": {"listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{shop}", "rules": rules}}
    with running(tmp_path, json.dumps({"proxies": proxies})) as (listen, log):
        host, _, port = listen.rpartition(":")
        fetch = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"
        url = f"http://{host}:{port}/"
        assert subprocess.run([sys.executable, "-c", fetch, url], check=False, stderr=subprocess.DEVNULL).returncode
    real = next(line for line in log if line["event"] == "fault.injected")
    assert list(example) == list(real)
    same = ("level", "event", "proxy", "connection", "rule", "fault", "client_sees", "fidelity", "ordinal", "injected")
    assert {key: example[key] for key in same} == {key: real[key] for key in same}


def test_the_demo_in_the_readme_is_the_demo() -> None:
    """The pasted table has a row for each rule of config/demo.yaml, and every row is ok."""
    (table,) = (block.text for block in blocks(README, "text") if "the client caught" in block.text)
    proxies = load(ROOT / "config" / "demo.yaml").proxies
    for proxy in proxies.values():
        rules: tuple[BaseRule, ...] = proxy.rules
        for rule in rules:
            assert re.search(rf"^ {rule.name} ", table, re.MULTILINE)
    assert len(re.findall(r" ok$", table, re.MULTILINE)) == len(proxies)


def test_the_fault_table_is_the_catalogue() -> None:
    """The README has a row for each fault of the catalogue, and for nothing else."""
    rows = re.findall(r"^\| `(\w+)` \|", README.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(kind.key for kind in CATALOGUE)


def test_the_compose_snippet_is_in_the_compose_file() -> None:
    """What the page shows of docker-compose.yml stands in it."""
    (snippet,) = (block for block in blocks(README, "yaml") if "services:" in block.text)
    lines = [line for line in snippet.text.splitlines() if line.strip() and "..." not in line]
    compose = (ROOT / "docker-compose.yml").read_text().splitlines()
    assert [line for line in lines if line not in compose] == []


def test_the_client_joins_the_namespace_of_its_sidecar() -> None:
    """The other way round a client that restarts would leave the proxy behind in a namespace that nobody uses."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services["client"]["network_mode"] == "service:proxy"
    assert "network_mode" not in services["proxy"]
    assert "restart" in services["client"]


def test_compose_is_called_as_it_is_today() -> None:
    """One line of the README names the command of before Compose 2."""
    pages = [README, *sorted((ROOT / "docs").glob("*.md"))]
    old = [
        line for page in pages for line in page.read_text().splitlines() if re.search(r"docker-compose(?!\.yml)", line)
    ]
    assert len(old) == 1
    assert "before Compose 2: docker-compose" in old[0]
