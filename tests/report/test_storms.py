"""What the clients of a proxy do together."""

import random

import pytest

from faultproxy.report.storms import Storm
from faultproxy.report.text import as_text
from tests.report.events import Script

OUTAGE_S = (20.0, 25.0)


def crowd(waits: list[list[float]], *, is_seen: bool = True) -> Script:
    """Fifty clients, each served once a second, an outage of 5 s, and their retries.

    ``is_seen`` says whether those that are refused are seen.
    """
    script = Script()
    if not is_seen:
        script.outage(*OUTAGE_S)
    for number, gaps in enumerate(waits):
        client = f"10.0.0.{number}"
        offset_s = number / len(waits)
        for second in range(20):
            script.serves(second + offset_s, client)
        at_s = 20.0 + offset_s
        for gap_s in gaps:
            if at_s >= OUTAGE_S[1]:
                break
            if is_seen:
                script.fails(at_s, client)
            at_s += gap_s
        script.serves(at_s, client)
    return script


def only(script: Script) -> Storm:
    (storm,) = script.report().proxies[0].storms
    return storm


def test_a_storm_against_before() -> None:
    """Fifty clients that come twenty times a second instead of once: the peak, and the rate before."""
    storm = only(crowd([[0.05] * 200] * 50))
    assert (storm.clients, storm.rate_before) == (50, 50.0)
    assert 900 <= storm.peak <= 1100
    assert storm.is_storm


def test_jitter_makes_the_difference() -> None:
    """Clients that all wait for the same second come back as a herd; with jitter they are spread."""
    draw = random.Random(1)
    together = [[25.3 - 20 - number / 50] for number in range(50)]
    spread = [[draw.uniform(5, 10)] for _ in range(50)]
    herd, calm = only(crowd(together)), only(crowd(spread))
    assert (herd.returned, herd.herd, herd.is_herd) == (50, 50, True)
    assert (calm.returned, calm.is_herd) == (50, False)
    assert calm.herd <= 5
    assert herd.peak_after >= 50 > calm.peak_after


def test_an_outage_that_nobody_saw() -> None:
    """Its end is known all the same, and who came back then."""
    storm = only(crowd([[5.5 - number / 50] for number in range(50)], is_seen=False))
    assert (storm.started_s, storm.ended_s, storm.had_outage) == (20.0, 25.0, True)
    assert (storm.attempts, storm.herd) == (0, 50)


def test_the_buckets_hold_every_attempt_around_it() -> None:
    """Served and failed apart; their sum over the storm is what it counts."""
    storm = only(crowd([[1.0] * 10] * 50))
    assert len(storm.served) == len(storm.failed) <= 120
    assert sum(storm.failed) == 250
    assert storm.begins_s < storm.started_s


def test_disturbances_that_are_far_apart_are_two() -> None:
    """And each has its own before."""
    script = Script()
    for at_s in (10.0, 50.0):
        for number in range(5):
            script.retries([0.1, 0.2], at_s=at_s, client=f"10.0.0.{number}")
    first, second = script.report().proxies[0].storms
    assert (first.started_s, second.started_s) == (0.0, 40.0)
    assert first.rate_before is None
    assert second.rate_before == 0.0


def test_the_text_says_it() -> None:
    """Storm and herd by name, with the numbers; of a single client nothing is said."""
    text = as_text(crowd([[0.05] * 120] * 50).report())
    assert "a retry storm: 50 clients made " in text
    assert " a second at the peak against 50 before" in text
    herd = as_text(crowd([[5.3 - number / 50] for number in range(50)]).report())
    assert "at its end 50 of 50 clients came back within 0.1 s: a herd; " in herd
    alone = Script()
    alone.retries([0.1, 0.2, 0.4])
    assert "at the peak" not in as_text(alone.report())


@pytest.mark.parametrize("clients", [0, 1])
def test_no_storm_without_failures(clients: int) -> None:
    """Nor without clients."""
    script = Script()
    for number in range(clients):
        script.serves(float(number))
    assert all(proxy.storms == () for proxy in script.report().proxies)


def test_what_is_reset_later_was_served_until_then() -> None:
    """A connection that a fault ends after its beginning is no failure of before the disturbance."""
    script = Script()
    for number in range(10):
        script.injects(20.0, script.opens(19.0 + number / 20, f"10.0.0.{number}"))
        script.fails(20.5, f"10.0.0.{number}")
        script.serves(21.0, f"10.0.0.{number}")
    storm = only(script)
    before = int((storm.started_s - storm.begins_s) / storm.bucket_s)
    assert sum(storm.failed[:before]) == 0
    assert sum(storm.failed) == 10
