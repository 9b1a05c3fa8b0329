"""Scripted clients: the events of attempts, each at its time."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from faultproxy.events.types import (
    ConnectionClosed,
    ConnectionOpened,
    EndedBy,
    Event,
    FaultInjected,
    OutageEnded,
    OutageStarted,
    UpstreamFailed,
    log_fields,
)
from faultproxy.report.attempts import Attempts, take_event
from faultproxy.report.report import RetryReport, make_report

Timed = tuple[float, Event]


class Script:
    """Writes down what clients of one proxy do; ``events`` are in the order of their times."""

    def __init__(self, proxy: str = "shop") -> None:
        self.proxy = proxy
        self._events: list[Timed] = []
        self._number = 0

    @property
    def events(self) -> list[Timed]:
        return sorted(self._events, key=lambda timed: timed[0])

    def add(self, at_s: float, event: Event) -> None:
        self._events.append((at_s, event))

    def opens(self, at_s: float, client: str = "10.0.0.7") -> dict[str, Any]:
        """A client is accepted; the fields that its later events have."""
        self._number += 1
        head = {"proxy": self.proxy, "connection": f"{self.proxy}#{self._number}", "client": f"{client}:{self._number}"}
        self.add(at_s, ConnectionOpened(**head))
        return head

    def closes(
        self, at_s: float, head: dict[str, Any], ended_by: EndedBy = "client", up: int = 9, down: int = 9
    ) -> None:
        self.add(
            at_s,
            ConnectionClosed(
                **head,
                rule=None,
                faults=(),
                bytes_upstream=up,
                bytes_downstream=down,
                bytes_changed=0,
                duration_ms=1.0,
                ended_by=ended_by,
            ),
        )

    def serves(self, at_s: float, client: str = "10.0.0.7") -> None:
        """A connection that is served, in 1 ms."""
        self.closes(at_s + 0.001, self.opens(at_s, client))

    def injects(
        self,
        at_s: float,
        head: dict[str, Any],
        sees: str = "ECONNRESET",
        rule: str = "cut",
        fault: str = "reset",
        **more: Any,
    ) -> None:
        fields: dict[str, Any] = {
            "upstream": "up:1",
            "ordinal": 1,
            "options": {},
            "trigger": "at once",
            "bytes_upstream": 0,
            "bytes_downstream": 0,
            "elapsed_ms": 0.0,
        }
        self.add(at_s, FaultInjected(**head, rule=rule, fault=fault, client_sees=sees, **fields | more))

    def fails(self, at_s: float, client: str = "10.0.0.7", sees: str = "ECONNRESET", rule: str = "cut") -> None:
        """A connection that a fault ends at once."""
        head = self.opens(at_s, client)
        self.injects(at_s, head, sees, rule)
        self.closes(at_s, head, "fault", 0, 0)

    def upstream_fails(self, at_s: float, client: str = "10.0.0.7") -> None:
        head = self.opens(at_s, client)
        self.add(at_s, UpstreamFailed(**head, upstream="up:1", error="ECONNREFUSED", elapsed_ms=0.1))
        self.closes(at_s, head, "upstream_error", 0, 0)

    def outage(self, from_s: float, to_s: float | None, sees: str = "ECONNREFUSED") -> None:
        same = {"proxy": self.proxy, "rule": "down", "fault": "refuse"}
        self.add(from_s, OutageStarted(**same, client_sees=sees))
        if to_s is not None:
            self.add(to_s, OutageEnded(**same))

    def retries(self, gaps_s: Iterable[float], at_s: float = 10.0, client: str = "10.0.0.7", **fault: Any) -> float:
        """A client fails, waits, fails, ..., and is served after the last wait; the time of that."""
        for gap_s in gaps_s:
            self.fails(at_s, client, **fault)
            at_s += gap_s
        self.serves(at_s, client)
        return at_s

    def report(self) -> RetryReport:
        return report_of(self.events)


def collected(events: Sequence[Timed]) -> Attempts:
    attempts = Attempts()
    for at_s, event in events:
        take_event(attempts, at_s, event)
    return attempts


def report_of(events: Sequence[Timed]) -> RetryReport:
    return make_report(collected(events))


def as_lines(events: Sequence[Timed]) -> list[bytes]:
    """The log's lines."""
    return [_line(at_s, event) for at_s, event in events]


def _line(at_s: float, event: Event) -> bytes:
    minutes, seconds = divmod(at_s, 60)
    stamp = f"2026-11-23T01:{int(minutes):02}:{seconds:09.6f}Z"
    head = {"timestamp": stamp, "level": event.level, "event": event.name}
    return orjson.dumps({**head, **log_fields(event)}, option=orjson.OPT_APPEND_NEWLINE)
