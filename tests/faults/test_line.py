"""A line that streams share, played as a script: each is read as the pipe would read it, and time is a number."""

from collections import Counter
from heapq import heapify, heappop, heappush

import pytest

from faultproxy.faults.line import Line, Turns

RATE = 1_000_000.0
BURST = 10_000


class Script:
    """Streams that all have more to send than passes, and what has left, when, and whose it was."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.left: list[tuple[float, str, int]] = []

    def play(self, streams: dict[str, Turns], start: float, stop: float) -> None:
        turns = [(start, name) for name in streams]
        heapify(turns)
        while turns[0][0] < stop:
            now, name = heappop(turns)
            ((due, data, _),) = streams[name].shape(now, 0, bytes(streams[name].max_read))
            self.left.append((due, name, len(data)))
            heappush(turns, (max(now, streams[name].not_before), name))

    def sent(self, start: float, stop: float) -> Counter[str]:
        """The bytes of each stream that left in this time."""
        sent: Counter[str] = Counter()
        for due, name, size in self.left:
            if start <= due < stop:
                sent[name] += size
        return sent


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_line_is_shared_fairly(count: int) -> None:
    """From the first second on each has its share, and all together the rate."""
    script = Script(Line(RATE, BURST))
    script.play({str(number): script.line() for number in range(count)}, 100.0, 103.0)
    for second in (100.0, 101.0, 102.0):
        assert sum(script.sent(second, second + 1).values()) == pytest.approx(RATE, rel=0.011)
    sent = script.sent(101.0, 102.0).values()
    assert len(sent) == count
    assert min(sent) >= 0.9 * max(sent)


def test_who_comes_later_has_its_turn_soon() -> None:
    """A stream had all of the line; a tenth of a second after another came, each has half; then that has all."""
    script = Script(Line(RATE, BURST))
    first, second = {"first": script.line()}, {"second": script.line()}
    script.play(first, 0.0, 1.0)
    script.play(first | second, 1.0, 3.0)
    script.play(second, 3.0, 5.0)
    assert script.sent(0.0, 1.0) == {"first": pytest.approx(RATE, rel=0.011)}
    sent = script.sent(1.25, 2.25)
    assert sent["first"] == pytest.approx(sent["second"], rel=0.1)
    assert sum(sent.values()) == pytest.approx(RATE, rel=0.011)
    assert script.sent(3.5, 4.5) == {"second": pytest.approx(RATE, rel=0.011)}


def test_pieces_are_smaller_the_more_streams_there_are() -> None:
    """A burst for one; no less than half a millisecond of the line, and never nothing."""
    line = Line(RATE, BURST)
    assert line.piece == BURST
    for _ in range(5):
        line.book(line(), 0.0, 100)
    assert line.piece == BURST // 5
    for _ in range(100):
        line.book(line(), 0.0, 100)
    assert line.piece == 500
    line.book(line(), 1e6, 1)  # the others have nothing in it any more
    assert line.piece == BURST
    slow = Line(1.0, 1)
    for _ in range(10):
        slow.book(slow(), 0.0, 1)
    assert slow.piece == 1


def test_another_line_takes_its_place() -> None:
    """What the one before has sold is paid for, so that no second has more than the rate."""
    before = Line(1000.0, 10)
    before.book(before(), 0.0, 500)
    after = Line(2000.0, 20, before)
    assert after.book(after(), 0.0, 100) == pytest.approx(0.55)


def test_idle_time_earns_nothing() -> None:
    """The first byte after a pause is paid for as if it were the first of all."""
    line = Line(1000.0, 10)
    stream = line()
    assert stream.shape(0.0, 0, bytes(10)) == [(0.01, bytes(10), False)]
    ((due, data, own_segment),) = stream.shape(60.0, 10, bytes(10))
    assert due == pytest.approx(60.01)
    assert (data, own_segment) == (bytes(10), False)


def test_the_end_comes_behind_the_last_byte() -> None:
    """Of its own stream: what others have in the line is nothing to it."""
    line = Line(1000.0, 10)
    one, other = line(), line()
    one.shape(0.0, 0, bytes(10))
    other.shape(0.0, 0, bytes(1000))
    assert one.end(0.0, fin=True) == pytest.approx(0.01)
    assert one.end(5.0, fin=True) == 5.0
