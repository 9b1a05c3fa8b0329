"""Every event, with its level and its fields, as SPEC's section on logs lists them."""

import json
import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from faultproxy.journal.events import Journal, Strike
from faultproxy.journal.log import Level, LogWriter

STRIKE = Strike(
    proxy="redis",
    connection="redis#17",
    client="10.0.0.1:5555",
    upstream="redis:6379",
    rule="cut",
    fault="reset",
    count=3,
    options={"after": "4KiB"},
    trigger="4KiB downstream",
    client_sees="ECONNRESET",
    bytes_upstream=20,
    bytes_downstream=4096,
    elapsed_ms=1.23456,
)
STRUCK = {
    "proxy": "redis",
    "connection": "redis#17",
    "client": "10.0.0.1:5555",
    "upstream": "redis:6379",
    "rule": "cut",
    "fault": "reset",
    "count": 3,
    "options": {"after": "4KiB"},
    "trigger": "4KiB downstream",
    "client_sees": "ECONNRESET",
    "fidelity": "exact",
    "bytes_upstream": 20,
    "bytes_downstream": 4096,
    "elapsed_ms": 1.235,
}
STARTED = {
    "proxy": "redis",
    "listen": "127.0.0.1:16379",
    "upstream": "redis:6379",
    "rules": 2,
    "seed": 42,
    "run": "5f3a",
    "config": {"listen": "127.0.0.1:0"},
}
OPENED = {"proxy": "redis", "connection": "redis#17", "client": "10.0.0.1:5555"}
CLOSED = {
    **OPENED,
    "rule": "cut",
    "faults": ["reset"],
    "bytes_upstream": 20,
    "bytes_downstream": 4096,
    "duration_ms": 12.5,
    "ended_by": "fault",
}
FAILED = {"proxy": "redis", "connection": "redis#17", "error": "ECONNREFUSED", "elapsed_ms": 0.5}
LACKING = {"proxy": "redis", "faults": ["refuse", "abort"], "reason": "not allowed here (EPERM)"}
OUTAGE = {"proxy": "redis", "rule": "down", "fault": "refuse"}
UNLISTENED = {"proxy": "redis", "listen": "127.0.0.1:16379", "error": "EADDRINUSE"}
LOADED = {"file": "demo.yaml", "changes": ["redis: rules"], "config": {"redis": {"listen": "127.0.0.1:0"}}}
REJECTED = {"file": "demo.yaml", "errors": ["demo.yaml:1:1: is empty"]}
STOPPED = {"proxy": "redis", "connections": 20, "faults": {"cut": 3}}
SHORTAGE = {"error": "EMFILE", "open": 1000}


def told(tell: Callable[[Journal], None], level: Level = "debug") -> list[dict[str, object]]:
    """The events that come out."""
    read_fd, write_fd = os.pipe()
    writer = LogWriter(write_fd)
    os.close(write_fd)
    tell(Journal(writer, "json", level))
    writer.close(60.0)
    with os.fdopen(read_fd, "rb") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("event", "level", "fields", "tell"),
    [
        ("proxy.started", "info", STARTED, lambda journal: journal.proxy_started(**STARTED)),
        ("fault.injected", "info", STRUCK, lambda journal: journal.fault_injected(STRIKE)),
        ("fault.shadowed", "info", STRUCK, lambda journal: journal.fault_shadowed(STRIKE)),
        ("connection.opened", "debug", OPENED, lambda journal: journal.connection_opened(**OPENED)),
        ("connection.closed", "debug", CLOSED, lambda journal: journal.connection_closed(**CLOSED)),
        ("upstream.failed", "warning", FAILED, lambda journal: journal.upstream_failed(**FAILED)),
        ("outage.started", "info", OUTAGE, lambda journal: journal.outage_started(**OUTAGE)),
        ("outage.ended", "info", OUTAGE, lambda journal: journal.outage_ended(**OUTAGE)),
        ("fault.unavailable", "warning", LACKING, lambda journal: journal.fault_unavailable(**LACKING)),
        ("listen.failed", "warning", UNLISTENED, lambda journal: journal.listen_failed(**UNLISTENED)),
        ("config.loaded", "info", LOADED, lambda journal: journal.config_loaded(**LOADED)),
        ("config.rejected", "error", REJECTED, lambda journal: journal.config_rejected(**REJECTED)),
        (
            "accept.paused",
            "warning",
            SHORTAGE,
            lambda journal: journal.accept_paused(error="EMFILE", open_connections=1000),
        ),
        (
            "accept.resumed",
            "info",
            SHORTAGE,
            lambda journal: journal.accept_resumed(error="EMFILE", open_connections=1000),
        ),
        (
            "proxy.draining",
            "info",
            {"proxy": "redis", "open": 3},
            lambda journal: journal.proxy_draining(proxy="redis", open_connections=3),
        ),
        ("proxy.stopped", "info", STOPPED, lambda journal: journal.proxy_stopped(**STOPPED)),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_an_event_has_its_level_and_fields(
    event: str, level: str, fields: dict[str, object], tell: Callable[[Journal], None]
) -> None:
    """The event has exactly these fields, in this order, after timestamp, level and event."""
    (line,) = told(tell)
    assert list(line) == ["timestamp", "level", "event", *fields]
    del line["timestamp"]
    assert line == {"level": level, "event": event, **fields}


def test_a_degraded_fault_says_why() -> None:
    """What is not exact is called degraded, and followed by the reason."""
    (line,) = told(lambda journal: journal.fault_injected(replace(STRIKE, degraded="no CAP_NET_ADMIN")))
    fields = list(line)
    assert fields[fields.index("fidelity") + 1] == "reason"
    assert (line["fidelity"], line["reason"]) == ("degraded", "no CAP_NET_ADMIN")


def test_a_crash_is_told_with_its_traceback() -> None:
    """A bug of ours is one event, with the whole traceback in one field."""
    try:
        raise RuntimeError("bug")
    except RuntimeError as error:
        bug = error
    (line,) = told(lambda journal: journal.crashed(proxy="redis", connection="redis#17", error=bug))
    assert list(line) == ["timestamp", "level", "event", "proxy", "connection", "traceback"]
    assert (line["event"], line["level"]) == ("connection.crashed", "error")
    assert "Traceback" in str(line["traceback"])
    assert "RuntimeError: bug" in str(line["traceback"])


@pytest.mark.parametrize(("level", "tells"), [("debug", True), ("info", False), ("warning", False), ("error", False)])
def test_connections_are_told_at_debug_only(level: Level, tells: bool) -> None:
    """``tells_connections`` says beforehand whether connection events come out."""

    def tell(journal: Journal) -> None:
        assert journal.tells_connections is tells
        journal.connection_opened(**OPENED)

    assert len(told(tell, level)) == tells


def test_format_and_level_change_while_running() -> None:
    """After configure, events come out in the new format from the new level up."""
    read_fd, write_fd = os.pipe()
    writer = LogWriter(write_fd)
    os.close(write_fd)
    journal = Journal(writer)
    journal.connection_opened(proxy="a", connection="a#1", client="x")
    journal.configure("console", "debug")
    assert journal.tells_connections
    journal.connection_opened(proxy="a", connection="a#2", client="x")
    journal.configure("json", "warning")
    journal.outage_started(proxy="a", rule="down", fault="refuse")
    journal.upstream_failed(proxy="a", connection="a#3", error="ECONNREFUSED", elapsed_ms=0.0)
    writer.close(60.0)
    with os.fdopen(read_fd, "rb") as lines:
        console, last = lines.read().splitlines()
    assert b"connection=a#2" in console
    assert json.loads(last)["connection"] == "a#3"
