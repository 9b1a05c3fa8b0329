"""The bodies of requests, as Go's decoder takes them: keys in any case, null for the default, unknown keys ignored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from faultproxy.control.http.toxiproxy.answers import Refused


@dataclass(frozen=True, slots=True)
class ProxyBody:
    """What a body says of a proxy; empty or None for what it does not say."""

    name: str = ""
    listen: str | None = None
    upstream: str | None = None
    enabled: bool | None = None
    toxics: Sequence[object] | None = None


def read(body: bytes) -> object:
    """The JSON of a body, whatever its Content-Type says. Raises Refused."""
    if not body.strip():
        raise Refused(400, "bad request body: EOF")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"bad request body: {error}") from None


def proxy(value: object) -> ProxyBody:
    """A proxy, from what read() returned or a part of it. Raises Refused."""
    if value is None:
        return ProxyBody()
    if not isinstance(value, dict):
        raise Refused(400, "bad request body: a proxy is an object")
    said: dict[str, Any] = {}
    for key, member in value.items():
        field = key.lower()
        if member is not None and field in _TYPES:
            kind, called = _TYPES[field]
            if not isinstance(member, kind):
                raise Refused(400, f"bad request body: {field} must be {called}")
            said[field] = member
    return ProxyBody(**said)


def proxies(value: object) -> Sequence[ProxyBody]:
    """Proxies to create, each with a name and an upstream. Raises Refused."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Refused(400, "bad request body: an array of proxies is due")
    read = [proxy(each) for each in value]
    for number, each in enumerate(read, 1):
        require(each, f" at proxy {number}")
    return read


def require(body: ProxyBody, where: str = "") -> None:
    """Raise Refused if a proxy to be created lacks its name or its upstream."""
    for field in ("name", "upstream"):
        if not getattr(body, field):
            raise Refused(400, f"missing required field: {field}{where}")


_TYPES: dict[str, tuple[type, str]] = {
    "name": (str, "a string"),
    "listen": (str, "a string"),
    "upstream": (str, "a string"),
    "enabled": (bool, "true or false"),
    "toxics": (list, "an array"),
}
