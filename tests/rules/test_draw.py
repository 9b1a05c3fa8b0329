"""A draw is a function of its seed and its parts, and stays what it was."""

import pytest

from faultproxy.rules.draw import draw

GOLDEN_DRAW = 0.6312459480499442


def test_a_draw_stays_what_it_was() -> None:
    """Draws are the same in every version and on every machine, or no run could be repeated from its seed."""
    assert draw(42, "redis", "chance", 1) == GOLDEN_DRAW


def test_a_draw_is_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest draw there is does not round up to 1, so that 100% is certain."""

    class Largest:
        def digest(self) -> bytes:
            return b"\xff" * 8

    monkeypatch.setattr("faultproxy.rules.draw.blake2b", lambda *_, **__: Largest())
    assert draw(42, "redis") < 1.0


def test_no_two_draws_are_shared() -> None:
    """Two rules, two proxies, two connections, two seeds never draw the same, not even if their names run together."""
    labels = ["", "a", "b", "ab", "a1", "1", "11", "1:a", "a:b"]
    parts = [
        (seed, proxy, name, number)
        for seed in (1, 11, 42)
        for proxy in labels
        for name in labels
        for number in (1, 2, 11, 111)
    ]
    assert len({draw(*part) for part in parts}) == len(parts)
