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


def test_attempts_that_an_outage_hides_are_not_counted() -> None:
    """And it is said where they are counted."""
    script = Script()
    script.serves(1.0)
    script.outage(2.0, 3.0)
    assert as_text(script.report()).splitlines()[0] == "shop: 1 attempt of 1 client, 0 failures (those that were seen)"


def test_a_disturbance_that_an_outage_hides() -> None:
    """Nothing is told of attempts in it; of the return is."""
    script = Script()
    for number in range(5):
        script.serves(1.0 + number / 10, f"10.0.0.{number}")
        script.serves(9.1, f"10.0.0.{number}")
    script.outage(5.0, 9.0)
    _, _, storm, herd, *_ = as_text(script.report()).splitlines()
    assert storm == "  from 4 s on for 4 s an outage hid what the clients did"
    assert herd.startswith("    at its end 5 of 5 clients came back within 0.1 s: a herd")


def test_what_an_outage_hides() -> None:
    """How often a client tried is then a least, what it waited is told as far as it was seen, and nothing is judged."""
    script = Script()
    script.fails(1.0)
    script.fails(1.1)
    script.outage(1.2, 6.0)
    script.serves(6.4)
    script.fails(7.0)
    script.outage(7.1, 9.0)
    script.serves(9.5)
    script.fails(10.0)
    script.outage(10.1, None)
    script.serves(30.0, "10.0.0.8")
    _, *lines = [line for line in as_text(script.report()).splitlines() if "10.0.0.7" in line or "shop" in line]
    assert lines == [
        "  10.0.0.7 retried at least 2 times, waiting 0.1 s and then unseen in an outage, and recovered after 5.4 s",
        "  10.0.0.7 retried at least once, unseen in an outage, and recovered after 2.5 s",
        '  10.0.0.7 failed once (ECONNRESET by "cut"), and whether it recovered is not seen',
        "    10.0.0.7 waits, over 3 episodes: unclear: one wait, of 0.1 s, is too little to tell; let it fail more often",
    ]
    alone = Script()
    alone.fails(1.0)
    alone.outage(1.1, 2.0)
    alone.serves(2.5)
    assert alone.report().clients[0].backoff.why == "what it did in an outage is not seen"


def test_connections_that_fail_together() -> None:
    """Those of a pool, that a client does not replace: none of them is a retry of another."""
    script = Script()
    for head in [script.opens(number / 10) for number in range(10)]:
        script.injects(50.0, head)
    script.serves(99.0, "10.0.0.8")
    (line,) = [line for line in as_text(script.report()).splitlines() if "10.0.0.7" in line]
    assert line == '  10.0.0.7 failed on 10 connections at once (ECONNRESET by "cut"), and never came back'


def test_connections_that_retry_together() -> None:
    """Each of them is counted, also where one had begun before another failed."""
    script = Script()
    lost = [script.opens(number / 10) for number in range(10)]
    for head in lost:
        script.injects(50.0, head)
    for at_s in (50.1, 50.3):
        for number, head in enumerate([script.opens(at_s + number / 1000) for number in range(10)]):
            script.injects(at_s + 0.01 + number / 1000, head)
    for number in range(10):
        script.serves(51.0 + number / 1000)
    (line,) = [line for line in as_text(script.report()).splitlines() if "10.0.0.7" in line]
    assert line.startswith("  10.0.0.7 retried 21 times, waiting ")


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
