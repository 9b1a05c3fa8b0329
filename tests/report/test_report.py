"""The report as values."""

import json
from typing import Any

import orjson
import pytest

from faultproxy.events.types import ProxyStarted, ProxyStopped
from faultproxy.report.report import as_json
from tests.report.events import Script, report_of


def test_a_client_is_found_by_its_address() -> None:
    """At one proxy, or at the one that is named; who is not there is told from who is."""
    shop, bank = Script(), Script("bank")
    shop.retries([0.1, 0.1, 0.1, 0.1])
    report = shop.report()
    assert report.client("10.0.0.7").backoff.kind == "constant"
    with pytest.raises(LookupError, match=r"^10\.0\.0\.9 was not seen to fail; those that were: 10\.0\.0\.7$"):
        report.client("10.0.0.9")
    with pytest.raises(LookupError, match=r"^10\.0\.0\.7 was not seen to fail at bank; those that were: 10\.0\.0\.7$"):
        report.client("10.0.0.7", "bank")
    shop.outage(20.0, 30.0)
    with pytest.raises(LookupError, match=r"^10\.0\.0\.9 was not seen .* while an outage lasts the kernel refuses"):
        shop.report().client("10.0.0.9")
    with pytest.raises(LookupError, match=r"^10\.0\.0\.9 was not seen to fail; no client was$"):
        bank.report().client("10.0.0.9")
    bank.fails(1.0)
    both = report_of([*shop.events, *bank.events])
    with pytest.raises(LookupError, match="failed at shop, bank; say at which proxy"):
        both.client("10.0.0.7")
    assert both.client("10.0.0.7", "bank").failures == 1


def test_it_is_json() -> None:
    """All of it, times from the first event on; nothing is lost."""
    script = Script()
    script.serves(50.0)
    script.retries([0.1, 0.2, 0.4, 0.8], at_s=52.0)
    script.outage(54.0, 55.0)
    plain = as_json(script.report())
    assert json.loads(orjson.dumps(plain)) == plain
    (client,) = plain["clients"]
    (episode,) = client["episodes"]
    assert episode["started_s"] == 2.0
    assert episode["causes"] == [{"rule": "cut", "fault": "reset", "sees": "ECONNRESET"}]
    assert client["backoff"]["factor"] == 2.0
    assert plain["proxies"][0]["outages"][0]["started_s"] == 4.0


def test_what_could_not_be_seen_is_said() -> None:
    """An outage in which the kernel refuses; a client that waits in vain."""
    script = Script()
    script.outage(1.0, 2.0)
    script.injects(
        3.0, {"proxy": "shop", "connection": "shop#9", "client": "10.0.0.7:9"}, "ETIMEDOUT", "gone", "connect_timeout"
    )
    script.serves(6.0)
    notes = " ".join(script.report().notes)
    assert "the kernel refuses clients that are not seen" in notes
    assert "its own timeout is part of the wait" in notes
    assert not Script().report().notes


@pytest.mark.parametrize(
    ("stops_s", "end"), [(3.5, "still failing"), (60.0, "never came back"), (None, "still failing")]
)
def test_an_episode_does_not_outlast_its_run(stops_s: float | None, end: str) -> None:
    """What a client does when faultproxy has been started again, after whatever happened meanwhile, is another one."""
    script = Script()
    other: dict[str, Any] = {"proxy": "bank", "listen": "", "upstream": "", "rules": 0, "seed": 0, "config": {}}
    started = other | {"proxy": "shop"}
    script.add(0.0, ProxyStarted(run="a", **started))
    for at_s in (1.0, 1.1, 1.3):
        script.fails(at_s)
    script.add(1.2, ProxyStarted(run="a", **other))
    if stops_s is not None:
        script.add(stops_s, ProxyStopped(proxy="shop", connections=3, faults={}))
    script.add(100.0, ProxyStarted(run="b", **started))
    script.retries([0.1, 0.2], at_s=101.0)
    first, second = script.report().client("10.0.0.7").episodes
    assert (first.attempts, first.gaps_s, first.end) == (3, (0.1, 0.2), end)
    assert (second.attempts, second.gaps_s, second.end) == (3, (0.1, 0.2), "recovered")
