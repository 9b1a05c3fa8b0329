"""docs/testing.md: every block of code is a test that does what the page says of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import faultproxy
from tests.commands import PACKAGE

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
SERVERS = '''
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest


class Shop(BaseHTTPRequestHandler):
    """An HTTP server with one page."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)

    def log_message(self, *_):
        pass


class Redis(socketserver.StreamRequestHandler):
    """As much of Redis as a client needs that says PING, in both of the forms that Redis takes."""

    def handle(self):
        while line := self.rfile.readline():
            words = [line.strip()]
            if line.startswith(b"*"):
                words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2).strip() for _ in range(int(line[1:]))]
            answers = {b"PING": b"+PONG", b"CLIENT": b"+OK", b"HELLO": b"%1\\r\\n+proto\\r\\n:3"}
            self.wfile.write(answers.get(words[0], b"-ERR unknown command") + b"\\r\\n")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, *_):
        pass  # what a fault does to a server is no news here


def serve(handler):
    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield "127.0.0.1:%d" % server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def shop():
    yield from serve(Shop)


@pytest.fixture
def redis_server():
    yield from serve(Redis)


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("faultproxy")]
'''


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of all blocks, each a file of its own."""
    for library in ("requests", "redis", "httpx", "anyio", "pytest_asyncio"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    folder = tmp_path_factory.mktemp("page")
    (folder / "conftest.py").write_text(SERVERS)
    for number, block in enumerate(blocks("python")):
        (folder / f"test_block_{number}.py").write_text(block)
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"PYTHONPATH": str(PACKAGE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "84"}
    options = [
        "-rA",
        "--tb=short",
        "-p",
        "faultproxy.testing.pytest_plugin",
        "-p",
        "pytest_asyncio.plugin",
        "-p",
        "anyio.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "--strict-markers",
    ]
    command = [sys.executable, "-P", "-m", "pytest", *options, str(folder)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_every_block_is_a_test_that_passes(said: str) -> None:
    """But for the one that is there to fail."""
    tests = re.findall(r"def (test_\w+)", "".join(blocks("python")))
    passed = set(re.findall(r"^PASSED \S+::(test_\w+)", said, re.MULTILINE))
    assert sorted([*passed, "test_one_reset"]) == sorted(tests), said
    assert "test_a_shop_that_opens_again[trio]" in said
    assert len(blocks("python")) >= 11


def test_the_report_is_what_pytest_prints(said: str) -> None:
    """The section that the page shows is the section of the test above it, but for ports and times."""

    def shape(text: str) -> list[str]:
        return [
            re.sub(r"-+", "-", re.sub(r"\d+(\.\d+)? ms|:\d{4,5}|\d+ B up", "N", line)) for line in text.splitlines()
        ]

    shown = next(block for block in blocks("text") if "faultproxy" in block)
    report = re.search(r"^-+ faultproxy -+\n(?:.+\n)*?(?=[-=_]{3,})", said, re.MULTILINE)
    assert report, said
    assert shape(report[0]) == shape(shown)


def test_the_page_names_what_there_is() -> None:
    """Attributes and errors of the page exist, and every field of a fault and of a connection is on it."""
    page = PAGE.read_text()
    asked = ("faults", "dry_runs", "connections", "times", "report", "check")
    for name in (*asked, "wait_for", "wait_closed", "update", "from_file"):
        assert f"`{name}" in page or f"{name}(" in page
        assert hasattr(faultproxy.Proxy, name)
        assert hasattr(faultproxy.AsyncProxy, name)
    for kind in (faultproxy.Fault, faultproxy.Connection):
        assert [field for field in kind.__slots__ if f"`{field}`" not in page] == []
    for name in faultproxy.__all__:
        assert name in page
