"""What comes in and goes out: a request, a response, a stream of events, a problem."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict

from faultproxy.text import to_json

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was sent, and what its route's template says of its path.

    ``path`` is percent-encoded and without the query; ``parameters`` and ``query`` are decoded, of a name that stands
    twice the last. ``headers`` have their names in lower case.
    """

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Mapping[str, str] = _NONE) -> "Response":
        """An answer in JSON."""
        return cls(status, to_json(value), {"content-type": "application/json", **headers})

    @classmethod
    def text(cls, text: str, status: int = 200, headers: Mapping[str, str] = _NONE) -> "Response":
        """An answer in plain text."""
        return cls(status, text.encode(), {"content-type": "text/plain; charset=utf-8", **headers})


@dataclass(frozen=True, slots=True)
class EventStream:
    """An answer that goes on: Server-Sent Events. Each chunk is whole frames.

    The server keeps the stream alive with comments, and closes the generator when the client goes, or at the drain.
    """

    chunks: AsyncGenerator[bytes, None]


Handler = Callable[[Request], Awaitable[Response | EventStream]]


class ApiModel(BaseModel):
    """What a body holds. Most are only looked at where the API is described, and built when that is asked for."""

    model_config = ConfigDict(defer_build=True)


class HttpProblem(Exception):
    """Why a request was refused, as RFC 9457 has it; ``errors`` are the lines that the command line would print."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        errors: Sequence[str] = (),
        headers: Mapping[str, str] = _NONE,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = headers

    def response(self) -> Response:
        """The answer, application/problem+json."""
        said: dict[str, Any] = {"title": self.title, "status": self.status}
        said |= {"detail": self.detail} if self.detail else {}
        said |= {"errors": self.errors} if self.errors else {}
        return Response(self.status, to_json(said), {**self.headers, "content-type": "application/problem+json"})
