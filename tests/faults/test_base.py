import pytest
from pydantic import ValidationError

from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import AT_ONCE, ClientSees, Direction, StreamShape, Trigger, TriggeredFault, options

VALID: list[tuple[object, str]] = [
    ("4KiB", "4KiB downstream"),
    ("1B", "1B downstream"),
    ("2s", "2s"),
    ("0B", "at once"),
    ("0s", "at once"),
    ({"bytes": "4KiB"}, "4KiB downstream"),
    ({"bytes": "10B", "direction": "upstream"}, "10B upstream"),
    ({"time": "3s"}, "3s"),
    ({"idle": "1m"}, "1m idle"),
    ({"match": "END"}, 'match of "END" downstream'),
    ({"match": "END", "nth": 3}, 'match 3 of "END" downstream'),
    ({"match": "QUIT\\r\\n", "direction": "upstream"}, 'match of "QUIT\\r\\n" upstream'),
]
INVALID: list[tuple[object, str]] = [
    (4, "has no unit"),
    (4.5, "has no unit"),
    ("4", "neither a size"),
    ("soon", "neither a size"),
    ("-1B", "neither a size"),
    (True, "neither a size"),
    (None, "neither a size"),
    ([], "neither a size"),
    ({}, "exactly one of bytes, time, idle and match"),
    ({"direction": "upstream"}, "exactly one of bytes, time, idle and match"),
    ({"bytes": "1B", "time": "1s"}, "exactly one of bytes, time, idle and match"),
    ({"time": "1s", "idle": "1s"}, "exactly one of bytes, time, idle and match"),
    ({"idle": "60s", "nth": 2}, "add match, or remove nth"),
    ({"match": "x", "nth": 0}, "greater than or equal to 1"),
    ({"bytes": "1B", "match": "x"}, "exactly one of bytes, time, idle and match"),
    ({"bytes": "1s"}, "not a size"),
    ({"time": "1B"}, "not a duration"),
    ({"match": "("}, "not a regular expression"),
    ({"match": "x*"}, "matches the empty text"),
    ({"bytes": "1B", "direction": "sideways"}, "upstream"),
    ({"bytes": "1B", "times": 3}, "times"),
]


@pytest.mark.parametrize(("written", "shown"), VALID, ids=str)
def test_a_trigger_says_what_it_was(written: object, shown: str) -> None:
    """Every way to write a trigger is read, shown in the log, and written back as a trigger that is the same."""
    trigger = Trigger.model_validate(written)
    assert str(trigger) == shown
    assert trigger.at_once is (shown == "at once")
    assert Trigger.model_validate(trigger.model_dump(mode="json", exclude_none=True)) == trigger


@pytest.mark.parametrize(("written", "wrong"), INVALID, ids=str)
def test_what_is_not_a_trigger(written: object, wrong: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(ValidationError) as error:
        Trigger.model_validate(written)
    assert wrong in str(error.value)


def test_without_a_trigger_it_is_injected_at_once() -> None:
    """Every one of them."""
    for kind in CATALOGUE:
        if issubclass(kind, TriggeredFault):
            assert kind().after == AT_ONCE


def test_a_shape_acts_on_both_directions_unless_it_says() -> None:
    """Every one of them."""
    examples = {
        "latency": {"delay": "1s"},
        "bandwidth": {"rate": "1B/s"},
        "slice": {"size": "1B"},
        "corrupt": {"probability": "1%"},
        "slow_close": {"delay": "1s"},
    }
    for kind in CATALOGUE:
        if issubclass(kind, StreamShape):
            example = kind.model_validate(examples[kind.key])
            assert all(example.acts_on(direction) for direction in Direction)
            down = kind.model_validate({**examples[kind.key], "direction": "downstream"})
            assert [down.acts_on(direction) for direction in Direction] == [False, True]
            assert kind.model_validate(options(down)) == down


def test_every_fault_is_documented() -> None:
    """A docstring, a key of its own, and for whom it is decided beforehand what the client sees."""
    assert len({kind.key for kind in CATALOGUE}) == len(CATALOGUE)
    for kind in CATALOGUE:
        assert kind.__doc__
        assert getattr(kind, "client_sees", "nothing") in ClientSees.__args__ or issubclass(kind, TriggeredFault)  # type: ignore[attr-defined]
