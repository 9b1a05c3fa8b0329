"""All conditions that are given must hold."""

from typing import Any

from faultproxy.rules.conditions import CONDITIONS
from faultproxy.rules.when import BaseWhen, When
from tests.rules.conditions.judging import chosen, missed


def test_all_conditions_must_hold() -> None:
    """One condition that does not hold is enough, and it is named."""
    when = {
        "client": "10.0.0.0/8",
        "window": {"from": "1s", "to": "2s"},
        "open_connections": {"min": 2},
        "connection": 7,
    }
    all_hold: dict[str, Any] = {"client": "10.1.1.1", "elapsed_s": 1.5, "open_connections": 2, "number": 7}
    assert missed(when, **all_hold) is None
    assert missed(when, **{**all_hold, "client": "11.1.1.1"}) == "client"
    assert missed(when, **{**all_hold, "elapsed_s": 2.0}) == "window"
    assert missed(when, **{**all_hold, "open_connections": 1}) == "open_connections"
    assert missed(when, **{**all_hold, "number": 8}) == "connection"


def test_no_condition_holds_for_everybody() -> None:
    """Absent conditions hold for every connection."""
    assert missed({}) is None
    assert chosen({}, most=4) == [1, 2, 3, 4]


def test_the_order_is_the_stages() -> None:
    """Whatever their order in the file, facts are judged first, then what the client says, then ordinals and chance."""
    when: BaseWhen = When.model_validate({"probability": 1, "first": 3, "matches": "a", "client": "10.0.0.1"})
    assert [condition.key for condition in when.conditions] == ["client", "matches", "first", "probability"]


def test_the_keys_are_the_catalogues() -> None:
    """Each condition of the catalogue is a key, and nothing else is."""
    assert list(When.model_fields) == [kind.key for kind in CONDITIONS]
