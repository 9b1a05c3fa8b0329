"""A log's lines, one after another, to attempts. What is not ours, or cut short, is counted, and the rest read."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from operator import itemgetter
from typing import Any, BinaryIO

import orjson

from faultproxy.report.attempts import Attempts, Cause, take_config
from faultproxy.report.report import RetryReport, make_report
from faultproxy.report.text import count, seconds

_BACK_S = 1.0
_BEGINNING = 100  # lines
_LONGEST = 2**24  # a configuration of the largest size is shorter, in its long form, too
_HEAD = b'{"timestamp":'
_GZIP = b"\x1f\x8b"
_NUMBER = int, float
_ANY_RULE = str, type(None)
_OF_CONNECTION = (("proxy", str), ("connection", str), ("client", str))
_FIELDS: Mapping[str, Sequence[tuple[str, type | tuple[type, ...]]]] = {
    "connection.opened": _OF_CONNECTION,
    "connection.closed": (
        *_OF_CONNECTION,
        ("ended_by", str),
        ("bytes_upstream", int),
        ("bytes_downstream", int),
    ),
    "fault.injected": (
        *_OF_CONNECTION,
        ("rule", _ANY_RULE),
        ("fault", str),
        ("client_sees", str),
        ("elapsed_ms", _NUMBER),
        ("bytes_downstream", int),
    ),
    "upstream.failed": (*_OF_CONNECTION, ("error", str), ("elapsed_ms", _NUMBER)),
    "outage.started": (("proxy", str), ("rule", _ANY_RULE), ("fault", str)),
    "outage.ended": (("proxy", str), ("fault", str)),
    "proxy.started": (("proxy", str), ("run", str), ("config", dict)),
    "proxy.stopped": (("proxy", str),),
    "config.loaded": (("config", dict),),
    "log.dropped": (("count", int),),
}
"""What is read of each event, and what it has to be: lines may be of another version, or of another program."""


def log_lines(log: BinaryIO) -> Iterator[bytes]:
    """The lines of a log, in bounded memory: of one that is longer than 16 MiB, which is none of ours, the beginning.

    Raises OSError, with the log's name.
    """
    try:
        while line := log.readline(_LONGEST):
            yield line
            while len(line) == _LONGEST and line[-1:] != b"\n":
                line = log.readline(_LONGEST)  # the rest of it
    except OSError as error:
        raise OSError(error.errno, error.strerror, log.name) from error


def by_beginning(logs: Sequence[Iterable[bytes]]) -> list[Iterable[bytes]]:
    """The logs in the order of their first times; those without one at their beginning last."""
    if len(logs) < 2:
        return [*logs]
    begun = []
    for log in logs:
        lines, first, begins_s = iter(log), list[bytes](), math.inf
        for line in islice(lines, _BEGINNING):
            first.append(line)
            with suppress(KeyError, TypeError, ValueError, OverflowError):
                begins_s = datetime.fromisoformat(orjson.loads(line[line.index(_HEAD) :])["timestamp"]).timestamp()
                break
        begun.append((begins_s, chain(first, lines)))
    return [lines for _, lines in sorted(begun, key=itemgetter(0))]


@dataclass
class LogReader:
    """Reads logs into attempts. Lines of other programs are passed over; ours may stand behind a prefix."""

    attempts: Attempts = field(default_factory=Attempts)
    lines: int = 0
    ours: int = 0
    broken: int = 0
    unreadable: int = 0
    compressed: int = 0
    went_back: int = 0
    went_back_s: float = 0.0

    def read(self, lines: Iterable[bytes]) -> None:
        """Take the lines of a log. Never raises for what they hold."""
        attempts, latest_s = self.attempts, -math.inf
        is_first = True
        for line in lines:
            self.lines += 1
            if is_first:
                self.compressed += line.startswith(_GZIP)
                is_first = False
            start = line.find(_HEAD)
            if start < 0:
                continue
            try:
                entry = orjson.loads(line[start:] if start else line)
                name = entry["event"]
            except (orjson.JSONDecodeError, KeyError, TypeError):
                self.broken += 1
                continue
            self.ours += 1
            try:
                at_s = attempts.saw(datetime.fromisoformat(entry["timestamp"]).timestamp())
                if at_s < latest_s - _BACK_S:
                    self.went_back += 1
                    self.went_back_s = max(self.went_back_s, latest_s - at_s)
                latest_s = at_s
                fields = _FIELDS.get(name)
                if fields is None:
                    continue
                for key, kind in fields:
                    if not isinstance(entry[key], kind):
                        raise TypeError(key)
                _take(attempts, name, at_s, entry)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                self.unreadable += 1

    def report(self) -> RetryReport:
        """What they say."""
        first_s = self.attempts.first_s
        begins = datetime.fromtimestamp(first_s, UTC).isoformat() if first_s is not None else None
        return make_report(self.attempts, begins=begins, notes=self._notes())

    def _notes(self) -> Iterable[str]:
        if self.compressed:
            yield "what is compressed with gzip is not read: zcat LOG | faultproxy report -"
        elif not self.lines:
            yield "the log is empty"
        elif not self.ours:
            yield (
                f"none of {count(self.lines, 'line')} is a line of faultproxy's log in JSON: "
                "run with --log-format json --log-level debug"
            )
        if self.broken:
            yield f"{count(self.broken, 'line')} {_are(self.broken)} cut short or garbled, and left out"
        if self.unreadable:
            number, them = self.unreadable, "it" if self.unreadable == 1 else "them"
            yield f"{count(number, 'line')} {_are(number)} not as this version writes {them}, and left out"
        if self.went_back:
            often = "once" if self.went_back == 1 else f"{self.went_back} times"
            yield (
                f"the log's times go back {often}, by up to {seconds(self.went_back_s)} s: its clock was set, or these "
                "are several logs in one; waits across that are wrong"
            )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _take(attempts: Attempts, name: str, at_s: float, entry: Mapping[str, Any]) -> None:
    match name:
        case "connection.opened":
            attempts.opened(at_s, entry["proxy"], entry["connection"], entry["client"])
        case "connection.closed":
            attempts.closed(
                at_s, entry["connection"], entry["ended_by"], entry["bytes_upstream"], entry["bytes_downstream"]
            )
        case "fault.injected":
            cause = Cause(entry["rule"], entry["fault"], entry["client_sees"])
            attempts.fault(
                at_s,
                entry["proxy"],
                entry["connection"],
                entry["client"],
                cause,
                entry["elapsed_ms"],
                entry["bytes_downstream"],
            )
        case "upstream.failed":
            attempts.upstream_failed(
                at_s, entry["proxy"], entry["connection"], entry["client"], entry["error"], entry["elapsed_ms"]
            )
        case "outage.started":
            sees = entry.get("client_sees")
            if not isinstance(sees, str):
                sees = "ECONNREFUSED" if entry["fault"] == "refuse" else "ETIMEDOUT"
            attempts.outage_started(at_s, entry["proxy"], Cause(entry["rule"], entry["fault"], sees))
        case "outage.ended":
            attempts.outage_ended(at_s, entry["proxy"], entry["fault"])
        case "proxy.started":
            attempts.started(at_s, entry["proxy"], entry["run"])
            take_config(attempts, at_s, {entry["proxy"]: entry["config"]})
        case "proxy.stopped":
            attempts.stopped(at_s, entry["proxy"])
        case "config.loaded":
            take_config(attempts, at_s, entry["config"])
        case "log.dropped":
            attempts.dropped += entry["count"]
