"""The log: each event as a line, rendered by structlog, queued, and written by a thread of its own.

Whoever publishes is never held up by whoever reads: ``write`` puts a line into a bounded queue and returns.
A reader that stalls, a pipe without a reader and a full disk are one case: what is queued waits, further
lines are dropped and counted, and when writing works again ``log.dropped`` says so in their place.
"""

import errno
import os
import select
import threading  # noqa: TID251  # a write that blocks must end with the process, which a trio worker would hold up
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace
from typing import Literal

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from faultproxy.events.console import console_line
from faultproxy.events.stats import Stats
from faultproxy.events.types import EVENTS, Event, Level, LogDropped, log_fields
from faultproxy.text import plain, to_json

Format = Literal["json", "console"]

MAX_BYTES = 4 * 2**20
MAX_LINES = 2**16
RETRY_S = 1.0
_CLOSED = -1
_LEVELS = MappingProxyType({"debug": 10, "info": 20, "warning": 30, "error": 40})


class Log:
    """A subscriber that writes each event, from a level up, as a line. It asks ``stats`` for a fault's count."""

    wants: frozenset[type[Event]]

    def __init__(
        self, writer: "LogWriter", stats: Stats, log_format: Format | None = None, level: Level = "info"
    ) -> None:
        self._writer = writer
        self._stats = stats
        self.configure(log_format, level)

    def configure(self, log_format: Format | None, level: Level) -> None:
        """Write all lines from now on in this format, from this level up. None: console on a terminal, else JSON."""
        self._logger = make_logger(self._writer, log_format or ("console" if self._writer.is_tty else "json"), level)
        self.wants = frozenset(kind for kind in EVENTS if _LEVELS[kind.level] >= _LEVELS[level])

    def receive(self, event: Event) -> None:
        """Write its line."""
        getattr(self._logger, event.level)(event.name, **log_fields(event, self._stats.count(event)))


class LogWriter:
    """Writes lines to a file descriptor from a thread, so that no reader ever stalls the caller.

    The descriptor is duplicated, so that one which is closed and used again (for a client's socket,
    say) never gets the log; and it stays blocking, because it is shared with the shell and others.
    It may be used from any thread. Who makes it, closes it.

    ``complain`` is called once, from that thread, with a sentence, when a line cannot be written. ``dropped`` is how
    many lines were dropped in all.
    """

    render_dropped: Callable[[int], bytes]
    """How ``log.dropped`` is written; ``make_logger`` keeps it in the format of the other lines."""

    def __init__(self, fd: int = 1, complain: Callable[[str], object] = lambda _: None) -> None:
        self._complain: Callable[[str], object] | None = complain
        self.render_dropped = _dropped_renderer(_json_line)
        self.dropped = 0
        self._wake = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._dropped = 0  # since the last line that was written
        self._idle = False
        self._closing = False
        self._fd = _duplicate(fd)
        self.is_tty = os.isatty(self._fd)
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue one line, its newline included. Never blocks, never raises; a line that finds no room is dropped."""
        with self._wake:
            # After a drop nothing is queued until the drop is logged: so it is logged once, and where it happened.
            if self._dropped or not self._has_room(line):
                self._dropped += 1
                self.dropped += 1
            else:
                self._queue.append(line)
                self._queued_bytes += len(line)
            if self._idle:
                self._idle = False
                self._wake.notify()

    def close(self, timeout_s: float) -> None:
        """Write what is queued, waiting for the reader at most this long. What comes after that is lost."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)

    def _has_room(self, line: bytes) -> bool:
        return len(self._queue) < MAX_LINES and self._queued_bytes + len(line) <= MAX_BYTES

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            self._write_out(memoryview(batch))
        if self._fd != _CLOSED:
            os.close(self._fd)

    def _take(self) -> bytes | None:
        """All that is queued, and how many lines were dropped after it; None at the end."""
        with self._wake:
            self._idle = True
            self._wake.wait_for(lambda: self._queue or self._dropped or self._closing)
            self._idle = False
            if not self._queue and not self._dropped:
                return None
            batch = b"".join(self._queue)
            if self._dropped:
                batch += self.render_dropped(self._dropped)
            self._queue.clear()
            self._queued_bytes = self._dropped = 0
            return batch

    def _write_out(self, unwritten: memoryview) -> None:
        """Write all of it, however long that takes. A line cut by a failure is taken up where it was cut."""
        while unwritten:
            try:
                unwritten = unwritten[os.write(self._fd, unwritten) :]
            except BlockingIOError:
                self._wait_for_room()
            except OSError as error:
                self._complain_once(error)
                # EPIPE: a FIFO may get a new reader; ENOSPC: the disk may get room. The rest costs one call a second.
                if self._is_closing_within(RETRY_S):
                    return

    def _complain_once(self, error: OSError) -> None:
        complain, self._complain = self._complain, None
        if complain is not None:
            why = f"{error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})"
            complain(
                f"cannot write the log: {why}; lines wait until it can be written, and are dropped beyond {MAX_LINES}"
            )

    def _wait_for_room(self) -> None:
        """Another process that has the descriptor made it non-blocking."""
        room = select.poll()
        room.register(self._fd, select.POLLOUT)
        room.poll()

    def _is_closing_within(self, timeout_s: float) -> bool:
        with self._wake:
            return self._wake.wait_for(lambda: self._closing, timeout_s)


def make_logger(writer: LogWriter, log_format: Format, level: Level) -> FilteringBoundLogger:
    """A structlog logger of its own, sharing nothing global, whose lines go to this writer."""
    line = _json_line if log_format == "json" else _console_line(writer.is_tty and "NO_COLOR" not in os.environ)
    writer.render_dropped = _dropped_renderer(line)
    out = SimpleNamespace(**dict.fromkeys(_LEVELS, writer.write))
    logger = structlog.make_filtering_bound_logger(_LEVELS[level])
    return logger(out, [_head, line], {})  # type: ignore[call-arg]  # the protocol does not say how it is made


def _dropped_renderer(line: Callable[[WrappedLogger, str, EventDict], bytes]) -> Callable[[int], bytes]:
    # Logged at every level: lines that were to be seen are missing.
    return lambda count: line(
        None,
        LogDropped.level,
        _head(None, LogDropped.level, {"event": LogDropped.name, **log_fields(LogDropped(count=count))}),
    )


def _head(_: WrappedLogger, level: str, fields: EventDict) -> EventDict:
    """The fields, after the three that every line begins with."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"timestamp": now, "level": level, "event": fields.pop("event"), **fields}


def _json_line(_: WrappedLogger, __: str, fields: EventDict) -> bytes:
    return to_json(fields) + b"\n"  # a copy: orjson's own bytes hold on to the 4 KiB that they were written into


def _console_line(colours: bool) -> Callable[[WrappedLogger, str, EventDict], bytes]:
    def line(_: WrappedLogger, __: str, fields: EventDict) -> bytes:
        return console_line({key: plain(value) for key, value in fields.items()}, colours=colours).encode() + b"\n"

    return line


def _duplicate(fd: int) -> int:
    try:
        return os.dup(fd)
    except OSError:
        return _CLOSED
