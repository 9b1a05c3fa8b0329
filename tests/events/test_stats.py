"""Counts of faults, and what they say of expectations."""

from dataclasses import replace

from faultproxy.events.stats import Stats
from faultproxy.events.types import Event
from tests.events.samples import DRY_RUN, FAULT, OPENED, OUTAGE

COLD_START = replace(FAULT, rule="cold start")


def reported(*events: Event) -> Stats:
    """The stats that received these events."""
    stats = Stats()
    for event in events:
        stats.receive(event)
    return stats


def test_counts_are_kept_by_proxy_and_rule() -> None:
    """Two rules, and two rules of one name in two proxies, are counted apart; dry runs apart from all."""
    stats = reported(COLD_START, COLD_START, FAULT, replace(FAULT, proxy="web"), DRY_RUN)
    assert stats.injected("redis") == {"cold start": 2, "cut": 1}
    assert stats.injected("web") == {"cut": 1}
    assert stats.injected("other") == {}
    assert (stats.dry_runs("redis"), stats.dry_runs("web")) == ({"cut": 1}, {})


def test_an_outage_is_a_fault_of_its_rule() -> None:
    """Each time that it starts."""
    assert reported(OUTAGE, OUTAGE).injected("redis") == {"down": 2}


def test_the_count_of_an_event_is_its_rules() -> None:
    """Of its own kind, by now, this one included; an event of no rule has none."""
    stats = reported(FAULT, DRY_RUN, FAULT, OUTAGE, replace(FAULT, fault="close"))
    assert (stats.count(FAULT), stats.count(DRY_RUN), stats.count(OUTAGE), stats.count(OPENED)) == (3, 1, 1, None)


def test_faults_by_hand_are_counted_apart() -> None:
    """Those of a proxy together; they are none of its rules'."""
    by_hand = replace(FAULT, rule=None, source="api")
    stats = reported(FAULT, by_hand, replace(by_hand, fault="close"))
    assert (stats.count(by_hand), stats.injected("redis")) == (2, {"cut": 1})


def test_a_proxys_counts_begin_anew() -> None:
    """Faults, dry runs and those by hand; those of other proxies go on."""
    by_hand, web = replace(FAULT, rule=None, source="api"), replace(FAULT, proxy="web")
    stats = reported(FAULT, DRY_RUN, by_hand, web)
    stats.reset("redis")
    for event in (FAULT, DRY_RUN, by_hand, web):
        stats.receive(event)
    assert [stats.count(event) for event in (FAULT, DRY_RUN, by_hand, web)] == [1, 1, 1, 2]


def test_counts_do_not_change_in_the_hands_of_who_asked() -> None:
    """What was handed out is a copy."""
    stats = reported(FAULT)
    stats.injected("redis")["cut"] = 7
    assert stats.injected("redis") == {"cut": 1}


def test_too_few_is_said() -> None:
    """A rule that injected fewer faults than expected is reported in one sentence."""
    assert reported(COLD_START, COLD_START).unmet("redis", {"cold start": (3, None)}) == [
        'redis: "cold start" injected 2 faults, expected at least 3'
    ]


def test_too_many_is_said() -> None:
    """A rule that injected more faults than expected is reported, too; one is one fault."""
    assert reported(COLD_START).unmet("redis", {"cold start": (None, 0)}) == [
        'redis: "cold start" injected 1 fault, expected at most 0'
    ]


def test_a_rule_that_injected_nothing_is_judged() -> None:
    """Nothing is zero faults; the order is the rules'."""
    assert reported().unmet("redis", {"b": (1, None), "a": (1, 5), "c": (0, 0)}) == [
        'redis: "b" injected 0 faults, expected at least 1',
        'redis: "a" injected 0 faults, expected at least 1',
    ]


def test_bounds_are_included() -> None:
    """As many as either bound are as expected, and so is anything where there is none."""
    for times in (2, 3, 4):
        assert reported(*[FAULT] * times).unmet("redis", {"cut": (2, 4)}) == []
    assert reported(*[FAULT] * 9).unmet("redis", {"cut": (None, None)}) == []
