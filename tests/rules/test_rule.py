"""A rule is a name, conditions, and one or more faults."""

from typing import Any

import pytest
from pydantic import ValidationError

from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import ListenerMode
from faultproxy.rules.rule import BaseRule, Rule


def rule(when: dict[str, Any] | None = None, **keys: Any) -> BaseRule:
    return Rule.model_validate({"name": "r", "when": when or {}, **keys})


def test_faults_stand_in_the_catalogues_order() -> None:
    """Whatever their order in the file; an empty fault has its defaults."""
    both = rule(latency={"delay": "1s"}, close=None, reset={"after": "1B"})
    assert [fault.key for fault in both.faults] == ["reset", "close", "latency"]
    assert list(Rule.model_fields)[-len(CATALOGUE) :] == [f"fault_{kind.key}" for kind in CATALOGUE]


def test_conditions_count_or_choose() -> None:
    """A connection for which the first half holds is counted; the others choose among those, the limit last."""
    full = rule({"probability": 1, "first": 3, "client": "10.0.0.1", "matches": "a"}, limit=2, reset=None)
    assert [one.key for one in full.counting] == ["client", "matches"]
    assert [one.key for one in full.choosing] == ["first", "probability", "limit"]
    assert full.peeks
    assert not rule({"first": 3}, reset=None).peeks


@pytest.mark.parametrize(
    ("keys", "mode"),
    [
        ({"refuse": None}, ListenerMode.CLOSED),
        ({"connect_timeout": None}, ListenerMode.SILENT),
        ({"unreachable": None}, None),
        ({"reset": None}, None),
        ({"refuse": None, "when": {"window": {"from": "1s"}}}, ListenerMode.CLOSED),
        ({"refuse": None, "when": {"first": 3}}, None),
        ({"refuse": None, "limit": 3}, None),
        ({"refuse": None, "expect": {"min": 3}}, ListenerMode.CLOSED),
        ({"refuse": None, "dry_run": True}, None),
    ],
)
def test_the_listeners_mode_for_all(keys: dict[str, Any], mode: ListenerMode | None) -> None:
    """A connect fault for every client is a mode of the listener, if the fault knows one."""
    assert Rule.model_validate({"name": "r", **keys}).mode_for_all is mode


@pytest.mark.parametrize(
    ("keys", "holds"),
    [
        ({"reset": None}, True),
        ({"pass": None}, True),
        ({"refuse": None}, True),
        ({"latency": {"delay": "1s"}}, False),
        ({"slow_connect": {"delay": "1s"}}, False),
        ({"latency": {"delay": "1s"}, "stop": True}, True),
        ({"latency": {"delay": "1s"}, "stop": False}, False),
        ({"reset": None, "stop": False}, False),
        ({"reset": None, "stop": True}, True),
        ({"reset": None, "stop": True, "dry_run": True}, False),
        ({"reset": None, "dry_run": True}, False),
    ],
)
def test_verdicts(keys: dict[str, Any], holds: bool) -> None:
    """All but shapes end the reading, unless stop says otherwise; a dry run never does."""
    assert rule(**keys).holds_verdict is holds


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({}, "has no fault"),
        ({"refuse": None, "reset": None}, "refuse comes before there is a connection, so reset cannot be injected"),
        ({"refuse": None, "when": {"sni": "a", "matches": "b"}}, "remove matches and sni"),
        (
            {"refuse": None, "live": True},
            "add one of reset, broken_pipe, abort, half_close, close, hang, blackhole, latency",
        ),
        ({"refuse": None, "stop": False}, "goes on below refuse, which decides all; remove stop: false"),
        ({"pass": None, "stop": False}, "goes on below pass, which decides all; remove stop: false"),
        ({"name": "two\nlines", "reset": None}, "write a name of one line"),
    ],
)
def test_what_is_no_rule(keys: dict[str, Any], error: str) -> None:
    """The error says what would be right."""
    with pytest.raises(ValidationError, match=error):
        Rule.model_validate({"name": "r", **keys})
