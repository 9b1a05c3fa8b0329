"""What Toxiproxy answers: errors as text, and its version."""

import secrets
from dataclasses import replace

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


def nothing_there() -> Response:
    """The answer to a path that nobody has."""
    return Response.text("404 page not found\n", 404)


def numbered(response: Response) -> Response:
    """The same with a number of its own, by which a request is found in what a client logs."""
    return replace(response, headers={**response.headers, "x-toxiproxy-request-id": secrets.token_hex(10)})


def version() -> Response:
    """The answer of GET /version, to the byte."""
    return Response(200, f'{{"version": "{VERSION}"}}\n'.encode(), {"content-type": "application/json;charset=utf-8"})
