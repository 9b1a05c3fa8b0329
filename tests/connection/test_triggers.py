"""When triggered faults are due, played as a script: times and byte counts in, faults out."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultproxy.connection.triggers import Triggers
from faultproxy.faults.base import Direction
from tests.connection.connecting import match

UP, DOWN = Direction.UPSTREAM, Direction.DOWNSTREAM
ACCEPTED_AT = 100.0
PROPERTY = settings(derandomize=True, deadline=None, max_examples=200)


def waiting(*faults: dict[str, Any], dry_run: bool = False) -> Triggers:
    """Each of these faults stands in a rule of its own: ``r0``, ``r1``..."""
    triggers = Triggers(ACCEPTED_AT)
    triggers.add([match(f"r{place}", dry_run=dry_run, **fault) for place, fault in enumerate(faults)])
    return triggers


def due(triggers: Triggers, after_s: float = 0.0, *, up: int = 0, down: int = 0, reached: bool = True) -> list[str]:
    """The rules whose faults are due so long after the accept, with so many bytes delivered."""
    delivered = {UP: up, DOWN: down} if reached else None
    taken = []
    while (pending := triggers.take_due(ACCEPTED_AT + after_s, delivered)) is not None:
        taken.append(pending.match.rule)
    return taken


def test_at_once() -> None:
    """Due before the server is reached, unless the server is to see it; then as soon as it is."""
    triggers = waiting({"reset": {"to": "client"}}, {"reset": {"to": "server"}}, {"broken_pipe": {}}, {"close": {}})
    assert due(triggers, reached=False) == ["r0", "r2"]
    assert due(triggers) == ["r1", "r3"]
    assert not triggers


def test_a_time() -> None:
    """Due from its moment on, whether the server is reached or not."""
    triggers = waiting({"reset": {"after": "2s"}}, {"close": {"after": "1s"}})
    assert triggers.next_deadline() == 101.0
    assert due(triggers, 0.999) == []
    assert due(triggers, 1.0, reached=False) == ["r1"]
    assert triggers.next_deadline() == 102.0
    assert due(triggers, 5.0) == ["r0"]
    assert triggers.next_deadline() == math.inf


@PROPERTY
@given(st.floats(0, 1e7), st.integers(1, 10**9))
def test_at_its_deadline_it_is_due(accepted_at_s: float, after_us: int) -> None:
    """Whoever sleeps until the deadline finds the fault due, however the numbers round."""
    triggers = Triggers(accepted_at_s)
    triggers.add([match("r", reset={"after": f"{after_us}us"})])
    deadline = triggers.next_deadline()
    assert triggers.take_due(math.nextafter(deadline, 0), None) is None
    assert triggers.take_due(deadline, None) is not None


def test_bytes() -> None:
    """Due once its direction has delivered so many, which is until then that direction's limit."""
    triggers = waiting(
        {"reset": {"after": "10B"}},
        {"close": {"after": {"bytes": "5B", "direction": "upstream"}}},
        {"close": {"after": "20B"}},
    )
    assert (triggers.limit(UP), triggers.limit(DOWN)) == (5, 10)
    assert due(triggers, up=4, down=9) == []
    assert due(triggers, reached=False) == []
    assert due(triggers, up=5, down=9) == ["r1"]
    assert (triggers.limit(UP), triggers.limit(DOWN)) == (None, 10)
    assert due(triggers, up=9, down=30) == ["r0", "r2"]
    assert triggers.limit(DOWN) is None
    assert triggers.next_deadline() == math.inf


def test_a_match() -> None:
    """Due once the bytes up to its match's end are delivered, which is its limit from the moment it is found."""
    triggers = waiting(
        {"reset": {"after": {"match": "END"}}}, {"close": {"after": {"match": "x", "direction": "upstream"}}}
    )
    (matcher,) = triggers.matchers(DOWN, 100)
    assert triggers.limit(DOWN) is None
    assert matcher(b"..EN") is None
    assert due(triggers, down=1000) == []
    assert matcher(b"D!") == 105
    assert triggers.limit(DOWN) == 105
    assert due(triggers, down=104) == []
    assert due(triggers, down=105) == ["r0"]
    assert triggers.matchers(DOWN, 106) == []
    assert len(triggers.matchers(UP, 0)) == 1


def test_a_match_goes_on_where_it_was() -> None:
    """To ask again for what is to be shown the bytes does not begin the search anew; only new ones begin at the offset."""
    triggers = waiting({"reset": {"after": {"match": "END"}}})
    (matcher,) = triggers.matchers(DOWN, 0)
    matcher(b"EN")
    triggers.add([match("new", close={"after": {"match": "D"}})])
    again, new = triggers.matchers(DOWN, 2)
    assert again is matcher
    assert (again(b"D"), new(b"D")) == (3, 3)


