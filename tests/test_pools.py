"""Real pools, whose connections are open long before a rule comes: what they do when an edit reaches them."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import psycopg_pool
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests import servers
from tests.peers import Background, Server
from tests.running import Faultproxy, Line, Settings, one

IDLE = {"name": "load balancer", "live": True, "limit": 2, "close": {"after": {"idle": "300ms"}}}
RESTART = {"name": "restart", "live": True, "limit": 2, "reset": None}
STUCK = {"name": "stuck", "live": True, "hang": None}


class Edited:
    """A proxy whose rules are edited."""

    def __init__(self, proxy: Faultproxy, upstream: str) -> None:
        self.proxy = proxy
        self._upstream = upstream

    def edit(self, *rules: Settings) -> Line:
        return self.proxy.edit(one(self._upstream, *rules))

    def has_opened(self, count: int) -> bool:
        """Whether there have been so many connections, and no more."""
        self.proxy.wait_for("connection.opened", nth=count)
        return len(self.proxy.seen("connection.opened")) == count

    def injected(self, count: int) -> list[str]:
        """Wait until so many faults were injected; into which connections, in order."""
        self.proxy.wait_for("fault.injected", nth=count)
        return sorted(line["connection"] for line in self.proxy.seen("fault.injected"))

    def ended(self, count: int) -> list[str]:
        """The same, and until these connections are over: by then their client's kernel knows."""
        self.proxy.wait_for("connection.closed", nth=count)
        return self.injected(count)


@contextmanager
def edited(folder: Path, upstream: str) -> Iterator[Edited]:
    with Faultproxy(folder, one(upstream)) as proxy:
        proxy.wait_for("proxy.started")
        yield Edited(proxy, upstream)


# ---- redis-py


@pytest.fixture
def redis_proxy(tmp_path: Path) -> Iterator[Edited]:
    with servers.redis(tmp_path) as port, edited(tmp_path, f"127.0.0.1:{port}") as proxy:
        yield proxy


@pytest.fixture
def cache(redis_proxy: Edited) -> Iterator[Any]:
    """A client with two connections in its pool, which it does not replace by itself when one fails."""
    host, port = redis_proxy.proxy.address("p")
    with redis.Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), health_check_interval=0) as client:
        pool = client.connection_pool
        for connection in [pool.get_connection() for _ in range(2)]:
            pool.release(connection)
        yield client


def test_redis_restarts(redis_proxy: Edited, cache: Any) -> None:
    """Both idle connections are reset by the edit; the pool notices, and opens one that works."""
    assert cache.ping()
    loaded = redis_proxy.edit(RESTART)
    assert loaded["unaffected"] == 0
    assert redis_proxy.ended(2) == ["p#1", "p#2"]
    assert cache.ping()
    assert redis_proxy.has_opened(3)


def test_redis_is_passed_by(redis_proxy: Edited, cache: Any) -> None:
    """Without live nothing happens to the pool, and the log says how many it passes by."""
    loaded = redis_proxy.edit({"name": "cut", "reset": None})
    assert loaded["unaffected"] == 2
    assert cache.ping()
    assert redis_proxy.has_opened(2)


def test_redis_is_stuck(redis_proxy: Edited, cache: Any) -> None:
    """A command waits for as long as the hang is in the file, and is answered on the same connection when it is gone."""
    redis_proxy.edit(STUCK)
    redis_proxy.injected(2)
    answered = Event()

    def ask() -> None:
        assert cache.incr("asked") == 1
        answered.set()

    with Background(ask):
        assert not answered.wait(0.3)
        redis_proxy.edit()
        assert answered.wait(10)
    assert redis_proxy.has_opened(2)
    assert cache.get("asked") == b"1"


def test_redis_breaks_at_the_third_reply(redis_proxy: Edited, cache: Any) -> None:
    """Two commands succeed on a connection, the third fails behind the first byte of its reply."""
    redis_proxy.edit({"name": "third", "live": True, "limit": 2, "reset": {"after": {"match": ":", "nth": 3}}})
    assert [cache.incr("n"), cache.incr("n")] == [1, 2]
    with pytest.raises(redis.ConnectionError):
        cache.incr("n")
    assert int(cache.get("n")) == 3


def test_redis_behind_a_load_balancer(redis_proxy: Edited, cache: Any) -> None:
    """Idle connections are closed; whoever asks again gets a new one."""
    redis_proxy.edit(IDLE)
    assert redis_proxy.ended(2) == ["p#1", "p#2"]
    assert cache.ping()
    assert redis_proxy.has_opened(3)


# ---- psycopg's pool


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with servers.postgresql() as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def database(tmp_path: Path, postgresql: str) -> Iterator[Edited]:
    with edited(tmp_path, postgresql) as proxy:
        yield proxy


