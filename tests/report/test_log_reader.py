"""A log's lines say the same as the events that they were written from, whatever stands between them."""

import gzip
import os
import tempfile
import tracemalloc
from dataclasses import fields, replace
from typing import Any

from faultproxy.events.types import FaultInjected, OutageEnded, ProxyStarted
from faultproxy.report.attempts import WANTED
from faultproxy.report.html import as_html
from faultproxy.report.log_reader import _FIELDS, LogReader, by_beginning, log_lines
from faultproxy.report.report import RetryReport
from faultproxy.report.text import as_text
from tests.report.events import Script, as_lines


def read(*lines: bytes) -> RetryReport:
    reader = LogReader()
    reader.read(lines)
    return reader.report()


def fault(connection: str) -> FaultInjected:
    script = Script()
    script.fails(1.0)
    (event,) = (event for _, event in script.events if isinstance(event, FaultInjected))
    return replace(event, connection=connection)


def script() -> Script:
    """Clients that fail in each way."""
    script = Script()
    script.serves(1.0)
    script.retries([0.1, 0.2, 0.4, 0.8], at_s=2.0)
    script.upstream_fails(5.0, "10.0.0.8")
    script.outage(6.0, 7.0)
    return script


def test_a_line_is_its_event() -> None:
    """The report of a log is that of the events, but that it knows when the log begins."""
    report = read(*as_lines(script().events))
    live = script().report()
    assert report.begins == "2026-11-23T01:00:01+00:00"
    assert (report.clients, report.proxies, report.notes) == (live.clients, live.proxies, live.notes)


def test_foreign_lines_do_not_matter() -> None:
    """Nor does what another program puts before each of ours, nor another program's JSON."""
    lines = as_lines(script().events)
    noise = [b"Starting ...\n", b'{"timestamp": 1}\n', b'{"timestamp":"now","msg":"hello"}\n', b"\xff\xfe\n", b"[1]\n"]
    mixed = [part for line in lines for part in (b"proxy-1  | " + line, *noise)]
    assert read(*mixed).clients == read(*lines).clients


def test_a_log_that_is_cut_off() -> None:
    """It is reported as far as it goes, and said; garbled lines in its middle are counted."""
    lines = as_lines(script().events)
    report = read(*lines[:6], lines[6][:50], *lines[7:9], lines[9][:-40])
    assert report.clients[0].failures
    assert "2 lines are cut short or garbled, and left out" in report.notes


def test_a_line_without_an_end() -> None:
    """It is passed over in little memory, and the lines behind it are read."""
    lines = as_lines(script().events)
    with tempfile.TemporaryFile() as log:
        log.writelines(lines[:3])
        log.truncate(log.tell() + 12 * 2**24)  # a hole, which reads as zeros
        log.seek(0, os.SEEK_END)
        log.write(b"\n")
        log.writelines(lines[3:])
        log.seek(0)
        tracemalloc.start()
        try:
            report = read(*log_lines(log))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert report.clients == read(*lines).clients
    assert most < 5 * 2**24


def test_a_line_of_another_version() -> None:
    """Events that this version does not know are passed over; known ones without a field are counted."""
    lines = as_lines(script().events)
    strange = [lines[0].replace(b"connection.opened", b"connection.rewound"), lines[0].replace(b'"client"', b'"peer"')]
    report = read(*lines, *strange)
    assert report.clients == read(*lines).clients
    assert "1 line is not as this version writes it, and left out" in report.notes


