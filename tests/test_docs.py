"""What README.md and docs/ show is true: every configuration is loaded, code and commands are run, links lead somewhere."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.exceptions import Exit

from faultproxy.cli import main
from faultproxy.config.loader import examine, load
from faultproxy.faults import CATALOGUE
from tests.commands import environment
from tests.locked import need_locked
from tests.peers import Server, connect_and_read, pattern

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
RETRIES = DOCS / "testing-your-retries.md"
_PLUGIN = "faultproxy.testing.pytest_plugin"
PAGES = [README, *sorted(DOCS.glob("*.md"))]


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
    fences = re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    found = [
        Block(page.name, text.count("\n", 0, fence.start()) + 1, fence[2], re.sub(f"(?m)^{fence[1]}", "", fence[3]))
        for fence in fences
    ]
    return [block for block in found if block.language == language]


CONFIGS = [block for page in PAGES for block in blocks(page, "yaml") if "\nservices:" not in f"\n{block.text}"]
COMMANDS = [block for page in PAGES for block in blocks(page, "sh") if "faultproxy " in block.text]
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
def test_every_configuration_is_valid(tmp_path: Path, block: Block) -> None:
    """A reader can copy any configuration from a page: ``check --strict`` accepts it."""
    file = tmp_path / "faultproxy.yaml"
    file.write_text(block.text)
    config, warnings = examine(file)
    assert config.proxies
    assert not warnings


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_every_command_has_the_options_that_it_is_shown_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: Block
) -> None:
    """Each line that begins with faultproxy is accepted by the command line; nothing is run."""
    (tmp_path / "log.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    for line in re.findall(r"^faultproxy (.*)$", block.text, re.MULTILINE):
        name, *arguments = shlex.split(re.split(r"[>|]", line)[0], comments=True)
        context = main.make_context("faultproxy", [name])
        _, command, _ = main.resolve_command(context, [name])
        assert command is not None
        with suppress(Exit), command.make_context(name, arguments, parent=context):
            pass


def test_the_commands_run_as_shown(tmp_path: Path) -> None:
    """All of docs/commands.md that ends by itself; run, demo and doctor have tests of their own."""
    (rules,) = blocks(DOCS / "rules.md", "yaml")[:1]
    (tmp_path / "faultproxy.yaml").write_text(rules.text)
    (tmp_path / "log.jsonl").write_text((DOCS / "reading-the-log.jsonl").read_text())
    lines = [line for block in blocks(DOCS / "commands.md", "sh") for line in block.text.splitlines()]
    script = "\n".join(line for line in lines if line.split()[1] in {"check", "explain", "replay", "report", "schema"})
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, check=False, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(script.splitlines()) == 10
    assert load(tmp_path / "again.yaml").proxies
    assert json.loads((tmp_path / "faultproxy.schema.json").read_text())["$schema"]


def test_the_scripts_of_the_readme_are_there() -> None:
    """The two commands can be executed, from the root of the sources."""
    words = [line.split()[0] for block in blocks(README, "sh") for line in block.text.splitlines()]
    scripts = [word for word in words if word.startswith("scripts/")]
    assert scripts == ["scripts/demo", "scripts/test"]
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file of the sources, and, behind #, a heading in it."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in {heading(title) for title in re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)}


def heading(title: str) -> str:
    """What a heading is called in a link."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_the_gaps_between_attempts(tmp_path: Path) -> None:
    """The command of docs/recipes.md prints a number of seconds for each two faults of a log."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed; apt-get install jq")
    (tmp_path / "log.jsonl").write_text((DOCS / "reading-the-log.jsonl").read_text())
    (command,) = blocks(DOCS / "recipes.md", "sh")
    done = subprocess.run(["bash", "-c", command.text], cwd=tmp_path, capture_output=True, text=True, check=True)
    gaps = [float(line) for line in done.stdout.splitlines()]
    faults = [line for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"fault.injected"' in line]
    assert len(gaps) == len(faults) - 1
    assert all(0 < gap < 1 for gap in gaps)


def test_the_client_sees_what_the_readme_says(tmp_path: Path) -> None:
    """The first configuration of the README: what five connections see is what its table says."""
    (config,) = blocks(README, "yaml")
    reply = pattern(10_000)
    seen = []
    with Server(lambda sock: sock.sendall(reply)) as server:
        rules = config.text.replace("127.0.0.1:18080", "127.0.0.1:0").replace("127.0.0.1:8080", server.address)
        with running(tmp_path, rules) as (listen, log):
            host, _, port = listen.rpartition(":")
            for _ in range(5):
                data, end = connect_and_read((host, int(port)))
                assert data == reply[: len(data)]
                seen.append((len(data), end))
    whole = (len(reply), "EOF")
    assert seen == [(0, "ECONNRESET"), (0, "ECONNRESET"), whole, (4096, "ECONNRESET"), whole]
    rows = re.findall(r"^\| ([\d, ]+) \| (.*?) \|", README.read_text(), re.MULTILINE)
    assert rows == [("1, 2", "cold start"), ("3, 5", "none"), ("4", "cut mid-reply")]
    injected = [(line["connection"], line["rule"]) for line in log if line["event"] == "fault.injected"]
    assert injected == [("shop#1", "cold start"), ("shop#2", "cold start"), ("shop#4", "cut mid-reply")]


@pytest.mark.parametrize("block", SNIPPETS, ids=str)
def test_every_snippet_does_what_the_page_says(tmp_path: Path, shop: int, block: Block) -> None:
    """The code of the page, run through the rules of the page before a real HTTP server, asserts what it shows."""
    (config,) = blocks(RETRIES, "yaml")
    rules = config.text.replace("127.0.0.1:18080", "127.0.0.1:0").replace(":8080", f":{shop}")
    with running(tmp_path, rules) as (listen, log):
        exec(compile(block.text.replace("18080", listen.rpartition(":")[2]), str(block), "exec"), {})
    injected = [line for line in log if line["event"] == "fault.injected"]
    assert 1 <= len(injected) <= 5
    assert {line["client_sees"] for line in injected} == {"ECONNRESET"}


@pytest.mark.parametrize("block", TESTS, ids=str)
def test_every_test_passes(tmp_path: Path, shop: int, block: Block) -> None:
    """A test that a reader copies from the page passes in a project of its own."""
    (tmp_path / "test_shop.py").write_text(block.text.replace(":8080", f":{shop}"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", _PLUGIN, "test_shop.py"],
        check=False,
        cwd=tmp_path,
        env={**environment(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_log_line_on_its_page_is_a_log_line(tmp_path: Path, shop: int) -> None:
    """The example has the fields of a real line, in the same order, and the values that do not change with the day."""
    (example,) = (json.loads(block.text) for block in blocks(DOCS / "reading-the-log.md", "json"))
    rules = [{"name": example["rule"], "reset": {"after": "3B"}}]
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


def test_the_rows_of_the_demo_are_the_demos(tmp_path: Path) -> None:
    """The README shows four rows as the demo prints them, and says how many there are."""
    need_locked("rich")
    (table,) = (block.text for block in blocks(README, "text") if "the client caught" in block.text)
    env = {**environment(tmp_path), "COLUMNS": "100"}
    done = subprocess.run(["faultproxy", "demo"], check=False, env=env, capture_output=True, text=True)
    printed = [row.rstrip() for row in done.stdout.splitlines()]
    rows = re.split(r"^ ─+$", table, flags=re.MULTILINE)[2:-1]
    assert len(rows) == 4
    for row in rows:
        lines = row.strip("\n").splitlines()
        at = printed.index(lines[0])
        assert printed[at : at + len(lines)] == lines
    assert f"Four of the demo's {len(load(ROOT / 'config' / 'demo.yaml').proxies)} rows" in README.read_text()


def test_every_fault_is_in_the_readme() -> None:
    """Its table of faults names each of the catalogue, and nothing else."""
    _, _, section = README.read_text().partition("\n## Faults\n")
    rows = re.findall(r"^\| [^|]* \| (.*) \|$", section.partition("\n## ")[0], re.MULTILINE)[1:]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == {kind.key for kind in CATALOGUE}


def test_the_compose_snippet_is_in_the_compose_file() -> None:
    """What the page shows of docker-compose.yml stands in it."""
    (snippet,) = (block for block in blocks(DOCS / "sidecar.md", "yaml") if "services:" in block.text)
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
    """One line names the command of before Compose 2."""
    old = [
        line for page in PAGES for line in page.read_text().splitlines() if re.search(r"docker-compose(?!\.yml)", line)
    ]
    assert len(old) == 1
    assert "before Compose 2: docker-compose" in old[0]
