"""Every event, with its level and its fields, as SPEC's section on logs lists them."""

import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from faultproxy.events.types import EVENTS, ConnectionCrashed, Event, FaultDryRun, FaultInjected, log_fields
from tests.events.samples import DRY_RUN, FAULT, FIELDS, SAMPLES

DEBUG = {"peek.timed_out", "connection.opened", "connection.closed"}
WARNING = {
    "proxy_header.rejected",
    "upstream.failed",
    "fault.unavailable",
    "listen.failed",
    "accept.paused",
    "api.exposed",
    "api.paused",
    "log.dropped",
}
ERROR = {"config.rejected", "connection.crashed", "api.crashed"}


def test_every_kind_has_its_name_and_level() -> None:
    """No name stands for two kinds; what is logged of each connection is debug, what went wrong a warning or an error."""
    assert len({kind.name for kind in EVENTS}) == len(EVENTS) == len(SAMPLES)
    for kind in EVENTS:
        levels = {"debug": kind.name in DEBUG, "warning": kind.name in WARNING, "error": kind.name in ERROR}
        assert kind.level == next((level for level, is_it in levels.items() if is_it), "info")


@pytest.mark.parametrize("kind", [kind for kind in EVENTS if kind not in {FaultInjected, FaultDryRun}])
def test_the_fields_of_a_line_are_those_of_the_event(kind: type[Event]) -> None:
    """All of them, by the same names, in the same order."""
    line = log_fields(SAMPLES[kind])
    assert line == FIELDS[kind]
    assert list(line) == list(FIELDS[kind])


@pytest.mark.parametrize("event", [FAULT, DRY_RUN])
def test_a_faults_line_has_its_count_and_its_fidelity(event: FaultInjected | FaultDryRun) -> None:
    """``injected`` stands beside ``ordinal``, and ``fidelity`` behind what the client sees."""
    line = log_fields(event, 2)
    assert line == {**FIELDS[FaultInjected], "injected": 2, "fidelity": "exact"}
    fields = list(line)
    assert fields[fields.index("ordinal") + 1] == "injected"
    assert fields[fields.index("client_sees") + 1] == "fidelity"


def test_a_degraded_fault_says_why() -> None:
    """What is not exact is called degraded, and followed by the reason."""
    line = log_fields(replace(FAULT, degraded="no CAP_NET_ADMIN"), 1)
    fields = list(line)
    assert fields[fields.index("fidelity") + 1] == "reason"
    assert (line["fidelity"], line["reason"]) == ("degraded", "no CAP_NET_ADMIN")


def test_a_fault_by_hand_says_so() -> None:
    """``source`` stands in its line, behind ``rule``, and in no other fault's."""
    line = log_fields(replace(FAULT, rule=None, ordinal=None, source="api"), 1)
    fields = list(line)
    assert (line["rule"], line["source"], line["ordinal"], line["injected"]) == (None, "api", None, 1)
    assert fields[fields.index("rule") + 1] == "source"
    assert "source" not in log_fields(FAULT, 1)


def test_milliseconds_are_rounded() -> None:
    """To microseconds, and only in the line."""
    event = replace(FAULT, elapsed_ms=1.23456)
    assert (event.elapsed_ms, log_fields(event, 1)["elapsed_ms"]) == (1.23456, 1.235)


def test_a_crash_holds_its_traceback() -> None:
    """A bug of ours is one event, with the whole traceback in one field."""
    try:
        raise RuntimeError("bug")
    except RuntimeError as error:
        event = ConnectionCrashed.because_of(error, proxy="redis", connection="redis#17")
    assert event.traceback.startswith("Traceback")
    assert "RuntimeError: bug" in event.traceback


@pytest.mark.parametrize("event", SAMPLES.values(), ids=lambda event: event.name)
def test_an_event_is_a_value(event: Event) -> None:
    """It cannot be changed, and can be sent to another process."""
    with pytest.raises(FrozenInstanceError):
        setattr(event, fields(event)[0].name, "other")
    assert pickle.loads(pickle.dumps(event)) == event
