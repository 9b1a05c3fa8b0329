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
