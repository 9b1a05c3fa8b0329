"""Tables show what the API answers, and nothing in it steers a terminal."""

import io
import re
from collections.abc import Mapping
from typing import Any

from rich.console import Console, RenderableType

from faultproxy.ctl import tables

EVIL = "\x1b[2J\x07\nx\u202e"
CONNECTION: Mapping[str, Any] = {
    "connection": "redis#17",
    "client": "10.0.0.1:5555",
    "state": "closed",
    "age_ms": 61_000.0,
    "bytes_upstream": 100,
    "bytes_downstream": 4096,
    "rule": None,
    "faults": ["latency", "reset"],
    "ended_by": "fault",
}


def shown(table: RenderableType, width: int = 200) -> list[list[str]]:
    """The cells of each line, as they are printed on a terminal."""
    output = io.StringIO()
    Console(file=output, force_terminal=True, width=width, color_system=None).print(table)
    return [[cell for cell in re.split("  +", line.strip()) if cell] for line in output.getvalue().splitlines()]


def rule(**given: Any) -> dict[str, Any]:
    counts = {"considered": 9, "matched": 3, "injected": 2, "dry_runs": 0, "expect": None, "window": None}
    return {"name": "cut", "rule": {"name": "cut", "reset": {"after": "4KiB"}}, **counts, **given}


def test_a_rule_says_what_it_does_and_has_done() -> None:
    """With what is expected of it, and its window."""
    window = {"is_open": False, "next_edge_s": 12.0}
    lines = shown(tables.rules([rule(), rule(name="b", expect={"min": 1, "max": None, "is_met": True}, window=window)]))
    assert lines[0] == ["rule", "does", "considered", "matched", "injected", "expect", "window"]
    assert lines[2] == ["cut", "reset: {after: 4KiB}", "9", "3", "2", "-", "-"]
    assert lines[3] == ["b", "reset: {after: 4KiB}", "9", "3", "2", "1..", "closed, opens in 12.0s"]


def test_a_proxy_without_rules_and_connections_is_a_line() -> None:
    """And an empty list is a head alone."""
    proxy = {
        "name": "web",
        "state": "outage",
        "listen": ":1",
        "upstream": "a:2",
        "open": 0,
        "connections": 5,
        "rules": [],
    }
    assert shown(tables.proxies([proxy]))[2] == ["web", "outage", ":1", "a:2", "0", "5", "0", "0"]
    assert len(shown(tables.proxies([]))) == 2


def test_a_connection_shows_how_it_ended() -> None:
    """Sizes and times in units."""
    lines = shown(tables.connections({"open": 3, "connections": [CONNECTION]}))
    assert lines[2] == [
        "redis#17",
        "10.0.0.1:5555",
        "closed by fault",
        "61.0s",
        "100B",
        "4.0KiB",
        "-",
        "latency, reset",
    ]
    assert lines[-1] == ["3 open"]


def test_a_story_has_what_each_rule_said() -> None:
    """And what was injected by hand, which has no rule."""
    fault = {
        "fault": "reset",
        "rule": None,
        "options": {"to": "both"},
        "trigger": "at once",
        "client_sees": "ECONNRESET",
    }
    said = [{"rule": "cut", "holds": True, "because": "1st"}]
    lines = shown(tables.connection({**CONNECTION, "rules": said, "injected": [{**fault, "elapsed_ms": 12.0}]}))
    assert ["cut", "1st"] in lines
    assert ["reset", "-", "to: both", "at once", "ECONNRESET", "12ms"] in lines


def test_an_event_is_one_line() -> None:
    """Whatever it holds; what is long and what every line has is left out."""
    line = tables.event(
        {
            "timestamp": "2026-11-23T01:50:59.412973Z",
            "event": "config.loaded",
            "changes": ["a", "b"],
            "config": {},
            "file": None,
        }
    )
    assert line.plain == "01:50:59.412  faultproxy    config.loaded       changes=[a, b]"


def test_changes_are_lines() -> None:
    """Or there are none."""
    assert shown(tables.changes({"changes": ["proxy a added", "seed changed"]})) == [
        ["proxy a added"],
        ["seed changed"],
    ]
    assert shown(tables.changes({"changes": []})) == [["nothing has changed"]]


def test_status_has_a_line_each() -> None:
    """What is degraded stands behind."""
    degraded = [{"proxy": "a", "faults": ["refuse"], "reason": "EPERM"}]
    lines = shown(tables.status({"version": "1", "uptime_s": 4000.0, "file": None, "degraded": degraded}))
    assert lines == [["version", "1"], ["uptime", "1h06m"], ["file", "-"], ["degraded", "a: refuse: EPERM"]]


def test_nothing_steers_the_terminal() -> None:
    """Names and texts that come from elsewhere are escaped, in every table."""
    evil_rule = rule(name=EVIL, rule={"name": EVIL, EVIL: {EVIL: [EVIL]}})
    proxy = {
        "name": EVIL,
        "state": EVIL,
        "listen": EVIL,
        "upstream": EVIL,
        "open": 0,
        "connections": 0,
        "rules": [evil_rule],
    }
    fault = dict.fromkeys(("fault", "rule", "trigger", "client_sees"), EVIL) | {
        "options": {EVIL: EVIL},
        "elapsed_ms": 1.0,
    }
    story = {
        **CONNECTION,
        **dict.fromkeys(("connection", "client", "state", "rule", "ended_by"), EVIL),
        "faults": [EVIL],
        "rules": [{"rule": EVIL, "holds": True, "because": EVIL}],
        "injected": [fault],
    }
    coming = {"connection": 1, "text": EVIL, "faults": [], "rules": [{"rule": EVIL, "holds": False, "because": EVIL}]}
    for table in (
        tables.status({EVIL: EVIL, "degraded": [{"proxy": EVIL, "faults": [EVIL], "reason": EVIL}]}),
        tables.proxy(proxy),
        tables.connection(story),
        tables.forecasts({"seed": 1, "proxies": [{"proxy": EVIL, "connections": [coming]}]}),
        tables.changes({"changes": [EVIL]}),
        tables.event({EVIL: EVIL, "event": EVIL, "proxy": EVIL, "timestamp": EVIL, "level": EVIL}),
    ):
        text = "".join("".join(line) for line in shown(table))
        assert "\\x1b" in text
        assert all(char.isprintable() for char in text)
