"""Counts of rules begin anew."""

from faultproxy.events.types import CountersReset
from tests.control.http.asking import asking
from tests.managing import ask


async def test_ordinals_counts_and_expectations_begin_anew() -> None:
    """The first connection after it is the first for every rule; what was injected before is not expected any more."""
    rule = {"name": "first", "when": {"first": 1}, "limit": 1, "expect": {"min": 1}, "reset": {"after": "2B"}}
    async with asking(rule) as it:
        address = it.its.address("p")
        assert [await ask(address, b"four") for _ in range(2)] == ["ECONNRESET", b"four"]
        assert it.its.manager.unmet() == []
        answer = await it.api.post("/v1/counters/reset", params={"proxy": "p"})
        assert answer.json() == {"proxies": ["p"]}
        assert it.its.manager.unmet() == ['p: "first" injected 0 faults, expected at least 1']
        assert await ask(address, b"four") == "ECONNRESET"
        status = it.its.manager.proxies["p"].status()
        assert status.rules["first"] == {"considered": 1, "matched": 1, "injected": 1}
        assert it.its.record.of(CountersReset) == [CountersReset(proxy="p", source="api")]
        assert (await it.api.post("/v1/counters/reset")).json() == {"proxies": ["p"]}
        assert (await it.api.post("/v1/counters/reset", params={"proxy": "q"})).status_code == 404
