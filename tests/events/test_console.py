"""Events as lines for people."""

import re
from dataclasses import replace

import pytest

from faultproxy.events.console import console_line
from faultproxy.events.types import EVENTS, Event, log_fields
from tests.events.samples import DRY_RUN, FAULT, SAMPLES

HEAD = {"timestamp": "2026-11-25T21:54:42.191312Z", "level": "info"}


def line(event: Event, *, colours: bool = False) -> str:
    return console_line({**HEAD, "event": event.name, **log_fields(event, 7)}, colours=colours)


def test_a_fault() -> None:
    """The time, the connection, client and upstream, the rule, what it did and when, and what the client sees."""
    assert re.fullmatch(
        r"\d\d:\d\d:42\.191  redis#17      "
        r"10\.0\.0\.1:5555 -> redis:6379  cut: reset \(4KiB downstream\), client sees ECONNRESET",
        line(FAULT),
    )
    assert line(replace(FAULT, degraded="not allowed")).endswith("ECONNRESET [degraded: not allowed]")
    assert line(DRY_RUN).endswith("client sees ECONNRESET (dry run: not injected)")
    assert "  by hand: reset (" in line(replace(FAULT, rule=None, source="api"))


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.name)
def test_every_event_is_a_sentence(kind: type[Event]) -> None:
    """No event is left to be shown as its fields, and none shows a dictionary."""
    text = line(SAMPLES[kind])
    assert kind.name not in text
    assert not re.search(r"[{}=]", text)


def test_what_is_not_known_is_shown_as_fields() -> None:
    """So nothing is hidden."""
    text = console_line({**HEAD, "event": "it.happened", "proxy": "p", "a": [1, 2], "b": {"c": None}}, colours=False)
    assert text.endswith("  p             it.happened a=1, 2 b=c none")
    assert console_line({**HEAD, "event": "it.happened"}, colours=False).endswith("  faultproxy    it.happened")


def test_colours() -> None:
    """A fault is red, for people who look for it."""
    assert "\x1b[31m10.0.0.1:5555 -> " in line(FAULT, colours=True)
    assert "\x1b" not in line(FAULT)


def test_nothing_steers_the_terminal() -> None:
    """What a stranger chose stays on its line, escaped; only errors and tracebacks have several."""
    text = line(replace(FAULT, rule="two\nlines\x1b[2J é"))
    assert "two\\nlines\\x1b[2J é: reset" in text
    fields = {**HEAD, "event": "config.rejected", "errors": ["a:1:1: x\x07", "a:2:1: y"]}
    assert console_line(fields, colours=False).splitlines()[1:] == ["a:1:1: x\\x07", "a:2:1: y"]
