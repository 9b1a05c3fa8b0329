"""Numbers that only grow."""

from dataclasses import replace

from faultproxy.events.bus import Bus
from faultproxy.events.totals import Totals
from faultproxy.events.types import ConfigLoaded, ConfigRejected, Event, UpstreamFailed
from tests.events.samples import DRY_RUN, FAULT, OUTAGE, SAMPLES


def counted(*events: Event) -> Totals:
    totals = Totals()
    bus = Bus(totals)
    for event in events:
        bus.publish(event)
    return totals


def test_faults_by_rule_and_fidelity() -> None:
    """What no rule asked for has an empty rule; an outage is a fault of its rule; the last connection of each is kept."""
    degraded = replace(FAULT, degraded="why", connection="redis#18")
    by_hand = replace(FAULT, rule=None, source="api")
    totals = counted(FAULT, FAULT, degraded, by_hand, OUTAGE, replace(FAULT, proxy="web"))
    assert totals.faults["redis"] == {
        ("cut", "reset", "exact"): 2,
        ("cut", "reset", "degraded"): 1,
        ("", "reset", "exact"): 1,
        ("down", "refuse", "exact"): 1,
    }
    assert totals.faults["web"] == {("cut", "reset", "exact"): 1}
    assert totals.latest["redis"]["cut", "reset", "degraded"] == "redis#18"


def test_dry_runs_and_failures() -> None:
    """Each by its own labels."""
    failed = SAMPLES[UpstreamFailed]
    totals = counted(DRY_RUN, failed, failed)
    assert totals.dry_runs == {"redis": {("cut", "reset"): 1}}
    assert totals.failures == {"redis": {"ECONNREFUSED": 2}}
    assert totals.faults == {}


def test_the_file_that_was_saved_last() -> None:
    """It is rejected, or in force; what the API asks for in vain is no matter of the file."""
    rejected, loaded = SAMPLES[ConfigRejected], SAMPLES[ConfigLoaded]
    assert isinstance(rejected, ConfigRejected)
    assert counted(replace(rejected, source="api")).is_reloaded
    assert not counted(rejected).is_reloaded
    totals = counted(rejected)
    began_at, totals.reloaded_at = totals.reloaded_at, 0
    totals.receive(loaded)
    assert (totals.is_reloaded, totals.reloaded_at >= began_at) == (True, True)
