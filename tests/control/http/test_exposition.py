"""How metrics become text: piece by piece, and as if it were done at once."""

from typing import Any

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from faultproxy.control.http import exposition
from faultproxy.control.http.metrics import Measurements
from faultproxy.events.totals import Totals
from faultproxy.upstream.durations import Durations
from tests.managing import Managed, at, managed

NAMES = [f"p{number}" for number in range(120)] + ['a "quoted" \\ name', "ünïcode"]
OPEN = "application/openmetrics-text; version=1.0.0"


def measured(its: Managed) -> Measurements:
    return Measurements(its.stats, Totals(), Durations())


@pytest.mark.parametrize("accept", ["", "text/plain", "text/plain;version=1.0.0", OPEN, "application/openmetrics-text"])
async def test_many_proxies(accept: str) -> None:
    """Each metric once, with all proxies, whatever they are called; a family's help and type stand once, before it."""
    async with managed({"proxies": {name: at("127.0.0.1:1") for name in NAMES}}) as its:
        body, content_type = await exposition.render(its.manager, measured(its), accept)
        text = body.decode()
        is_open = content_type.startswith("application/openmetrics-text")
        assert is_open is accept.startswith("application/openmetrics-text")
        assert text.count("# EOF") == is_open
        parse: Any = open_metrics if is_open else prometheus_text
        families: list[Any] = list(parse(text))
        assert len({each.name for each in families}) == len(families) == text.count("# HELP") == text.count("# TYPE")
        (opened,) = [family for family in families if family.name == "faultproxy_connections_open"]
        assert [sample.labels["proxy"] for sample in opened.samples] == NAMES


async def test_connections_do_not_wait() -> None:
    """While the text is made others have their turn, many times."""
    async with managed({"proxies": {name: at("127.0.0.1:1") for name in NAMES}}) as its, trio.open_nursery() as nursery:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        nursery.start_soon(count)
        await exposition.render(its.manager, measured(its), "")
        assert turns > 10
        nursery.cancel_scope.cancel()


async def test_an_exemplar_that_is_too_long_is_left_out() -> None:
    """OpenMetrics allows 128 characters of them; the name of a proxy may have 200."""
    rule = {"name": "cut", "reset": None}
    names = ["x" * 150, "short"]
    async with managed({"proxies": {name: at("127.0.0.1:1", rule) for name in names}}) as its:
        its_own = measured(its)
        its_own.totals.latest |= {name: {("cut", "reset", "exact"): f"{name}#1"} for name in names}
        body, _ = await exposition.render(its.manager, its_own, OPEN)
        assert body.count(b"connection=") == body.count(b'connection="short#1"') == 1
