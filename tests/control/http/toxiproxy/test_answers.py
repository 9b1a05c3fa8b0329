"""Toxiproxy's answers, to the byte."""

from faultproxy.control.http.toxiproxy.answers import error_of, no_browsers, version


def test_error() -> None:
    """JSON with a newline, called plain text."""
    answer = error_of(404, 'proxy "a" not found')
    assert answer.status == 404
    assert answer.body == b'{"error":"proxy \\"a\\" not found","status":404}\n'
    assert answer.headers == {"content-type": "text/plain; charset=utf-8"}


def test_no_browsers() -> None:
    """A browser is refused in one line."""
    assert (no_browsers().status, no_browsers().body) == (403, b"User agent not allowed\n")


def test_version() -> None:
    """The space behind the colon and the newline are there: some compare the whole."""
    assert version().body == b'{"version": "2.12.0"}\n'
