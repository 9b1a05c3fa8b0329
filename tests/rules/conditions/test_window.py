"""What a rule's conditions hold for."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from faultproxy.rules.conditions import Arrival, Bounds, When, Window

PROPERTY = settings(derandomize=True, deadline=None, max_examples=200)
TICKS_PER_S = 1_000_000


def unmet(
    when: dict[str, Any],
    *,
    client: str = "10.0.0.1",
    number: int = 1,
    open_connections: int = 1,
    elapsed_s: float = 0.0,
) -> str | None:
    return When.model_validate(when).unmet(Arrival(number, client, 0.0, open_connections), elapsed_s)


def chosen(when: dict[str, Any], most: int = 12) -> list[int]:
    """Which of a rule's first connections its ordinals choose."""
    conditions = When.model_validate(when)
    return [count for count in range(1, most + 1) if conditions.missed(count) is None]


@pytest.mark.parametrize(
    ("networks", "client", "holds"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        (["192.168.0.0/16", "10.0.0.0/8"], "10.0.0.1", True),
        (["192.168.0.0/16", "10.0.0.0/8"], "172.16.0.1", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("::/0", "10.0.0.1", False),
        ("0.0.0.0/0", "::1", False),
    ],
)
def test_client(networks: object, client: str, holds: bool) -> None:
    """A client is in one of the networks; a bare address is a network of one; a zone does not matter."""
    assert unmet({"client": networks}, client=client) == (None if holds else "client")


@pytest.mark.parametrize(
    ("bounds", "holding"),
    [({"min": 2}, [2, 3, 4]), ({"max": 2}, [0, 1, 2]), ({"min": 1, "max": 2}, [1, 2]), ({"max": 0}, [0])],
)
def test_open_connections(bounds: dict[str, int], holding: list[int]) -> None:
    """Bounds include both ends."""
    assert [count for count in range(5) if Bounds.model_validate(bounds).holds(count)] == holding
    assert [
        count for count in range(5) if unmet({"open_connections": bounds}, open_connections=count) is None
    ] == holding


@pytest.mark.parametrize(("numbers", "holding"), [(2, [2]), ([3, 1], [1, 3])])
def test_connection(numbers: object, holding: list[int]) -> None:
    """A connection is chosen by the proxy's own number of it."""
    assert [number for number in range(1, 5) if unmet({"connection": numbers}, number=number) is None] == holding


def test_all_conditions_must_hold() -> None:
    """One condition that does not hold is enough, and it is named."""
    when = {
        "client": "10.0.0.0/8",
        "window": {"from": "1s", "to": "2s"},
        "open_connections": {"min": 2},
        "connection": 7,
    }
    all_hold: dict[str, Any] = {"client": "10.1.1.1", "elapsed_s": 1.5, "open_connections": 2, "number": 7}
    assert unmet(when, **all_hold) is None
    assert unmet(when, **{**all_hold, "client": "11.1.1.1"}) == "client"
    assert unmet(when, **{**all_hold, "elapsed_s": 2.0}) == "window"
    assert unmet(when, **{**all_hold, "open_connections": 1}) == "open_connections"
    assert unmet(when, **{**all_hold, "number": 8}) == "connection"


def test_no_condition_holds_for_everybody() -> None:
    """Absent conditions hold for every connection."""
    assert unmet({}) is None
    assert chosen({}, most=4) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("when", "counts"),
    [
        ({"first": 3}, [1, 2, 3]),
        ({"skip": 9}, [10, 11, 12]),
        ({"nth": 5}, [5]),
        ({"nth": [7, 2]}, [2, 7]),
        ({"every": 4}, [4, 8, 12]),
        ({"every": 1, "first": 2}, [1, 2]),
        ({"skip": 3, "first": 6}, [4, 5, 6]),
        ({"skip": 3, "every": 3}, [6, 9, 12]),
        ({"skip": 2, "first": 10, "every": 2, "nth": [2, 4, 5, 12]}, [4]),
        ({"skip": 3, "first": 3}, []),
    ],
)
def test_ordinals(when: dict[str, Any], counts: list[int]) -> None:
    """first, skip, nth and every choose among the rule's own counts from 1; together, all must hold."""
    assert chosen(when) == counts


COUNT = st.integers(1, 30)


@PROPERTY
@given(
    when=st.fixed_dictionaries(
        {}, optional={"first": COUNT, "skip": COUNT, "nth": st.lists(COUNT, min_size=1), "every": COUNT}
    )
)
def test_ordinals_combine_as_sets(when: dict[str, Any]) -> None:
    """What several ordinals choose is what each of them chooses."""
    each = [set(chosen({key: value}, most=40)) for key, value in when.items()]
    assert set(chosen(when, most=40)) == set(range(1, 41)).intersection(*each)


def window(start: int | None = None, to: int | None = None, every: int | None = None) -> Window:
    """A window from whole microseconds."""
    given_keys = {"from": start, "to": to, "every": every}
    return Window.model_validate({key: f"{ticks}us" for key, ticks in given_keys.items() if ticks is not None})


def test_a_window_includes_its_beginning_only() -> None:
    """A window is [from, to), once."""
    thirty = Window.model_validate({"from": "30s", "to": "45s"})
    holding = {0.0: False, 29.999999: False, 30.0: True, 44.999999: True, 45.0: False, 90.0: False}
    assert {at: thirty.is_open(at) for at in holding} == holding


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
def test_a_clock_that_waits_for_an_edge_meets_it(ends: tuple[int, int, int], since_s: float, now_s: float) -> None:
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


@pytest.mark.parametrize("keys", [{}, {"min": 3, "max": 2}, {"min": -1}, {"min": "3"}, {"min": True}])
def test_bounds_that_make_no_sense_are_refused(keys: dict[str, Any]) -> None:
    """Bounds that nothing can meet, that say nothing, or that are no counts are an error."""
    with pytest.raises(ValidationError):
        Bounds.model_validate(keys)
