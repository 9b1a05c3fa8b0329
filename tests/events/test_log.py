"""Real pipes and threads: whoever reads the log, or does not, never holds up whoever writes it."""

import errno
import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from faultproxy.events import log
from faultproxy.events.log import MAX_BYTES, MAX_LINES, Log, LogWriter, make_logger
from faultproxy.events.stats import Stats
from faultproxy.events.types import ConnectionOpened, Level, OutageStarted, UpstreamFailed
from tests.events.samples import FAULT, OPENED

PATIENCE_S = 30.0
LONG = b"x" * 1000 + b"\n"


class Pipe:
    """A pipe whose read end a test reads when it likes."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def read_to_end(self) -> list[bytes]:
        """All lines until the last writer is gone."""
        with os.fdopen(os.dup(self.read_fd), "rb") as file:
            return file.read().splitlines()

    def read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([self.read_fd], [], [], PATIENCE_S)[0]
            line += os.read(self.read_fd, 1)
        return line[:-1]

    def close(self) -> None:
        for fd in (self.read_fd, self.write_fd):
            with suppress(OSError):
                os.close(fd)


class Reader(threading.Thread):
    """Reads a pipe to its end in a thread."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self.pipe = pipe
        self.lines: list[bytes] = []
        self.start()

    def run(self) -> None:
        self.lines = self.pipe.read_to_end()

    def result(self) -> list[bytes]:
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self.lines


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def finish(writer: LogWriter, pipe: Pipe) -> list[bytes]:
    """Close the writer while somebody reads; all that came out."""
    os.close(pipe.write_fd)  # the writer has a descriptor of its own
    reader = Reader(pipe)
    writer.close(PATIENCE_S)
    return reader.result()


def stalled(pipe: Pipe, *, blocking: bool = True) -> LogWriter:
    """A writer whose thread has an empty line in hand, and is stuck with it on a pipe that is full."""
    os.set_blocking(pipe.write_fd, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe.write_fd, b"\n" * 4096)
    os.set_blocking(pipe.write_fd, blocking)
    writer = LogWriter(pipe.write_fd)
    writer.write(b"\n")
    while writer._queue:
        time.sleep(0.001)
    return writer


def until_empty(writer: LogWriter) -> None:
    """Wait until the writer's thread has nothing more to write."""
    while not writer._idle:
        time.sleep(0.001)


def read_log(lines: list[bytes]) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines if line.strip()]


def assert_complete(events: list[dict[str, object]], written: int) -> None:
    """Every numbered line is there in its place, or counted by a log.dropped in its place."""
    number = 0
    for event in events:
        if event["event"] == "log.dropped":
            assert event["level"] == "warning"
            number += int(str(event["count"]))
        else:
            assert event["number"] == number
            number += 1
    assert number == written


def test_lines_arrive_in_their_order(pipe: Pipe) -> None:
    """Every line that was written comes out once, whole, in its order."""
    writer = LogWriter(pipe.write_fd)
    for number in range(500):
        writer.write(b"%d\n" % number)
    assert finish(writer, pipe) == [b"%d" % number for number in range(500)]


def test_a_line_comes_out_without_another_one(pipe: Pipe) -> None:
    """A line is written at once: nothing waits for more lines, or for the end."""
    writer = LogWriter(pipe.write_fd)
    for number in range(50):
        writer.write(b"%d\n" % number)
        assert pipe.read_line() == b"%d" % number
    writer.close(PATIENCE_S)


def test_several_threads_may_write(pipe: Pipe) -> None:
    """Lines of several threads are never mixed, and each thread's keep their order."""
    writer = LogWriter(pipe.write_fd)
    names = [b"a", b"b", b"c", b"d"]

    def write(name: bytes) -> None:
        for number in range(300):
            writer.write(b"%s %d\n" % (name, number))

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = finish(writer, pipe)
    for name in names:
        assert [line for line in lines if line.startswith(name)] == [b"%s %d" % (name, i) for i in range(300)]


def test_a_stalled_reader_never_stalls_the_writer(pipe: Pipe) -> None:
    """With a pipe that nobody reads, 20 MB of lines are taken without an end; what came out is whole and counted."""
    writer = stalled(pipe)
    logger = make_logger(writer, "json", "info")
    written = 20_000
    for number in range(written):  # that this loop ends is the assertion: nobody reads
        logger.info("line", number=number, filling="x" * 1000)
    events = read_log(finish(writer, pipe))
    assert "log.dropped" in [event["event"] for event in events]
    assert_complete(events, written)


