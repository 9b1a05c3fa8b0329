"""What is kept of events, and how much of it."""

from dataclasses import replace

from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.events.types import ConnectionClosed, ConnectionCrashed, ConnectionOpened, Event, UpstreamFailed
from faultproxy.testing.history import MOST_CONNECTIONS, MOST_FAULTS, History
from tests.events.samples import DRY_RUN, FAULT, FIELDS, OPENED, OUTAGE

CLOSED = ConnectionClosed(**FIELDS[ConnectionClosed])
FAILED = UpstreamFailed(**FIELDS[UpstreamFailed])


def reported(*events: Event) -> History:
    """The history of a bus on which this was published."""
    stats = Stats()
    history = History(stats)
    bus = Bus(stats, history)
    for event in events:
        bus.publish(event)
    return history


def test_a_fault_has_the_fields_of_its_event() -> None:
    """And the count of its rule; the reason only where it was degraded."""
    exact, degraded = reported(FAULT, replace(FAULT, degraded="no CAP_NET_ADMIN", ordinal=7)).faults
    assert (exact.fault, exact.rule, exact.ordinal, exact.injected) == ("reset", "cut", 3, 1)
    assert (exact.connection, exact.client) == ("redis#17", "10.0.0.1:5555")
    assert (exact.client_sees, exact.trigger) == ("ECONNRESET", "4KiB downstream")
    assert (exact.options, exact.bytes_upstream, exact.bytes_downstream) == ({"after": "4KiB"}, 20, 4096)
    assert (exact.elapsed_ms, exact.fidelity, exact.reason) == (1.235, "exact", None)
    assert (degraded.ordinal, degraded.injected) == (7, 2)
    assert (degraded.fidelity, degraded.reason) == ("degraded", "no CAP_NET_ADMIN")


def test_a_connection_is_its_event() -> None:
    """And can be held in a set, as any frozen data."""
    (connection,) = reported(CLOSED).connections
    assert connection is CLOSED
    assert {connection}


def test_the_last_are_kept_and_all_are_counted() -> None:
    """The memory of a long test stays bounded."""
    history = reported(
        *[replace(CLOSED, connection=f"redis#{number}") for number in range(MOST_CONNECTIONS + 10)],
        *[FAULT] * (MOST_FAULTS + 10),
    )
    assert (len(history.connections), history.closed) == (MOST_CONNECTIONS, MOST_CONNECTIONS + 10)
    assert history.connections[0].connection == "redis#10"
    assert (len(history.faults), history.count("reset")) == (MOST_FAULTS, MOST_FAULTS + 10)


def test_a_fault_is_found_also_when_it_is_no_longer_kept() -> None:
    """By its number; where that is gone, the oldest that is kept, or else the latest of its kind."""
    faults = (replace(FAULT, ordinal=number) for number in range(MOST_FAULTS + 10))
    history = reported(replace(FAULT, fault="close"), *faults)

    def ordinal(nth: int) -> int | None:
        fault = history.found("reset", "cut", nth)
        return None if fault is None else fault.ordinal

    numbers = ordinal(1), ordinal(10), ordinal(11), ordinal(12), ordinal(MOST_FAULTS + 10)
    assert numbers == (10, 10, 10, 11, MOST_FAULTS + 9)
    assert ordinal(MOST_FAULTS + 11) is None
    close = history.found("close", None, 1)
    assert close is not None
    assert close.fault == "close"


def test_counts_are_by_rule_and_fault() -> None:
    """Either may be left open; outages are counted too, dry runs apart."""
    history = reported(FAULT, replace(FAULT, fault="close"), replace(DRY_RUN, rule="watch"), OUTAGE, OUTAGE)
    assert (history.count(), history.count(rule="cut"), history.count("reset")) == (4, 2, 1)
    assert (history.count("close", "cut"), history.count("close", "down"), history.count(rule="watch")) == (1, 0, 0)
    assert [fault.injected for fault in history.faults if fault.rule == "down"] == [1, 2]
    assert [(fault.rule, fault.injected) for fault in history.dry_runs] == [("watch", 1)]


def test_news_come_after_what_is_kept() -> None:
    """Whoever waits looks again, and finds it; what is not kept is not wanted."""
    seen: list[int] = []
    stats = Stats()
    history = History(stats, lambda: seen.append(history.count()))
    bus = Bus(stats, history)
    assert not bus.wants(ConnectionOpened)
    bus.publish(OPENED)
    bus.publish(FAULT)
    assert seen == [1]


def test_a_crash_is_kept() -> None:
    """With its traceback, to be raised in the test."""
    (crash,) = reported(ConnectionCrashed.because_of(ValueError("bug"), proxy="p", connection="p#1")).crashes
    assert "ValueError: bug" in crash


def test_the_report_shows_fifty_of_each() -> None:
    """And says how many came before; nothing is said of what there was none of."""
    lines = reported(*[FAULT] * 60, FAILED, DRY_RUN, CLOSED).report().splitlines()
    fault = "'cut' no. 3: reset, 4KiB downstream, client sees ECONNRESET; 20 B up, 4096 B down"
    assert lines[:2] == ["injected: 10 earlier ones", f"injected: redis#17 10.0.0.1:5555: {fault}"]
    assert lines[51:] == [
        f"dry run: redis#17 10.0.0.1:5555: {fault}",
        "upstream failed: redis#17: ECONNREFUSED",
        "closed: redis#17 10.0.0.1:5555: 20 B up, 4096 B down, ended by fault after 12.5 ms, faults: reset",
    ]
    assert reported().report() == ""
