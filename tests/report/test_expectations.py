"""What a rule expects of the clients that it fails."""

import pytest

from faultproxy.report.expectations import unmet_by_clients
from tests.report.events import Script


def unmet(*gaps: float, **expected: object) -> list[str]:
    """The sentences about a client that waited so, and then was served."""
    script = Script()
    script.retries(gaps)
    return unmet_by_clients(script.report(), "shop", "cut", **expected)  # type: ignore[arg-type]


def test_what_is_as_expected() -> None:
    """Nothing is said."""
    assert unmet(0.1, 0.2, 0.4, 0.8, backoff="exponential", recovery_s=5.0, attempts=(2, 10)) == []


@pytest.mark.parametrize(
    ("gaps", "expected", "said"),
    [
        (
            [0.5, 0.5, 0.5, 0.5],
            {"backoff": "exponential"},
            "exponential backoff; 10.0.0.7 waited 0.5, 0.5, 0.5, 0.5 s (constant, 0.5 s, no jitter)",
        ),
        ([0.0, 0.001, 0.0], {"backoff": "constant"}, "constant backoff; 10.0.0.7 waited 0, 0.001, 0 s (immediate)"),
        ([2.0, 4.0], {"recovery_s": 5.0}, "recovery within 5s; 10.0.0.7 recovered after 6 s"),
        ([0.1] * 10, {"attempts": (None, 10)}, "at most 10 attempts; 10.0.0.7 made 11"),
        ([0.1], {"attempts": (3, None)}, "at least 3 attempts; 10.0.0.7 made 2"),
    ],
)
def test_what_is_not(gaps: list[float], expected: dict[str, object], said: str) -> None:
    """The sentence says what was expected, and what was seen."""
    assert unmet(*gaps, **expected) == [f'shop: "cut" expected {said}']


def test_a_client_that_does_not_recover() -> None:
    """It is told whether it never came back, or had no time to."""
    script = Script()
    script.fails(1.0)
    (sentence,) = unmet_by_clients(script.report(), "shop", "cut", recovery_s=5.0)
    assert sentence == 'shop: "cut" expected recovery within 5s; 10.0.0.7 did not recover'
    script.serves(60.0, "10.0.0.8")
    both = unmet_by_clients(script.report(), "shop", "cut", recovery_s=5.0, backoff="exponential")
    assert both == [
        'shop: "cut" expected exponential backoff; 10.0.0.7 did not try again',
        'shop: "cut" expected recovery within 5s; 10.0.0.7 never came back',
    ]


def test_a_rule_that_failed_nobody() -> None:
    """Nothing was seen, so nothing was shown; what other rules did does not count."""
    script = Script()
    script.retries([0.1, 0.2, 0.4], rule="other")
    (sentence,) = unmet_by_clients(script.report(), "shop", "cut", backoff="exponential")
    assert sentence == 'shop: "cut" expected exponential backoff, and failed no client whose attempts were seen'


def test_what_was_not_seen_is_not_as_expected() -> None:
    """A client that tried in an outage has made more attempts than were seen, and its waits are unknown."""
    script = Script()
    script.fails(1.0)
    script.outage(1.1, 2.0)
    script.serves(2.5)
    sentences = unmet_by_clients(script.report(), "shop", "cut", backoff="none", attempts=(3, 1))
    assert sentences == [
        'shop: "cut" expected no retry; 10.0.0.7 is unclear: what it did in an outage is not seen',
        'shop: "cut" expected at least 3 attempts; 10.0.0.7 made at least 2',
        'shop: "cut" expected at most 1 attempt; 10.0.0.7 made at least 2',
    ]


def test_many_clients() -> None:
    """Five are told, and how many more there are."""
    script = Script()
    for number in range(9):
        script.fails(float(number), f"10.0.1.{number}")
    sentences = unmet_by_clients(script.report(), "shop", "cut", recovery_s=5.0)
    assert len(sentences) == 6
    assert sentences[5] == 'shop: "cut" expected more: 4 further clients and episodes are not as expected'
