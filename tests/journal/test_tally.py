"""Counts of faults, and what they say of expectations."""

from faultproxy.journal.tally import Tally


def struck(times: int) -> Tally:
    tally = Tally()
    for _ in range(times):
        tally.struck("redis", "cold start")
    return tally


def test_counts_are_kept_by_proxy_and_rule() -> None:
    """Two rules, and two rules of one name in two proxies, are counted apart."""
    tally = struck(2)
    tally.struck("redis", "cut")
    tally.struck("web", "cut")
    assert tally.counts("redis") == {"cold start": 2, "cut": 1}
    assert tally.counts("web") == {"cut": 1}
    assert tally.counts("other") == {}


def test_counts_do_not_change_in_the_hands_of_who_asked() -> None:
    """What was handed out is a copy."""
    tally = struck(1)
    tally.counts("redis")["cold start"] = 7
    assert tally.counts("redis") == {"cold start": 1}


def test_too_few_is_said() -> None:
    """A rule that struck less often than expected is told in one sentence."""
    assert struck(2).unmet("redis", {"cold start": (3, None)}) == [
        'redis: "cold start" fired 2 times, expected at least 3'
    ]


def test_too_many_is_said() -> None:
    """A rule that struck more often than expected is told, too; once is one time."""
    assert struck(1).unmet("redis", {"cold start": (None, 0)}) == [
        'redis: "cold start" fired 1 time, expected at most 0'
    ]


def test_a_rule_that_never_struck_is_judged() -> None:
    """Never is zero times; the order is the rules'."""
    assert Tally().unmet("redis", {"b": (1, None), "a": (1, 5), "c": (0, 0)}) == [
        'redis: "b" fired 0 times, expected at least 1',
        'redis: "a" fired 0 times, expected at least 1',
    ]


def test_bounds_are_included() -> None:
    """As often as either bound is as expected, and so is anything where there is none."""
    for times in (2, 3, 4):
        assert struck(times).unmet("redis", {"cold start": (2, 4)}) == []
    assert struck(9).unmet("redis", {"cold start": (None, None)}) == []