def test_drops_are_reported_where_they_happened(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stall come the lines that were kept, then log.dropped, then the lines written since."""
    monkeypatch.setattr(log, "MAX_LINES", 100)
    writer = stalled(pipe)
    logger = make_logger(writer, "json", "info")
    for number in range(1000):
        logger.info("before", number=number)
    reader = Reader(pipe)
    os.close(pipe.write_fd)
    until_empty(writer)
    logger.info("after")
    writer.close(PATIENCE_S)
    events = [str(event["event"]) for event in read_log(reader.result())]
    first_drop = events.index("log.dropped")
    assert first_drop == 100
    assert set(events[:first_drop]) == {"before"}
    assert events[first_drop:] == ["log.dropped", "after"]


def test_the_queue_is_bounded_in_bytes(pipe: Pipe) -> None:
    """However long the reader stalls, the memory for the log is bounded."""
    writer = stalled(pipe)
    for _ in range(3 * MAX_BYTES // len(LONG)):
        writer.write(LONG)
    assert writer._queued_bytes <= MAX_BYTES
    assert writer._dropped > 0
    finish(writer, pipe)


def test_the_queue_is_bounded_in_lines(pipe: Pipe) -> None:
    """Short lines are bounded by their number."""
    writer = stalled(pipe)
    for _ in range(3 * MAX_LINES):
        writer.write(b"\n")
    assert len(writer._queue) <= MAX_LINES
    assert writer._dropped > 0
    finish(writer, pipe)


def test_what_is_written_leaves_room(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on what waits: a reader that keeps up gets any number of lines."""
    monkeypatch.setattr(log, "MAX_BYTES", len(LONG))
    writer = LogWriter(pipe.write_fd)
    for _ in range(20):
        writer.write(LONG)
        assert pipe.read_line() + b"\n" == LONG
    writer.close(PATIENCE_S)


def test_a_line_that_never_fits_is_reported_and_gone(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than the whole queue is dropped and reported at once; the next one comes out."""
    monkeypatch.setattr(log, "MAX_BYTES", len(LONG) - 1)
    writer = LogWriter(pipe.write_fd)
    writer.write(LONG)
    reported = json.loads(pipe.read_line())
    assert (reported["event"], reported["count"]) == ("log.dropped", 1)
    writer.write(b"next\n")
    assert pipe.read_line() == b"next"
    writer.close(PATIENCE_S)


def test_no_line_overtakes_a_drop(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a long line found no room, a short one that would fit is dropped too, until the drop is reported."""
    monkeypatch.setattr(log, "MAX_BYTES", len(LONG))
    writer = stalled(pipe)
    for line in (b"first\n", LONG, b"short\n"):
        writer.write(line)
    first, reported = [line for line in finish(writer, pipe) if line]
    assert first == b"first"
    assert json.loads(reported)["count"] == 2


def test_a_dead_reader_stops_nobody(pipe: Pipe) -> None:
    """When the read end is closed, writing goes on, lines are dropped and counted, and closing takes no time."""
    writer = LogWriter(pipe.write_fd)
    os.close(pipe.read_fd)
    for _ in range(3 * MAX_BYTES // len(LONG)):
        writer.write(LONG)
    writer.close(PATIENCE_S)
    assert not writer._thread.is_alive()


def test_a_reader_that_comes_back_misses_only_the_drops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIFO whose reader died and is replaced goes on with whole lines: those kept, then log.dropped."""
    monkeypatch.setattr(log, "RETRY_S", 0.01)
    monkeypatch.setattr(log, "MAX_LINES", 100)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read_fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_fd = os.open(path, os.O_WRONLY)
    writer = LogWriter(write_fd)
    os.close(write_fd)
    os.close(read_fd)
    logger = make_logger(writer, "json", "info")
    for number in range(1000):
        logger.info("line", number=number)
    with path.open("rb") as fifo:
        until_empty(writer)
        writer.close(PATIENCE_S)
        events = read_log(fifo.read().splitlines())
    assert "log.dropped" in [event["event"] for event in events]
    assert_complete(events, 1000)


def test_a_full_disk_is_waited_for(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is full lines are kept; a line that was cut is finished when there is room again."""
    monkeypatch.setattr(log, "RETRY_S", 0.001)
    outcomes: list[int | OSError] = [3, OSError(errno.ENOSPC, "full"), OSError(errno.ENOSPC, "full")]
    write = os.write

    def write_to_full_disk(fd: int, data: memoryview) -> int:
        outcome = outcomes.pop(0) if outcomes else len(data)
        if isinstance(outcome, OSError):
            raise outcome
        return write(fd, data[:outcome])

    monkeypatch.setattr(os, "write", write_to_full_disk)
    writer = LogWriter(pipe.write_fd)
    writer.write(b"one line\n")
    assert pipe.read_line() == b"one line"
    assert outcomes == []
    writer.close(PATIENCE_S)


def test_a_full_disk_does_not_hold_up_the_end() -> None:
    """Closing gives up on a disk that stays full; that it is full is said once."""
    said: list[str] = []
    with open("/dev/full", "wb") as disk:  # noqa: PTH123  # a device, not a path to walk
        writer = LogWriter(disk.fileno(), said.append)
    for _ in range(1000):
        writer.write(LONG)
    writer.close(PATIENCE_S)
    assert not writer._thread.is_alive()
    (sentence,) = said
    assert sentence.startswith("cannot write the log: No space left on device (ENOSPC); lines wait until it can be")


def test_a_non_blocking_descriptor_loses_nothing(pipe: Pipe) -> None:
    """Where another process made the descriptor non-blocking, the writer waits for room."""
    writer = stalled(pipe, blocking=False)
    written = [b"%d" % number for number in range(1000)]
    for line in written:
        writer.write(line + b"\n")
    assert [line for line in finish(writer, pipe) if line.strip()] == written


def test_the_descriptor_stays_blocking(pipe: Pipe) -> None:
    """The shell and other processes share the descriptor, so it stays as it is."""
    writer = LogWriter(pipe.write_fd)
    assert os.get_blocking(pipe.write_fd)
    writer.close(PATIENCE_S)


def test_a_closed_descriptor_gets_nothing_when_used_again(pipe: Pipe) -> None:
    """A descriptor closed before the start is never written to, even when a client's socket gets its number."""
    fd = os.dup(pipe.write_fd)
    os.close(fd)
    writer = LogWriter(fd)
    os.dup2(pipe.write_fd, fd)
    writer.write(b"line\n")
    writer.close(PATIENCE_S)
    os.close(fd)
    assert finish(LogWriter(pipe.write_fd), pipe) == []


def test_closing_waits_for_a_slow_reader(pipe: Pipe) -> None:
    """What is queued at the end still comes out, with what was dropped as the last line."""
    writer = stalled(pipe)
    logger = make_logger(writer, "json", "info")
    for number in range(MAX_BYTES // 200):
        logger.info("line", number=number, filling="x" * 500)
    assert read_log(finish(writer, pipe))[-1]["event"] == "log.dropped"


def test_closing_does_not_wait_for_a_stalled_reader(pipe: Pipe) -> None:
    """Closing returns although nobody reads; its thread is no reason to stay."""
    writer = stalled(pipe)
    writer.write(LONG)
    writer.close(0.01)
    assert writer._thread.is_alive()
    assert writer._thread.daemon
    finish(writer, pipe)


def test_a_process_ends_with_a_stalled_reader(pipe: Pipe) -> None:
    """The interpreter ends although its log is stuck in a pipe."""
    program = (
        "from faultproxy.events.log import LogWriter\n"
        "writer = LogWriter()\n"
        "for _ in range(10000): writer.write(b'x' * 1000 + b'\\n')\n"
        "writer.close(0.1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, "-c", program], stdout=pipe.write_fd, env=environment, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 0


def test_lines_after_the_end_are_lost_quietly(pipe: Pipe) -> None:
    """Writing to a closed writer does nothing, and closing it again does nothing."""
    writer = LogWriter(pipe.write_fd)
    writer.close(PATIENCE_S)
    writer.write(b"late\n")
    writer.close(PATIENCE_S)
    os.close(pipe.write_fd)
    assert pipe.read_to_end() == []


def test_a_json_line_begins_with_its_time_level_and_event(pipe: Pipe) -> None:
    """Key order is timestamp, level, event, then the fields as given; the time is ISO 8601 in UTC."""
    writer = LogWriter(pipe.write_fd)
    make_logger(writer, "json", "info").info("thing.happened", zebra=1, ant="é")
    (line,) = finish(writer, pipe)
    pairs = json.loads(line, object_pairs_hook=list)
    assert [key for key, _ in pairs] == ["timestamp", "level", "event", "zebra", "ant"]
    assert [value for _, value in pairs[1:]] == ["info", "thing.happened", 1, "é"]
    time_told = pairs[0][1]
    assert time_told.endswith("Z")
    assert abs(datetime.fromisoformat(time_told) - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_payload_is_never_logged(pipe: Pipe, log_format: log.Format) -> None:
    """Bytes come out as how many they are, however deep they lie."""
    writer = LogWriter(pipe.write_fd)
    secret = b"secret"
    make_logger(writer, log_format, "info").info(
        "leak", plain=secret, listed=[secret, (secret,)], mapped={"key": secret, secret: 1}, view=memoryview(secret)
    )
    (line,) = finish(writer, pipe)
    assert b"secret" not in line
    assert line.count(b"6 bytes") == 6


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    ["\udcff half a pair", 2**70, float("nan"), {1: 2, ("a",): "b"}, {"set"}, object(), ValueError("no"), Path("/tmp")],
    ids=lambda value: type(value).__name__,
)
def test_any_value_can_be_logged(pipe: Pipe, log_format: log.Format, value: object) -> None:
    """A value that JSON has no form for never raises, and gives one line."""
    writer = LogWriter(pipe.write_fd)
    make_logger(writer, log_format, "info").info("odd", value=value, deep=[value, "\udcff"])
    (line,) = finish(writer, pipe)
    if log_format == "json":
        assert json.loads(line)["deep"][1] == "\\udcff"


def test_a_console_event_is_one_line(pipe: Pipe) -> None:
    """Newlines and terminal controls in a value stay escaped; without a terminal there are no colours."""
    writer = LogWriter(pipe.write_fd)
    logger = make_logger(writer, "console", "info")
    logger.info("thing.happened", name="two\nlines\r\x1b[31mred", colour="\x1b[31m", listed=["a\nb"])
    logger.info("other.happened")
    first, second = finish(writer, pipe)
    assert b"thing.happened" in first
    assert b"two\\nlines" in first
    assert b"other.happened" in second
    assert b"\x1b" not in first + second


def test_a_terminal_gets_colours() -> None:
    """On a terminal the console format is coloured."""
    reader, terminal = pty.openpty()
    writer = LogWriter(terminal)
    make_logger(writer, "console", "info").info("thing.happened")
    writer.close(PATIENCE_S)
    assert b"\x1b[" in os.read(reader, 4096)
    os.close(terminal)
    os.close(reader)


def test_drops_are_reported_in_the_format_of_the_other_lines(pipe: Pipe) -> None:
    """log.dropped of a console log is a console line."""
    writer = LogWriter(pipe.write_fd)
    make_logger(writer, "console", "info")
    line = writer.render_dropped(7)
    assert b"  7 lines are missing here" in line
    assert line.endswith(b"\n")
    writer.close(PATIENCE_S)


def test_the_level_filters(pipe: Pipe) -> None:
    """Events below the level are not written."""
    writer = LogWriter(pipe.write_fd)
    logger = make_logger(writer, "json", "warning")
    for tell in (logger.debug, logger.info, logger.warning, logger.error):
        tell("event")
    assert [event["level"] for event in read_log(finish(writer, pipe))] == ["warning", "error"]


def test_each_event_is_a_line(pipe: Pipe) -> None:
    """With its level and its fields; a fault's line has the count of its rule beside the ordinal."""
    writer, stats = LogWriter(pipe.write_fd), Stats()
    log = Log(writer, stats)
    for _ in range(2):
        stats.receive(FAULT)
        log.receive(FAULT)
    first, second = read_log(finish(writer, pipe))
    assert list(first)[:4] == ["timestamp", "level", "event", "proxy"]
    assert (first["level"], first["event"], first["ordinal"], first["injected"]) == ("info", "fault.injected", 3, 1)
    assert second["injected"] == 2


@pytest.mark.parametrize(
    ("level", "wanted"),
    [("debug", {"debug", "info", "warning", "error"}), ("info", {"info", "warning", "error"}), ("error", {"error"})],
)
def test_only_what_is_written_is_wanted(pipe: Pipe, level: Level, wanted: set[str]) -> None:
    """An event below the level need not be made."""
    writer = LogWriter(pipe.write_fd)
    log = Log(writer, Stats(), level=level)
    assert {kind.level for kind in log.wants} == wanted
    assert (ConnectionOpened in log.wants) == (level == "debug")
    writer.close(PATIENCE_S)


def test_format_and_level_change_while_running(pipe: Pipe) -> None:
    """After configure, events come out in the new format, and from the new level up are wanted."""
    writer = LogWriter(pipe.write_fd)
    log = Log(writer, Stats(), "json", "debug")
    log.receive(OPENED)
    log.configure("console", "warning")
    assert OutageStarted not in log.wants
    assert UpstreamFailed in log.wants
    log.receive(UpstreamFailed(proxy="a", connection="a#3", client="x", upstream="y", error="EIO", elapsed_ms=0.0))
    first, second = finish(writer, pipe)
    assert json.loads(first)["connection"] == "redis#17"
    assert b"a#3           x -> y  the upstream failed: EIO" in second


def test_the_format_is_for_whoever_reads(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody says which, a terminal gets lines for people, and all else JSON; NO_COLOR takes the colours away."""
    writer, stats = LogWriter(pipe.write_fd), Stats()
    stats.receive(FAULT)
    Log(writer, stats).receive(FAULT)
    (line,) = finish(writer, pipe)
    assert json.loads(line)["event"] == "fault.injected"
    monkeypatch.setenv("NO_COLOR", "1")
    reader, terminal = pty.openpty()
    writer = LogWriter(terminal)
    stats.receive(FAULT)
    Log(writer, stats).receive(FAULT)
    writer.close(PATIENCE_S)
    assert b"cut: reset (4KiB downstream), client sees ECONNRESET\r\n" in (shown := os.read(reader, 4096))
    assert b"\x1b" not in shown
    os.close(terminal)
    os.close(reader)
