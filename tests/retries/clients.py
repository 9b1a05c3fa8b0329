"""Real clients that retry: each as a call that tries to be served, however long its own policy lets it try."""

import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import httpx
import psycopg
import psycopg_pool
import redis
import requests
import tenacity
import urllib3
from redis.backoff import ExponentialBackoff, FullJitterBackoff
from redis.retry import Retry as RedisRetry

SOURCES = Path(__file__).parent / "sources"
_UNDICI = Path(__file__).parent.parent.parent / ".venv" / "node" / "node_modules" / "undici"

Ask = Callable[[str, int], object]


@dataclass(frozen=True)
class Retrier:
    """A client, with its settings.

    ``ask`` calls a server at a host and a port once, with all the retries that the client makes of it; it may raise.
    ``failures`` is how many of its attempts are to be failed, ``episodes`` how often that is to be done.
    """

    name: str
    settings: str
    ask: Ask
    failures: int = 6
    episodes: int = 1
    upstream: Literal["http", "redis", "postgresql"] = "http"
    package: str | None = None
    missing: str | None = None

    @property
    def version(self) -> str:
        """What it calls its version."""
        if self.package is not None:
            return version(self.package)
        command = {"node": ["node", "--version"], "java": ["java", "--version"]}.get(
            self.name.partition(" ")[0].lower()
        )
        if command is None:
            return "—"
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.split("\n")[0].removeprefix("v")


def loop(host: str, port: int) -> None:
    """Connect until it works, without a wait."""
    for _ in range(1000):
        with suppress(OSError), socket.create_connection((host, port), 5) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if sock.recv(1):
                return


def get(host: str, port: int) -> int:
    """A request of Python's own client, which does not retry."""
    connection = HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def with_urllib3(retries: urllib3.Retry | None) -> Ask:
    def ask(host: str, port: int) -> object:
        with urllib3.PoolManager() as http:
            return http.request("GET", f"http://{host}:{port}/", retries=retries).status

    return ask


def with_tenacity(**settings: object) -> Ask:
    def ask(host: str, port: int) -> object:
        return tenacity.retry(retry=tenacity.retry_if_exception_type(OSError), **settings)(get)(host, port)  # type: ignore[call-overload]

    return ask


def with_redis(retry: RedisRetry | None = None) -> Ask:
    def ask(host: str, port: int) -> object:
        with redis.Redis(host, port) if retry is None else redis.Redis(host, port, retry=retry) as client:
            return client.ping()

    return ask


def with_pool(host: str, port: int) -> None:
    """A pool of one connection, until it has it."""
    conninfo = f"host={host} port={port} user=me dbname=postgres sslmode=disable gssencmode=disable"
    with psycopg_pool.ConnectionPool(conninfo, min_size=1, max_size=1, open=True) as pool:
        pool.wait(120)


def with_psycopg(host: str, port: int) -> None:
    psycopg.connect(f"host={host} port={port} user=me dbname=postgres sslmode=disable gssencmode=disable").close()


def with_node(which: str) -> Ask:
    def ask(host: str, port: int) -> object:
        command = ["node", str(SOURCES / "retry.mjs"), f"http://{host}:{port}/", which, str(_UNDICI / "index.js")]
        return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout

    return ask


def with_java(host: str, port: int) -> object:
    command = ["java", str(SOURCES / "Retry.java"), f"http://{host}:{port}/"]
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout


def _needs(program: str) -> str | None:
    return None if shutil.which(program) else f"{program} is not installed"


def undici_version() -> str | None:
    """The version that scripts/measure-retries has installed; None without it."""
    with suppress(OSError):
        return next(
            line.split('"')[3] for line in (_UNDICI / "package.json").read_text().splitlines() if '"version"' in line
        )
    return None


UNDICI_MISSING = _needs("node") or (
    None if undici_version() else "undici is not installed: scripts/measure-retries does"
)

RETRIERS = (
    Retrier("a loop", "without any wait", loop, failures=20),
    Retrier("urllib3", "as it comes", with_urllib3(None), package="urllib3"),
    Retrier(
        "urllib3",
        "`Retry(8, backoff_factor=0.1)`",
        with_urllib3(urllib3.Retry(8, backoff_factor=0.1)),
        package="urllib3",
    ),
    Retrier(
        "urllib3",
        "`Retry(8, backoff_factor=0.1, backoff_jitter=0.5)`",
        with_urllib3(urllib3.Retry(8, backoff_factor=0.1, backoff_jitter=0.5)),
        episodes=4,
        package="urllib3",
    ),
    Retrier(
        "requests",
        "as it comes",
        lambda host, port: requests.get(f"http://{host}:{port}/", timeout=5),
        package="requests",
    ),
    Retrier(
        "httpx", "as it comes", lambda host, port: httpx.get(f"http://{host}:{port}/", trust_env=False), package="httpx"
    ),
    Retrier("tenacity", "`@retry`, as it comes", with_tenacity(), failures=20, package="tenacity"),
    Retrier("tenacity", "`wait_fixed(0.5)`", with_tenacity(wait=tenacity.wait_fixed(0.5)), package="tenacity"),
    Retrier(
        "tenacity", "`wait_exponential(0.1)`", with_tenacity(wait=tenacity.wait_exponential(0.1)), package="tenacity"
    ),
    Retrier(
        "tenacity",
        "`wait_exponential(0.1, max=1)`",
        with_tenacity(wait=tenacity.wait_exponential(0.1, max=1)),
        failures=8,
        package="tenacity",
    ),
    Retrier(
        "tenacity",
        "`wait_random_exponential(0.1)`",
        with_tenacity(wait=tenacity.wait_random_exponential(0.1)),
        episodes=8,
        package="tenacity",
    ),
    Retrier("redis-py", "as it comes", with_redis(), failures=3, episodes=12, upstream="redis", package="redis"),
    Retrier(
        "redis-py",
        "`Retry(ExponentialBackoff(cap=10, base=0.1), 8)`",
        with_redis(RedisRetry(ExponentialBackoff(cap=10, base=0.1), 8)),
        upstream="redis",
        package="redis",
    ),
    Retrier(
        "redis-py",
        "`Retry(FullJitterBackoff(cap=10, base=0.1), 8)`",
        with_redis(RedisRetry(FullJitterBackoff(cap=10, base=0.1), 8)),
        episodes=8,
        upstream="redis",
        package="redis",
    ),
    Retrier("psycopg", "`connect()`, as it comes", with_psycopg, upstream="postgresql", package="psycopg"),
    Retrier(
        "psycopg_pool",
        "one connection, else as it comes",
        with_pool,
        failures=5,
        upstream="postgresql",
        package="psycopg_pool",
    ),
    Retrier("node", "`fetch()`, as it comes", with_node("fetch"), missing=_needs("node")),
    Retrier("node", "undici's `RetryAgent`, as it comes", with_node("undici"), failures=5, missing=UNDICI_MISSING),
    Retrier("Java", "`HttpClient`, as it comes", with_java, missing=_needs("java")),
)