def test_a_field_of_another_kind() -> None:
    """A line whose values are not what this version writes is left out, and whatever is left can be shown."""
    lines = as_lines(script().events)
    strange = [
        lines[0].replace(b'"proxy":"shop"', b'"proxy":7'),
        lines[0].replace(b'"client":"10.0.0.7:1"', b'"client":["10.0.0.7"]'),
        as_lines([(2.0, fault("x"))])[0].replace(b'"fault":"reset"', b'"fault":{"a":1}'),
        as_lines([(2.0, fault("y"))])[0].replace(b'"elapsed_ms":0.0', b'"elapsed_ms":"long"'),
    ]
    report = read(*lines, *strange)
    assert report.clients == read(*lines).clients
    assert "4 lines are not as this version writes them, and left out" in report.notes
    huge = read(*lines, as_lines([(2.0, fault("z"))])[0].replace(b'"elapsed_ms":0.0', b'"elapsed_ms":1e308'))
    assert as_text(huge)
    assert as_html(huge)


def test_what_is_read_of_each_event() -> None:
    """It is said of every kind that is wanted, by names that the kind has."""
    assert {kind.name for kind in WANTED} == _FIELDS.keys()
    for kind in WANTED:
        assert {key for key, _ in _FIELDS[kind.name]} <= {field.name for field in fields(kind)}


def test_a_clock_that_was_set_back() -> None:
    """Waits across it are wrong, and it is said."""
    before, after = Script(), Script()
    before.retries([0.1, 0.2], at_s=3000.0)
    after.retries([0.1, 0.2], at_s=10.0)
    report = read(*as_lines(before.events), *as_lines(after.events))
    assert "the log's times go back once, by up to 2990 s" in report.notes[0]
    reader = LogReader()
    reader.read(as_lines(before.events))
    reader.read(as_lines(after.events))
    assert not reader.report().notes  # the logs of two runs, the later one first


def test_logs_are_taken_by_when_they_begin() -> None:
    """In whichever order they are given, so that an outage does not end before it begins."""
    before, after = Script(), Script()
    before.outage(10.0, None)
    after.outage(3000.0, None)
    started: dict[str, Any] = {"proxy": "shop", "listen": "", "upstream": "", "rules": 0, "seed": 0, "config": {}}
    after.add(2000.0, ProxyStarted(run="b", **started))
    logs = [[b"hello\n"], [b"Starting ...\n", *as_lines(after.events)], as_lines(before.events)]
    reader = LogReader()
    for log in by_beginning(logs):
        reader.read(log)
    (shop,) = reader.report().proxies
    assert [(outage.started_s, outage.ended_s) for outage in shop.outages] == [(0.0, 1990.0), (2990.0, None)]
    assert reader.lines == sum(map(len, logs))


def test_no_log_at_all() -> None:
    """Lines for people, or none: it is said what is asked for."""
    report = read(b"01:50:59.412  redis#1  127.0.0.1:41214 connected\n")
    assert (report.clients, report.proxies) == ((), ())
    assert read().notes == ("the log is empty",)
    assert report.notes == (
        "none of 1 line is a line of faultproxy's log in JSON: run with --log-format json --log-level debug",
    )


def test_a_compressed_log() -> None:
    """It is said how to read it, rather than that it has no lines."""
    report = read(*gzip.compress(b"".join(as_lines(script().events))).splitlines(keepends=True))
    assert report.notes == ("what is compressed with gzip is not read: zcat LOG | faultproxy report -",)


def test_without_debug_a_recovery_is_not_seen() -> None:
    """A log of level info has only the faults, and the report says what it lacks."""
    lines = [line for line in as_lines(script().events) if b'"level":"debug"' not in line]
    report = read(*lines)
    assert report.client("10.0.0.7").episodes[0].recovery_s is None
    assert any("run with --log-level debug" in note for note in report.notes)
    assert "10.0.0.7 failed 4 times, waiting 0.1, 0.2, 0.4 s" in as_text(report)


def test_without_debug_not_even_a_fault_may_be_seen() -> None:
    """Then no client is in the log, however many there were."""
    report = read(*as_lines([(1.0, OutageEnded(proxy="shop", rule="down", fault="refuse"))]))
    assert any("run with --log-level debug" in note for note in report.notes)
    assert not any("debug" in note for note in read(*as_lines(script().events)).notes)