def test_the_first_rule_comes_first() -> None:
    """Of several that are due they are taken in the rules' order, one at a time."""
    triggers = waiting({"reset": {"after": "2s"}}, {"reset": {"after": "1s"}}, {"reset": {"after": "1B"}})
    assert due(triggers, 3.0, down=1) == ["r0", "r1", "r2"]


@pytest.mark.parametrize(("asked", "deadline"), [(True, 101.0), (False, 103.0)])
def test_dry_runs(asked: bool, deadline: float) -> None:
    """They are pending like others; a fault that goes on waiting until the next one is due does not look at them."""
    triggers = waiting({"reset": {"after": "1s"}}, dry_run=True)
    triggers.add([match("real", reset={"after": "3s"})])
    assert triggers.next_deadline(dry_runs=asked) == deadline
    assert due(triggers, 1.0) == ["r0"]


def test_what_is_awaited() -> None:
    """A rule's fault is, until it is taken; shapes and connect faults are nothing to wait for."""
    triggers = waiting({"reset": {"after": "1s"}}, {"latency": {"delay": "1s"}}, {"refuse": {}})
    assert len(triggers) == 1
    assert triggers.awaits("r0")
    assert not triggers.awaits("r1")
    assert due(triggers, 1.0) == ["r0"]
    assert not triggers.awaits("r0")


def test_several_faults_of_one_rule() -> None:
    """Each waits for its own trigger."""
    triggers = waiting({"half_close": {"after": "1B"}, "reset": {"after": "2s"}})
    assert due(triggers, down=1) == ["r0"]
    assert triggers.awaits("r0")
    assert due(triggers, 2.0) == ["r0"]


def test_idle() -> None:
    """Due so long after the last byte either way, or after the fault came, whichever was later."""
    triggers = Triggers(ACCEPTED_AT)
    triggers.add([match("r", close={"after": {"idle": "5s"}})], 103.0)
    assert triggers.await_idle
    assert triggers.next_deadline() == 108.0
    assert triggers.next_deadline({UP: 101.0, DOWN: -math.inf}) == 108.0
    last = {UP: 104.0, DOWN: 106.5}
    assert triggers.next_deadline(last) == 111.5
    assert triggers.take_due(111.4, {UP: 0, DOWN: 0}, last) is None
    assert triggers.take_due(108.0, {UP: 0, DOWN: 0}, last) is None
    assert triggers.take_due(111.5, {UP: 0, DOWN: 0}, last) is not None
    assert not triggers.await_idle


def test_idle_in_one_direction() -> None:
    """The other direction's bytes do not count."""
    triggers = Triggers(ACCEPTED_AT)
    triggers.add([match("r", close={"after": {"idle": "5s", "direction": "upstream"}})])
    assert triggers.next_deadline({UP: 104.0, DOWN: 106.5}) == 109.0


def test_a_rule_that_comes_to_an_open_connection() -> None:
    """Its time and its bytes count from then, in each direction; also after a change, but not once it was removed."""
    triggers = Triggers(ACCEPTED_AT)
    up = {"after": {"bytes": "1B", "direction": "upstream"}}
    rule = match("r", reset={"after": "2s"}, close={"after": "10B"}, hang=up)
    triggers.add([rule], ACCEPTED_AT + 50, {UP: 7, DOWN: 1000})
    assert triggers.next_deadline() == ACCEPTED_AT + 52
    assert (triggers.limit(UP), triggers.limit(DOWN)) == (8, 1010)
    assert due(triggers, 51.0, up=7, down=1009) == []
    triggers.withdraw({"r"})
    triggers.add([match("r", close={"after": "20B"})], ACCEPTED_AT + 60, {UP: 7, DOWN: 1005})
    assert triggers.limit(DOWN) == 1020
    triggers.withdraw({"r"})
    triggers.forget({"r"})
    triggers.add([match("r", close={"after": "20B"})], ACCEPTED_AT + 60, {UP: 7, DOWN: 1005})
    assert triggers.limit(DOWN) == 1025
    assert due(triggers, 70.0, down=1025) == ["r"]


def test_the_nth_match() -> None:
    """It is the end of that match that bounds the direction."""
    triggers = waiting({"reset": {"after": {"match": "OK", "nth": 2}}})
    (matcher,) = triggers.matchers(DOWN, 0)
    assert matcher(b"OK..") is None
    assert triggers.limit(DOWN) is None
    matcher(b"OK..")
    assert triggers.limit(DOWN) == 6
    assert due(triggers, down=5) == []
    assert due(triggers, down=6) == ["r0"]


def test_withdrawn() -> None:
    """The faults of a rule wait no more, those of others do."""
    triggers = waiting({"reset": {"after": "3B"}}, {"close": {"after": "9B"}})
    triggers.withdraw({"r0", "other"})
    assert (triggers.awaits("r0"), triggers.limit(DOWN)) == (False, 9)
    assert due(triggers, down=20) == ["r1"]
