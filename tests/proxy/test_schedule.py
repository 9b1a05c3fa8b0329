"""What the windows of a proxy's rules ask for, as a script: no clock, no socket."""

import math
from typing import Any

import pytest

from faultproxy.faults.base import ListenerMode
from faultproxy.proxy.schedule import Schedule
from faultproxy.rules.rule import BaseRule, Rule
from faultproxy.rules.rule_set import RuleSet

CLOSED, OPEN, SILENT, INTERCEPTING = ListenerMode
T0 = 1000.0
"""When the rules took effect."""
NOBODY: dict[str, Any] = {"name": "nobody", "when": {"client": "192.0.2.1"}, "refuse": None}
RESET_FROM_2_TO_3 = {"when": {"window": {"from": "2s", "to": "3s"}}, "live": True, "reset": None}


def schedule(*rules: dict[str, Any], enabled: bool = True, open_before: frozenset[str] = frozenset()) -> Schedule:
    parsed: list[BaseRule] = [Rule.model_validate({"name": f"r{number}", **keys}) for number, keys in enumerate(rules)]
    return Schedule(RuleSet.open("p", 0, parsed, T0), is_enabled=enabled, open_before=open_before)


def within(start: str, to: str, **keys: Any) -> dict[str, Any]:
    return {"when": {"window": {"from": start, "to": to}}, **keys}


@pytest.mark.parametrize(
    ("rules", "modes"),
    [
        ((), (OPEN, OPEN)),
        (({"reset": None},), (OPEN, OPEN)),
        (({"refuse": None},), (CLOSED, CLOSED)),
        (({"connect_timeout": None},), (INTERCEPTING, SILENT)),
        (({"unreachable": None},), (INTERCEPTING, OPEN)),
        ((NOBODY,), (INTERCEPTING, OPEN)),
        ((NOBODY, {"refuse": None}), (INTERCEPTING, OPEN)),
        (({"refuse": None}, NOBODY), (CLOSED, CLOSED)),
        (({"connect_timeout": None}, NOBODY), (INTERCEPTING, SILENT)),
        (({"slow_connect": {"delay": "1s"}},), (INTERCEPTING, OPEN)),
        (({"name": "exempt", "when": {"client": "192.0.2.1"}, "pass": None}, {"refuse": None}), (INTERCEPTING, OPEN)),
        (({"refuse": None, "dry_run": True},), (OPEN, OPEN)),
        (({"refuse": None, "limit": 3},), (INTERCEPTING, OPEN)),
    ],
)
def test_modes(rules: tuple[dict[str, Any], ...], modes: tuple[ListenerMode, ListenerMode]) -> None:
    """A fault for everybody is a mode of the listener; one for some takes SYNs, and another mode where it may not."""
    assert schedule(*rules).modes(T0) == modes


@pytest.mark.parametrize("rules", [(), (NOBODY,), ({"connect_timeout": None},)])
def test_a_disabled_proxy_is_closed(rules: tuple[dict[str, Any], ...]) -> None:
    """Whatever its rules say, and that is no outage of theirs."""
    disabled = schedule(*rules, enabled=False)
    assert disabled.modes(T0) == (CLOSED, CLOSED)
    assert disabled.lockout(T0) is None


def test_an_outage_by_its_window() -> None:
    """The mode follows the window, from its first moment to its last, and the edges are known before."""
    outage = schedule(within("2s", "3s", refuse=None))
    assert [outage.modes(T0 + at)[0] for at in (0, 1.999, 2, 2.999, 3, 100)] == [OPEN, OPEN, CLOSED, CLOSED, OPEN, OPEN]
    assert [outage.next_edge(T0 + at) for at in (0, 2, 3)] == [T0 + 2, T0 + 3, math.inf]
    assert [rule.name if rule else None for rule in map(outage.lockout, (T0, T0 + 2, T0 + 3))] == [None, "r0", None]


def test_the_next_edge_is_the_first_of_all() -> None:
    """Of outages, live rules and shapes; a window for others is asked when a client comes."""
    latency = {"latency": {"delay": "1s"}}
    its = schedule(
        within("0.5s", "0.6s", reset=None),
        within("5s", "6s", **latency),
        within("4s", "7s", reset=None, live=True),
        {"when": {"window": {"from": "1s", "to": "2s", "every": "8s"}}, "connect_timeout": None},
    )
    edges, now = [], T0
    for _ in range(7):
        now = its.next_edge(now)
        edges.append(now - T0)
    assert edges == [1, 2, 4, 5, 6, 7, 9]


def test_without_windows_there_is_no_edge() -> None:
    """It need never look again."""
    assert schedule({"refuse": None}, {"latency": {"delay": "1s"}}).next_edge(T0) == math.inf


def test_shapes_by_time() -> None:
    """Whether open connections are to be asked at each edge."""
    latency = {"latency": {"delay": "1s"}}
    assert not schedule(latency, within("0s", "1s", refuse=None)).shapes_by_time
    assert schedule(within("0s", "1s", **latency)).shapes_by_time


def test_live_rules_are_reported_once_when_their_window_opens() -> None:
    """Each opening once; one that was missed while nobody looked is missed."""
    live = schedule(RESET_FROM_2_TO_3, {**RESET_FROM_2_TO_3, "live": False})
    reported = [[rule.name for rule in live.opened(T0 + at)] for at in (0, 1.9, 2, 2.5, 3, 10)]
    assert reported == [[], [], ["r0"], [], [], []]
    every = schedule({"when": {"window": {"to": "1s", "every": "2s"}}, "live": True, "reset": None})
    assert [len(every.opened(T0 + at)) for at in (0, 0.5, 1, 2, 2.1, 4.5, 5.9)] == [1, 0, 0, 1, 0, 0, 0]


def test_an_edit_does_not_open_a_window_again() -> None:
    """What was open before, by the rule's name, has been reported already."""
    before = schedule(RESET_FROM_2_TO_3)
    before.opened(T0 + 2)
    after = schedule(RESET_FROM_2_TO_3, {**RESET_FROM_2_TO_3, "name": "new"}, open_before=before.open_windows)
    assert [rule.name for rule in after.opened(T0 + 2.1)] == ["new"]
