"""What Toxiproxy answers: errors as text, and its version."""

import orjson

from faultproxy.control.http.messages import Response

VERSION = "2.12.0"
"""The version of Toxiproxy whose API this is: clients choose by it what they send."""


class Refused(Exception):
    """A request that is not done; ``status`` and ``message`` are those of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def error_of(status: int, message: str) -> Response:
    """An error as Toxiproxy words it: JSON, but called plain text, with a newline; nosniff is on every answer."""
    return Response.text(f"{orjson.dumps({'error': message, 'status': status}).decode()}\n", status)


def no_browsers() -> Response:
    """The answer to whoever calls itself Mozilla, as every browser does."""
    return Response.text("User agent not allowed\n", 403)


def version() -> Response:
    """The answer of GET /version, to the byte."""
    return Response(200, f'{{"version": "{VERSION}"}}\n'.encode(), {"content-type": "application/json;charset=utf-8"})
