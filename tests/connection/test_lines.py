"""The lines that connections of one proxy share, by rule, shape and direction."""

from faultproxy.connection.lines import Lines
from faultproxy.faults.bandwidth import Bandwidth
from faultproxy.faults.base import Direction
from faultproxy.faults.latency import Latency
from faultproxy.faults.line import Line

UP, DOWN = Direction.UPSTREAM, Direction.DOWNSTREAM


def shared(rate: str) -> Bandwidth:
    return Bandwidth.model_validate({"rate": rate, "per": "proxy"})


def test_a_line_for_each_rule_and_direction() -> None:
    """All connections are given the same."""
    lines, shape = Lines(), shared("1MB/s")
    line = lines.get("r", shape, DOWN)
    assert lines.get("r", shared("1MB/s"), DOWN) is line
    assert len({line, lines.get("r", shape, UP), lines.get("other", shape, DOWN)}) == 3


def test_an_edit_brings_another_line() -> None:
    """It begins where the one before has ended; rules that are gone leave none."""
    lines = Lines()
    line = lines.get("r", shared("1kB/s"), DOWN)
    assert isinstance(line, Line)
    line.book(line(), 0.0, 500)
    faster = lines.get("r", shared("2kB/s"), DOWN)
    assert isinstance(faster, Line)
    assert (faster is not line, faster.paid_until) == (True, 0.5)
    lines.keep({"other"})
    assert lines.get("r", shared("2kB/s"), DOWN) is not faster


def test_what_is_not_shared() -> None:
    """Most shapes are at work for one connection alone."""
    assert not Latency.model_validate({"delay": "1s"}).is_shared
    assert not Bandwidth.model_validate({"rate": "1MB/s"}).is_shared
    assert Lines().get("r", Latency.model_validate({"delay": "1s"}), UP) is None
