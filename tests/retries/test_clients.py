"""Real clients behind a proxy that fails them: what the report says of each is what is known of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tenacity
import urllib3
from redis.backoff import ConstantBackoff
from redis.retry import Retry as RedisRetry

from faultproxy.report.report import ClientReport
from tests import servers
from tests.retries.clients import (
    RETRIERS,
    UNDICI_MISSING,
    Ask,
    Retrier,
    loop,
    with_java,
    with_node,
    with_redis,
    with_tenacity,
    with_urllib3,
)
from tests.retries.measuring import http, measured


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with http() as port:
        yield port


def asked(ask: Ask, port: str, failures: int = 5) -> ClientReport:
    return measured(Retrier("it", "so", ask, failures), {"http": port, "redis": port})


def seen_as(kind: str, ask: Ask, port: str, failures: int = 5) -> ClientReport:
    """What the report says of a client, once it is of this kind: a loaded machine may blur a measurement, but not five."""
    clients = (asked(ask, port, failures) for _ in range(5))
    client = next((client for client in clients if client.backoff.kind == kind), None)
    assert client is not None
    return client


def test_a_loop_without_a_wait(web: str) -> None:
    """It comes back at once, every time, and is served in the end."""
    client = seen_as("immediate", loop, web, 20)
    assert [episode.end for episode in client.episodes] == ["recovered"]


def test_urllib3(web: str) -> None:
    """Its first retry comes at once, the others after twice as long each time."""
    client = seen_as("exponential", with_urllib3(urllib3.Retry(8, backoff_factor=0.05)), web, 6)
    assert client.backoff.factor == pytest.approx(2, rel=0.3)
    waits = [0.0, *(0.1 * 2**number for number in range(5))]
    assert all(gap >= wait * 0.99 for gap, wait in zip(client.episodes[0].gaps_s, waits, strict=True))


def test_tenacity(web: str) -> None:
    """Fixed waits are constant, exponential ones exponential; as it comes it does not wait at all."""
    assert seen_as("constant", with_tenacity(wait=tenacity.wait_fixed(0.1)), web).failures == 5
    assert seen_as("exponential", with_tenacity(wait=tenacity.wait_exponential(0.05)), web).failures == 5
    assert seen_as("immediate", with_tenacity(), web, 20).failures == 20


def test_redis_py(tmp_path: Path) -> None:
    """With a backoff of its own that is constant."""
    with servers.redis(tmp_path) as port:
        assert seen_as("constant", with_redis(RedisRetry(ConstantBackoff(0.1), 8)), port).failures == 5


def test_node(web: str) -> None:
    """fetch() does not retry; undici's RetryAgent does."""
    if UNDICI_MISSING is not None:
        pytest.skip(UNDICI_MISSING)
    assert asked(with_node("fetch"), web).backoff.kind == "none"
    client = asked(with_node("undici"), web, 2)
    assert (client.failures, client.episodes[0].end) == (2, "recovered")


def test_java(web: str) -> None:
    """What it does is in docs/retries.md; here only that it fails, and is seen."""
    (retrier,) = (each for each in RETRIERS if each.ask is with_java)
    if retrier.missing is not None:
        pytest.skip(retrier.missing)
    assert asked(with_java, web, 50).failures >= 1


def test_the_page_has_every_client() -> None:
    """docs/retries.md, which scripts/measure-retries writes, has a row for each client with its settings."""
    page = (Path(__file__).parent.parent.parent / "docs" / "retries.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    assert {(row[0].removeprefix("| "), row[2]) for row in rows} == {(each.name, each.settings) for each in RETRIERS}
