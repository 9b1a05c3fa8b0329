"""The timer is readable from its moment on, never before."""

import os
import select
from collections.abc import Iterator
from time import monotonic

import pytest

from faultproxy.kernel.timerfd import Timer


@pytest.fixture
def timer() -> Iterator[Timer]:
    timer = Timer()
    yield timer
    timer.close()


def is_readable(timer: Timer, within_s: float = 0.0) -> bool:
    return bool(select.select([timer.fd], [], [], within_s)[0])


def test_never_early(timer: Timer) -> None:
    """It becomes readable, and not before the moment it was set to."""
    for _ in range(5):
        due = monotonic() + 0.01
        timer.set(due)
        assert is_readable(timer, 10)
        assert monotonic() >= due
        timer.acknowledge()
        assert not is_readable(timer)


@pytest.mark.parametrize("ago_s", [0.0, 1.0, 1e9])
def test_a_moment_that_is_past(timer: Timer, ago_s: float) -> None:
    """Set to a moment that is past, even to before there was a clock, it is readable at once."""
    timer.set(monotonic() - ago_s)
    assert is_readable(timer, 10)


def test_not_set(timer: Timer) -> None:
    """It is not readable until it is set; to acknowledge it then is no error."""
    assert not is_readable(timer)
    timer.acknowledge()


def test_set_again(timer: Timer) -> None:
    """The latest setting counts, be it earlier or later than the one before."""
    timer.set(monotonic() + 3600)
    timer.set(monotonic())
    assert is_readable(timer, 10)
    timer.set(monotonic() + 3600)
    assert not is_readable(timer)
    timer.acknowledge()


def test_closed_on_exec(timer: Timer) -> None:
    """A program that is started does not inherit it."""
    assert not os.get_inheritable(timer.fd)


def test_closed() -> None:
    """Closed, its descriptor is free again."""
    timer = Timer()
    timer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(timer.fd)