@contextmanager
def pool_of_two(proxy: Edited, **options: Any) -> Iterator[psycopg_pool.ConnectionPool[Any]]:
    host, port = proxy.proxy.address("p")
    at = f"host={host} port={port} user=me dbname=postgres sslmode=disable gssencmode=disable"
    with psycopg_pool.ConnectionPool(at, min_size=2, max_size=2, open=True, **options) as pool:
        pool.wait(20)
        yield pool


def one_of(pool: psycopg_pool.ConnectionPool[Any]) -> object:
    with pool.connection() as connection:
        return connection.execute("select 1").fetchone()


def test_psycopg_without_a_check(database: Edited) -> None:
    """A connection that was reset while it was idle is handed out: the first query on each fails, the next does not."""
    with pool_of_two(database) as pool:
        assert one_of(pool) == (1,)
        database.edit(RESTART)
        assert database.ended(2) == ["p#1", "p#2"]
        failed = 0
        for _ in range(2):
            with pytest.raises(psycopg.OperationalError):
                one_of(pool)
            failed += 1
        assert one_of(pool) == (1,)
        assert failed == 2


@pytest.mark.parametrize("rule", [RESTART, IDLE], ids=["reset", "idle"])
def test_psycopg_with_a_check(database: Edited, rule: Settings) -> None:
    """The pool asks each connection before it hands it out, and nobody notices."""
    with pool_of_two(database, check=psycopg_pool.ConnectionPool.check_connection) as pool:
        database.edit(rule)
        assert database.ended(2) == ["p#1", "p#2"]
        assert one_of(pool) == (1,)


def test_psycopg_is_stuck(database: Edited) -> None:
    """A query waits for as long as the hang is in the file; its rows are all there when it is gone."""
    with pool_of_two(database) as pool, ExitStack() as stack:
        database.edit(STUCK)
        database.injected(2)
        answered = Event()

        def ask() -> None:
            with pool.connection() as connection:
                rows = connection.execute("select generate_series(1, 100000)").fetchall()
            assert [row[0] for row in rows] == list(range(1, 100_001))
            answered.set()

        stack.enter_context(Background(ask))
        assert not answered.wait(0.3)
        database.edit()
        assert answered.wait(10)
        assert database.has_opened(2)


# ---- undici, which is node's fetch

FETCH = """
const url = process.argv[1];
require("readline").createInterface({input: process.stdin}).on("line", async () => {
  try {
    const reply = await fetch(url);
    console.log(JSON.stringify({status: reply.status, body: await reply.text()}));
  } catch (error) {
    console.log(JSON.stringify({error: (error.cause ?? error).code}));
  }
});
"""


def serve_http(sock: Any) -> None:
    """Keeps connections alive, and answers each request alike."""
    while request := sock.recv(65536):
        assert request.endswith(b"\r\n\r\n")
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


class Node:
    """A node that fetches once a line, one after the other, with its pool of one connection."""

    def __init__(self, url: str) -> None:
        command = [servers.program("node"), "-e", FETCH, url]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def fetch(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        return reply

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Edited]:
    with Server(serve_http) as server, edited(tmp_path, server.address) as proxy:
        yield proxy


@pytest.fixture
def node(web: Edited) -> Iterator[Node]:
    host, port = web.proxy.address("p")
    node = Node(f"http://{host}:{port}/")
    try:
        yield node
    finally:
        node.close()


OK = {"status": 200, "body": "hello"}


def test_undici_is_kept_alive(web: Edited, node: Node) -> None:
    """Three requests are one connection; the third reply breaks, and the next request opens another."""
    web.edit({"name": "third", "limit": 1, "reset": {"after": {"match": "HTTP/1.1 ", "nth": 3}}})
    assert [node.fetch(), node.fetch()] == [OK, OK]
    assert "error" in node.fetch()
    assert node.fetch() == OK
    assert web.injected(1) == ["p#1"]
    assert web.has_opened(2)


@pytest.mark.parametrize("rule", [{**RESTART, "limit": 1}, {**IDLE, "limit": 1}], ids=["reset", "idle"])
def test_undici_loses_an_idle_connection(web: Edited, node: Node, rule: Settings) -> None:
    """It notices before the next request, which succeeds on another connection."""
    assert node.fetch() == OK
    web.edit(rule)
    assert web.ended(1) == ["p#1"]
    Event().wait(0.1)  # node's event loop is to hear of it
    assert node.fetch() == OK
    assert web.has_opened(2)


def test_undici_is_stuck(web: Edited, node: Node) -> None:
    """A request waits until the edit that removes the hang, and is answered on the same connection."""
    assert node.fetch() == OK
    web.edit(STUCK)
    web.injected(1)
    replies: list[dict[str, Any]] = []
    with Background(lambda: replies.append(node.fetch())):
        Event().wait(0.3)
        assert not replies
        web.edit()
    assert replies == [OK]
    assert web.has_opened(1)
