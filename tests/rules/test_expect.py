"""What a rule expects of itself, and of the clients that it fails."""

from typing import Any

import pytest

from faultproxy.config.loader import ConfigError, build
from faultproxy.rules.rule import Rule


def errors(expect: Any) -> list[str]:
    """What a file would be told, without the place."""
    rule = {"name": "cut", "reset": None, "expect": expect}
    try:
        build({"proxies": {"p": {"listen": "127.0.0.1:0", "upstream": "a:1", "rules": [rule]}}})
    except ConfigError as error:
        return [line.partition("rules[0].expect")[2] for line in error.errors]
    return []


def test_all_of_it() -> None:
    """It is read as it is written, and written as it is read."""
    expect = {
        "min": 1,
        "max": 5,
        "backoff": "exponential",
        "recovery": {"max": "5s"},
        "attempts": {"min": 2, "max": 10},
    }
    rule = Rule.model_validate({"name": "cut", "reset": None, "expect": expect})
    assert rule.dump()["expect"] == expect
    assert rule.expect is not None
    assert rule.expect.is_of_clients
    assert rule.expect.recovery is not None
    assert rule.expect.recovery.max == 5.0


@pytest.mark.parametrize("expect", [{"min": 1}, {"max": 0}])
def test_counts_alone_say_nothing_of_clients(expect: dict[str, int]) -> None:
    """So no report is needed to judge them."""
    rule = Rule.model_validate({"name": "cut", "reset": None, "expect": expect})
    assert rule.expect is not None
    assert not rule.expect.is_of_clients


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ({}, ": is empty; add min, max, backoff, recovery or attempts"),
        ({"min": 3, "max": 1}, ": holds for no count; write a min that is not larger than max"),
        ({"backof": "none"}, '.backof: "backof" is not a key here; write backoff'),
        (
            {"backoff": "exponentail"},
            '.backoff: "exponentail" is not one of the choices; write none, immediate, constant or exponential',
        ),
        ({"recovery": {"max": 5}}, '.recovery.max: "5" has no unit; write 5ms, 5s or 5m'),
        ({"recovery": {}}, ".recovery: max is missing; add max: 10s"),
        ({"recovery": "5s"}, '.recovery: "5s" is not a mapping; write any of max below it'),
        ({"attempts": {}}, ".attempts: is empty; add min, max or both, such as {min: 1}"),
    ],
)
def test_what_is_wrong_with_it(expect: Any, said: str) -> None:
    """The error says what to write."""
    assert errors(expect) == [said]
