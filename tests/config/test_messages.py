"""Errors in the words of who wrote the file. The corpus has one of each; here is what they have in common."""

import pytest

from faultproxy.config.loader import ConfigError, build, parse

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
        ("reset", '"reset" is not a mapping; write "reset:", with a colon'),
        ("{name: r, reset: [a]}", "a list is not a mapping; write any of after, to below it"),
        ("{name: r, stop: 'yes', reset: }", '"yes" is not true or false; write true'),
        ("{name: r, first: 3, close: }", '"first" is a condition; write it in when, such as when: {first: 3}'),
        ("{name: r, client: [a, b], close: }", "write it in when, such as when: {client: [a, b]}"),
        ("{name: r, when: {refuse: }, close: }", '"refuse" is a fault; write it beside when, not in it'),
        ("{name: r, when: {limit: 3}, close: }", '"limit" is no condition; write it beside when, not in it'),
        (
            "{name: r, when: {not: {client: 1.1.1.1}}, close: }",
            "write, above this rule, one with the conditions to leave",
        ),
        ("{name: r, not: {client: 1.1.1.1}, close: }", "- {name: spared, when: {client: 10.0.0.1}, pass: }"),
        (
            "{name: r, after: 4KiB, close: }",
            '"after" is an option of close; write it below the fault, such as close: {',
        ),
        ("{name: r, when: {after: 4KiB}, close: }", "write it below the fault, such as close: {after: 4KiB}"),
        ("{name: r, delay: {a: b}, close: }", '"delay" is an option of slow_connect, latency or slow_close; write it'),
        (
            "{name: r, when: {to: 3s}, close: }",
            '"to" is a part of window; write it there, such as when: {window: {to: 3s}}',
        ),
        (
            "{name: r, refuse: true}",
            '"true" is too much, as refuse has no options; write "refuse:" with nothing behind',
        ),
        ("{name: r, refuse: false}", "false does not turn refuse off; leave the key out"),
        ("{name: r, reset: true}", 'write "reset:" alone, or any of after, to below it'),
        ("{name: r, latency: true}", '"true" is no option of latency; write latency: {delay: 10s}'),
        ("{name: r, latency: 100ms}", '"100ms" is not a mapping; write latency: {delay: 100ms}'),
        ("{name: r, reset: 4KiB}", '"4KiB" is not a mapping; write reset: {after: 4KiB}'),
        ("{name: r, reset: client}", '"client" is not a mapping; write any of after, to below it'),
    ],
)
def test_every_error_says_what_would_be_right(rule: str, error: str) -> None:
    """The nearest key, an example, or the choices there are."""
    assert error in error_of(rule)


def test_one_rule_for_a_list() -> None:
    """The error of a mapping of rules says what makes it a list, in a file and in Python."""
    text = "is one rule where a list of rules is due; write "
    with pytest.raises(ConfigError) as error:
        parse(f"{HEAD}    rules:\n      name: r\n      refuse:\n".encode(), "f")
    assert error.value.errors == (f'f:6:7: proxies.p.rules: {text}"- " before its first key',)
    with pytest.raises(ConfigError) as error:
        build({"proxies": {"p": {"listen": ":1", "upstream": "b:2", "rules": {"name": "r", "refuse": {}}}}})
    assert error.value.errors == (f"proxies.p.rules: {text}[{{...}}], with a mapping for each rule",)


def test_a_former_key_is_one_only_where_it_was() -> None:
    """Elsewhere it is a key that is not known."""
    assert "is not a key here; write one of after, to" in error_of("{name: r, reset: {mode: shadow}}")
