"""Errors in the words of who wrote the file. The corpus has one of each; here is what they have in common."""

import pytest

from faultproxy.config.loader import ConfigError, parse

HEAD = "proxies:\n  p:\n    listen: :1\n    upstream: b:2\n"


def error_of(rule: str) -> str:
    with pytest.raises(ConfigError) as error:
        parse(f"{HEAD}    rules:\n      - {rule}".encode(), "f")
    (line,) = error.value.errors
    return line.rpartition(": proxies.p.")[2]


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ("{name: r, mode: shadow, reset: }", "write dry_run: true for mode: shadow, nothing for mode: enforce"),
        ("{name: r, latancy: {delay: 1s}}", '"latancy" is not a key here; write latency'),
        (f"{{name: r, {'l' * 50}: }}", '" is not a key here; write one of name, when, limit'),
        ("{name: r, latency: }", "delay is missing; add delay: 10s"),
        ("{name: r, reset: [a]}", "a list is not a mapping; write any of after, to below it"),
        ("{name: r, stop: 'yes', reset: }", '"yes" is not true or false; write true'),
    ],
)
def test_every_error_says_what_would_be_right(rule: str, error: str) -> None:
    """The nearest key, an example, or the choices there are."""
    assert error in error_of(rule)


def test_a_former_key_is_one_only_where_it_was() -> None:
    """Elsewhere it is a key that is not known."""
    assert "is not a key here; write one of after, to" in error_of("{name: r, reset: {mode: shadow}}")
