"""The report as people read it."""

from faultproxy.report.text import as_text
from tests.report.events import Script


def test_the_sentence() -> None:
    """Who, how often, how long, by which policy, and when it recovered."""
    script = Script()
    script.retries([0.1, 0.2, 0.4, 0.8, 1.6])
    assert as_text(script.report()).splitlines() == [
        "shop: 6 attempts of 1 client, 5 failures",
        "  10.0.0.7 retried 5 times, waiting 0.1, 0.2, 0.4, 0.8, 1.6 s (exponential, factor 2, no jitter), and recovered after 3.1 s",
    ]


def test_what_a_log_holds_is_escaped() -> None:
    """Whichever field a terminal's escape sequence stands in."""
    evil = "\x1b[31m\u202e"
    script = Script(evil)
    script.retries([0.1], client=evil, sees=evil, rule=evil)
    script.fails(20.0, "10.0.0.8", sees="ECONNRESET", rule=evil)
    script.outage(30.0, 31.0, sees=evil)
    text = as_text(script.report())
    assert text.count("every client sees \\x1b[31m\\u202e") == 1
    assert all(char.isprintable() or char == "\n" for char in text)


def test_much_is_cut_short() -> None:
    """The first outages and clients are told, the others are counted."""
    script = Script()
    for number in range(6):
        script.outage(10.0 * number, 10.0 * number + 1)
    for number in range(21):
        script.fails(100.0 + number, f"10.0.0.{number}")
    lines = as_text(script.report()).splitlines()
    assert sum('outage "down"' in line for line in lines) == 5
    assert "  and 1 more outage" in lines
    assert "  and 1 more client that failed" in lines
