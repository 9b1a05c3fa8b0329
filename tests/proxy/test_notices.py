"""What a proxy publishes of itself is published once for each change."""

from typing import Any

import pytest

from faultproxy.connection import host
from faultproxy.events.bus import Bus
from faultproxy.events.types import FaultUnavailable, OutageEnded, OutageStarted
from faultproxy.faults.base import Need
from faultproxy.proxy.notices import Notices
from faultproxy.rules.rule import BaseRule, Rule
from faultproxy.rules.rule_set import RuleSet
from tests.managing import Record

REASON = "SYNs cannot be intercepted here"
SOME: dict[str, Any] = {"when": {"first": 1}}


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def notices(record: Record) -> Notices:
    return Notices("p", Bus(record))


@pytest.fixture(autouse=True)
def missing(monkeypatch: pytest.MonkeyPatch) -> dict[Need, str]:
    """What this host lacks: nothing, unless a test says so."""
    reasons: dict[Need, str] = {}
    monkeypatch.setattr(host, "why_missing", reasons.get)
    return reasons


def rule(name: str = "r", **keys: Any) -> BaseRule:
    return Rule.model_validate({"name": name, **keys})


def rules(*rules: BaseRule) -> RuleSet:
    return RuleSet.open("p", 0, rules, 0.0)


def test_an_outage_begins_and_ends(notices: Notices, record: Record) -> None:
    """However often it is reported that it lasts; a rule that keeps its name through an edit is the same."""
    for _ in range(3):
        notices.outage(rule("down", refuse=None))
    notices.outage(None)
    notices.outage(None)
    assert record.events == [
        OutageStarted(proxy="p", rule="down", fault="refuse", client_sees="ECONNREFUSED"),
        OutageEnded(proxy="p", rule="down", fault="refuse"),
    ]


def test_an_outage_gives_way_to_another(notices: Notices, record: Record) -> None:
    """The one ends before the other begins."""
    notices.outage(rule("down", refuse=None))
    notices.outage(rule("silent", connect_timeout=None))
    assert record.events[1:] == [
        OutageEnded(proxy="p", rule="down", fault="refuse"),
        OutageStarted(proxy="p", rule="silent", fault="connect_timeout", client_sees="ETIMEDOUT"),
    ]


def test_an_edit_gives_an_outage_another_fault(notices: Notices, record: Record) -> None:
    """Under the same name it is another outage, as clients see another error; what has begun is what ends."""
    notices.outage(rule("down", refuse=None))
    notices.outage(rule("down", connect_timeout=None))
    notices.outage(None)
    assert record.events == [
        OutageStarted(proxy="p", rule="down", fault="refuse", client_sees="ECONNREFUSED"),
        OutageEnded(proxy="p", rule="down", fault="refuse"),
        OutageStarted(proxy="p", rule="down", fault="connect_timeout", client_sees="ETIMEDOUT"),
        OutageEnded(proxy="p", rule="down", fault="connect_timeout"),
    ]


def unavailable(*faults: str, reason: str = REASON) -> FaultUnavailable:
    return FaultUnavailable(proxy="p", faults=faults, reason=reason)


def test_what_is_not_allowed_is_reported_with_its_reason(
    notices: Notices, record: Record, missing: dict[Need, str]
) -> None:
    """A line a reason, each fault in it once, and none for what is allowed."""
    missing[Need.DESTROY] = "in another namespace"
    some = rules(
        rule("a", refuse=None, **SOME), rule("b", refuse=None, **SOME), rule("c", unreachable=None, **SOME),
        rule("d", abort=None, **SOME), rule("e", hang={"acks": False}),
    )  # fmt: skip
    notices.unavailable(some, REASON)
    assert record.events == [unavailable("refuse", "unreachable"), unavailable("abort", reason="in another namespace")]


def test_it_is_reported_once(notices: Notices, record: Record) -> None:
    """After an edit too, unless other faults are concerned, or it has another reason; what is allowed is not reported."""
    notices.unavailable(rules(rule(refuse=None, **SOME)), REASON)
    notices.unavailable(rules(rule("other", refuse=None, **SOME)), REASON)
    assert len(record.events) == 1
    notices.unavailable(rules(rule(unreachable=None, **SOME)), REASON)
    notices.unavailable(rules(rule(unreachable=None, **SOME)), "another")
    notices.unavailable(rules(rule(unreachable=None, **SOME)), None)
    notices.unavailable(rules(rule(unreachable=None, **SOME)), "another")
    assert record.events[1:] == [
        unavailable("unreachable"),
        unavailable("unreachable", reason="another"),
        unavailable("unreachable", reason="another"),
    ]


def test_a_silent_listener_needs_no_interception(notices: Notices, record: Record, missing: dict[Need, str]) -> None:
    """A connect timeout for everybody takes a filter only."""
    silent = rules(rule(connect_timeout=None), rule("some", connect_timeout=None, **SOME))
    notices.unavailable(rules(rule(connect_timeout=None)), REASON)
    assert not record.events
    missing[Need.FILTER] = "no filter"
    notices.unavailable(silent, REASON)
    assert record.events == [unavailable("connect_timeout")]


def test_a_listener_without_syns_cannot_be_silent(notices: Notices, record: Record) -> None:
    """At a Unix socket a connect timeout for everybody is not possible either."""
    notices.unavailable(rules(rule(connect_timeout=None)), REASON, has_syns=False)
    assert record.events == [unavailable("connect_timeout")]
