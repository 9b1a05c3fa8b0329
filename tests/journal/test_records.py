"""What is kept of a log, and how much of it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from faultproxy.journal.events import Journal, Strike
from faultproxy.journal.records import MOST_CONNECTIONS, MOST_FAULTS, Records

STRIKE = Strike(
    proxy="redis",
    connection="redis#1",
    client="10.0.0.1:5555",
    upstream="redis:6379",
    rule="cut",
    fault="reset",
    count=1,
    options={"after": "4KiB"},
    trigger="4KiB downstream",
    client_sees="ECONNRESET",
    bytes_upstream=20,
    bytes_downstream=4096,
    elapsed_ms=1.5,
)


def told(*tell: Callable[[Journal], None]) -> Records:
    """The records of a journal that tells this."""
    records = Records(lambda: None)
    journal = Journal(records, "json", "debug")
    for each in tell:
        each(journal)
    return records


def closed(number: int, *faults: str) -> Callable[[Journal], None]:
    return lambda journal: journal.connection_closed(
        proxy="redis",
        connection=f"redis#{number}",
        client="10.0.0.1:5555",
        rule=None,
        faults=faults,
        bytes_upstream=1,
        bytes_downstream=2,
        duration_ms=3.0,
        ended_by="client",
    )


def test_a_fault_has_the_fields_of_its_line() -> None:
    """All that tell of the fault; the reason only where it was degraded."""
    exact, degraded = told(
        lambda journal: journal.fault_injected(STRIKE),
        lambda journal: journal.fault_injected(replace(STRIKE, degraded="no CAP_NET_ADMIN", count=2)),
    ).faults
    assert (exact.fault, exact.rule, exact.count, exact.connection) == ("reset", "cut", 1, "redis#1")
    assert (exact.client, exact.client_sees, exact.trigger) == ("10.0.0.1:5555", "ECONNRESET", "4KiB downstream")
    assert (exact.options, exact.bytes_upstream, exact.bytes_downstream) == ({"after": "4KiB"}, 20, 4096)
    assert (exact.elapsed_ms, exact.fidelity, exact.reason) == (1.5, "exact", None)
    assert (degraded.count, degraded.fidelity, degraded.reason) == (2, "degraded", "no CAP_NET_ADMIN")


def test_a_connection_has_the_fields_of_its_line() -> None:
    """And can be held in a set, as any frozen data."""
    (connection,) = told(closed(7, "latency", "reset")).connections
    assert (connection.connection, connection.faults, connection.ended_by) == (
        "redis#7",
        ("latency", "reset"),
        "client",
    )
    assert (connection.bytes_upstream, connection.bytes_downstream, connection.duration_ms) == (1, 2, 3.0)
    assert {connection}


def test_the_last_are_kept_and_all_are_counted() -> None:
    """The memory of a long test stays bounded."""
    records = told(
        *[closed(number) for number in range(MOST_CONNECTIONS + 10)],
        *[lambda journal: journal.fault_injected(STRIKE)] * (MOST_FAULTS + 10),
    )
    assert (len(records.connections), records.closed) == (MOST_CONNECTIONS, MOST_CONNECTIONS + 10)
    assert records.connections[0].connection == "redis#10"
    assert (len(records.faults), records.struck("reset")) == (MOST_FAULTS, MOST_FAULTS + 10)


def test_what_struck_is_found_also_when_it_is_no_longer_kept() -> None:
    """By its number; where that is gone, the oldest that is kept, or else the latest of its kind."""
    strikes = [replace(STRIKE, fault="close"), *(replace(STRIKE, count=number) for number in range(MOST_FAULTS + 10))]
    records = told(*[partial(Journal.fault_injected, strike=strike) for strike in strikes])

    def count(nth: int) -> int | None:
        fault = records.found("reset", "cut", nth)
        return None if fault is None else fault.count

    assert (count(1), count(10), count(11), count(12), count(MOST_FAULTS + 10)) == (10, 10, 10, 11, MOST_FAULTS + 9)
    assert count(MOST_FAULTS + 11) is None
    close = records.found("close", None, 1)
    assert close is not None
    assert close.fault == "close"


def test_counts_are_by_rule_and_fault() -> None:
    """Either may be left open; shadows and outages are counted too, shadows apart."""
    records = told(
        lambda journal: journal.fault_injected(STRIKE),
        lambda journal: journal.fault_injected(replace(STRIKE, fault="close")),
        lambda journal: journal.fault_shadowed(replace(STRIKE, rule="watch")),
        lambda journal: journal.outage_started(proxy="redis", rule="down", fault="refuse"),
        lambda journal: journal.outage_ended(proxy="redis", rule="down", fault="refuse"),
        lambda journal: journal.outage_started(proxy="redis", rule="down", fault="refuse"),
    )
    assert (records.struck(), records.struck(rule="cut"), records.struck("reset")) == (4, 2, 1)
    assert (records.struck("close", "cut"), records.struck("close", "down"), records.struck(rule="watch")) == (1, 0, 0)
    assert (records.shadowed("watch"), records.shadowed("cut")) == (1, 0)
    assert [fault.count for fault in records.faults if fault.rule == "down"] == [1, 2]
    assert len(records.shadows) == 1


def test_news_are_told_after_they_are_kept() -> None:
    """Whoever waits looks again, and finds it."""
    seen: list[int] = []
    records = Records(lambda: seen.append(records.struck()))
    journal = Journal(records, "json", "debug")
    journal.connection_opened(proxy="redis", connection="redis#1", client="10.0.0.1:5555")
    journal.fault_injected(STRIKE)
    assert seen == [0, 1]


def test_a_crash_is_kept() -> None:
    """With its traceback, to be raised in the test."""
    (crash,) = told(lambda journal: journal.crashed(proxy="p", connection="p#1", error=ValueError("bug"))).crashes
    assert "ValueError: bug" in crash


def test_the_report_shows_fifty_of_each() -> None:
    """And says how many came before; nothing is said of what there was none of."""
    records = told(
        *[lambda journal: journal.fault_injected(STRIKE)] * 60,
        lambda journal: journal.upstream_failed(
            proxy="redis", connection="redis#1", error="ECONNREFUSED", elapsed_ms=1.0
        ),
    )
    lines = records.report().splitlines()
    assert lines[0] == "fault: 10 earlier ones"
    assert lines[1] == (
        "fault: redis#1 10.0.0.1:5555: 'cut' no. 1: reset, 4KiB downstream, client sees ECONNRESET; 20 B up, 4096 B down"
    )
    assert lines[51:] == ["upstream failed: redis#1: ECONNREFUSED"]
    assert told().report() == ""
