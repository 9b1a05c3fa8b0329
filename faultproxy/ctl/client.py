"""A client of the API, over TCP or a Unix socket."""

import http.client
import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

DEFAULT = "http://127.0.0.1:8474"
_PORT = 8474
_PLACE = re.compile(r"(?:http://)?(\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9_.-]*)(?::([0-9]{1,5}))?/*")
_CONNECT_S = 5.0
_ANSWER_S = 60.0
_EVENT_S = 60.0  # a stream that is alive says something every 15 s
_LONGEST = 1 << 28
_PIECE = 1 << 16
_AS_GIVEN = "surrogateescape"  # an argument that is not UTF-8 is sent as it is


class BadAddress(Exception):
    """The text is no address of an API; it says what would be right."""


class CannotReach(Exception):
    """There is no answer, or none of the API's."""


class ApiRefused(Exception):
    """The API does not do it; ``lines`` say why. ``is_ours``: what was asked for is wrong, not what runs."""

    def __init__(self, status: int, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.is_ours = status in {400, 413, 422}


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where an API listens: a host and a port, or the path of a Unix socket."""

    host: str
    port: int = _PORT
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> ApiAddress:
    """``http://HOST:PORT``, ``HOST:PORT``, ``HOST``, ``:PORT`` or ``unix:/path``. Raises BadAddress."""
    if text.startswith("unix:/") and "\0" not in text:
        return ApiAddress("localhost", path=text.removeprefix("unix:"))
    match = _PLACE.fullmatch(text)
    if match is None or not (match[1] or match[2]) or int(match[2] or 0) > 65535:
        raise BadAddress(f"{text!r} is no address of an API; write http://HOST:PORT, HOST:PORT or unix:/path")
    return ApiAddress(match[1].strip("[]") or "127.0.0.1", int(match[2] or _PORT))


@dataclass(frozen=True, slots=True)
class ApiClient:
    """Asks one API; each request has a connection of its own."""

    address: ApiAddress
    token: str | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, object] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        name: str = "body",
        timeout_s: float = _ANSWER_S,
    ) -> Any:
        """The answer: from JSON, other text as it is, None if there is none.

        ``name`` is what a place in the body is called in errors. Raises ApiRefused and CannotReach.
        """
        headers = {"accept": accept, **({"content-type": content_type} if body is not None else {})}
        with self._answer(method, path, query, headers, body, timeout_s) as answer:
            data = answer.read(_LONGEST)
            kind = answer.getheader("content-type", "")
            if answer.status >= 300:
                raise self._refusal(answer.status, data, name)
            if "json" not in kind:
                return data.decode(errors="replace") if data else None
            return self._parse(data)

    def events(self, query: Mapping[str, object]) -> Iterator[tuple[str, str]]:
        """The data of each event as it comes, after its kind, until the API ends the stream. Raises as ask() does."""
        with self._answer("GET", "/v1/events", query, {"accept": "text/event-stream"}, None, _EVENT_S) as answer:
            if answer.status >= 300:
                raise self._refusal(answer.status, answer.read(_LONGEST), "body")
            kind, data = "message", list[str]()
            for line in self._lines(answer):
                field, _, value = line.decode(errors="replace").rstrip("\r\n").partition(":")
                value = value.removeprefix(" ")
                if field == "data":
                    data.append(value)
                elif field == "event":
                    kind = value
                elif not line.strip():
                    if data:
                        yield kind, "\n".join(data)
                    kind, data = "message", []

    def _lines(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        """The lines of a stream as they come, until its end; readline() would take for one that the API has died."""
        rest = b""
        try:
            while piece := answer.read1(_PIECE):
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines
        except http.client.IncompleteRead:
            raise CannotReach(f"the API at {self.address} has gone") from None

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_s: float,
    ) -> Iterator[http.client.HTTPResponse]:
        given = {key: value for key, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given, errors=_AS_GIVEN)}" if given else path
        sent = {**headers, **({"authorization": f"Bearer {self.token}"} if self.token is not None else {})}
        connection = _Connection(self.address, min(_CONNECT_S, timeout_s))
        try:
            connection.connect()
            connection.sock.settimeout(timeout_s)
            connection.request(method, target, body, sent)
            yield connection.getresponse()
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise CannotReach(self._why(error)) from None
        finally:
            connection.close()

    def _refusal(self, status: int, data: bytes, name: str) -> ApiRefused:
        """What the API says about why not."""
        try:
            problem = json.loads(data)
            lines = [str(line) for line in problem.get("errors", ())]
            text = str(problem.get("detail") or problem.get("title") or problem.get("error") or "")
        except (ValueError, RecursionError, AttributeError, TypeError):
            lines, text = [], ""
        named = [f"{name}{line.removeprefix('body')}" if line.startswith("body:") else line for line in lines]
        otherwise = f"{self.address} answers {status}, and not as the API of faultproxy does"
        hint = "; say where it is with --token-file" if status == http.HTTPStatus.UNAUTHORIZED and text else ""
        return ApiRefused(status, named or [f"{text}{hint}" or otherwise])

    def _why(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"the API at {self.address} does not answer"
        if isinstance(error, http.client.HTTPException):
            return f"what listens at {self.address} is not the API of faultproxy"
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return (
            f"cannot reach the API at {self.address}: {said}; run faultproxy with --api, or say where it is with --api"
        )

    def _parse(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise CannotReach(f"what listens at {self.address} is not the API of faultproxy") from None


class _Connection(http.client.HTTPConnection):
    """Over a Unix socket too."""

    def __init__(self, address: ApiAddress, timeout_s: float) -> None:
        super().__init__(address.host, address.port, timeout=timeout_s)
        self._path = address.path

    def connect(self) -> None:
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def segment(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="", errors=_AS_GIVEN)
