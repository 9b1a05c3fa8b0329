"""A window is open at the moments that it says, to the microsecond."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from faultproxy.rules.conditions.window import Window
from faultproxy.rules.facts import ConnectionFacts, RuleState

PROPERTY = settings(derandomize=True, deadline=None, max_examples=200)
TICKS_PER_S = 1_000_000


def window(start: int | None = None, to: int | None = None, every: int | None = None) -> Window:
    """A window from whole microseconds."""
    given_keys = {"from": start, "to": to, "every": every}
    return Window.model_validate({key: f"{ticks}us" for key, ticks in given_keys.items() if ticks is not None})


def test_a_window_includes_its_beginning_only() -> None:
    """A window is [from, to), once."""
    thirty = Window.model_validate({"from": "30s", "to": "45s"})
    holding = {0.0: False, 29.999999: False, 30.0: True, 44.999999: True, 45.0: False, 90.0: False}
    assert {at: thirty.is_open(at) for at in holding} == holding


def test_it_says_when_in_whole_microseconds() -> None:
    """As it is judged; the clock of a running proxy has more digits."""
    facts, state = ConnectionFacts(1, "10.0.0.7", 1103.6187510489836, 1), RuleState((0, "p", "r"), 1000.0)
    said = window(2_000_000, 5_000_000).explain(facts, state, holds=False)
    assert said == "at 103.618751s its window, from 2s to 5s, is closed"


def test_a_window_repeats() -> None:
    """With every, the window opens again in each period."""
    thirty = Window.model_validate({"from": "30s", "to": "45s", "every": "1m"})
    holding = {30.0: True, 45.0: False, 89.999999: False, 90.0: True, 104.999999: True, 105.0: False, 3630.0: True}
    assert {at: thirty.is_open(at) for at in holding} == holding


def test_the_ends_of_a_window_have_defaults() -> None:
    """Without from a window opens at 0s; without to it stays open, or until its period ends."""
    assert [Window.model_validate({"to": "2s"}).is_open(at) for at in (0.0, 1.9, 2.0)] == [True, True, False]
    assert [Window.model_validate({"from": "2s"}).is_open(at) for at in (1.9, 2.0, 1e9)] == [False, True, True]
    last_second = Window.model_validate({"from": "2s", "every": "3s"})
    assert [last_second.is_open(at) for at in (1.9, 2.0, 2.9, 3.0, 5.0)] == [False, True, True, False, True]


@pytest.mark.parametrize(
    ("keys", "at_s", "edge"),
    [
        ({"from": "30s", "to": "45s"}, 0.0, 30.0),
        ({"from": "30s", "to": "45s"}, 30.0, 45.0),
        ({"from": "30s", "to": "45s"}, 45.0, None),
        ({"from": "30s"}, 30.0, None),
        ({"to": "45s"}, 0.0, 45.0),
        ({"from": "30s", "to": "45s", "every": "1m"}, 45.0, 90.0),
        ({"from": "30s", "to": "45s", "every": "1m"}, 60.0, 90.0),
        ({"from": "30s", "every": "1m"}, 45.0, 60.0),
        ({"to": "45s", "every": "1m"}, 45.0, 60.0),
        ({"from": "0s", "every": "1m"}, 10.0, None),
        ({"from": "0s"}, 10.0, None),
        ({"from": "0s", "to": "1m", "every": "1m"}, 10.0, None),
    ],
)
def test_the_next_edge_of_a_window(keys: dict[str, str], at_s: float, edge: float | None) -> None:
    """The next edge is when the window next opens or closes; one that is always open has none."""
    assert Window.model_validate(keys).next_edge(at_s) == edge


@st.composite
def repeated(draw: st.DrawFn) -> tuple[int, int, int]:
    """from, to and every in microseconds."""
    every = draw(st.integers(10_000, 10 * TICKS_PER_S))
    start = draw(st.integers(0, every - 1))
    return start, draw(st.integers(start + 1, every)), every


MOMENT = st.integers(0, 30 * 86400 * TICKS_PER_S)


@PROPERTY
@given(ends=repeated(), tick=MOMENT)
def test_a_repeated_window_is_exact(ends: tuple[int, int, int], tick: int) -> None:
    """A month after it took effect a window still opens and closes to the microsecond."""
    start, to, every = ends
    assert window(start, to, every).is_open(tick / TICKS_PER_S) == (start <= tick % every < to)


@PROPERTY
@given(ends=repeated(), period=st.integers(0, 1000), offset=st.sampled_from([-1, 0, 1]))
def test_edges_are_exact(ends: tuple[int, int, int], period: int, offset: int) -> None:
    """A microsecond before, at, and after each edge of any period a window is as its definition says."""
    start, to, every = ends
    for edge in (start, to):
        tick = max(0, period * every + edge + offset)
        assert window(start, to, every).is_open(tick / TICKS_PER_S) == (start <= tick % every < to)


@PROPERTY
@given(ends=repeated(), tick=MOMENT, between=st.lists(st.floats(0, 1, exclude_max=True), max_size=5))
def test_nothing_changes_between_edges(ends: tuple[int, int, int], tick: int, between: list[float]) -> None:
    """Until the next edge a window stays as it is, and at the edge it changes, edge after edge."""
    repeats = window(*ends)
    now_s = tick / TICKS_PER_S
    for _ in range(4):
        edge_s = repeats.next_edge(now_s)
        if edge_s is None:
            assert (ends[0], ends[1]) == (0, ends[2])  # always open
            return
        assert edge_s > now_s
        first, last = round(now_s * TICKS_PER_S), round(edge_s * TICKS_PER_S) - 1
        for fraction in (*between, 1.0):
            within_s = (first + int(fraction * (last - first))) / TICKS_PER_S
            assert repeats.is_open(within_s) == repeats.is_open(now_s)
        assert repeats.is_open(edge_s) != repeats.is_open(now_s)
        now_s = edge_s


@PROPERTY
@given(ends=repeated(), since_s=st.floats(0, 1e8), now_s=st.floats(0, 1e6))
def test_a_clock_that_waits_for_an_edge_reaches_it(ends: tuple[int, int, int], since_s: float, now_s: float) -> None:
    """Whatever a clock's zero, rounding never has it wake at an edge and find nothing changed."""
    repeats = window(*ends)
    elapsed_s = (since_s + now_s) - since_s
    edge_s = repeats.next_edge(elapsed_s)
    if edge_s is not None:
        deadline_s = (since_s + now_s) + edge_s - elapsed_s
        assert repeats.is_open(deadline_s - since_s) != repeats.is_open(elapsed_s)


@pytest.mark.parametrize(
    "keys",
    [
        {"from": "2s", "to": "2s"},
        {"from": "3s", "to": "2s"},
        {"from": "2s", "to": "5s", "every": "4s"},
        {"from": "4s", "every": "4s"},
        {"from": "0s", "every": "0s"},
    ],
)
def test_a_window_that_makes_no_sense_is_refused(keys: dict[str, str]) -> None:
    """A window that is never open, or longer than its period, is an error."""
    with pytest.raises(ValidationError):
        Window.model_validate(keys)
