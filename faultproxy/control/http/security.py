"""Who may ask, and what browsers are told. Everything that keeps strangers out of the API stands here.

The API changes what runs, and whoever reaches its port may use it. By default that is this host alone; but a page that
a browser on this host shows can reach it too. Such a page gives itself away: by the name of its own host, where its
author has that name resolve to this host (DNS rebinding), or by the headers that browsers send with what comes from
elsewhere (https://www.w3.org/TR/fetch-metadata/, RFC 6454 section 7).
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType

from faultproxy.addresses import Address, UnixAddress
from faultproxy.control.http.messages import HttpProblem, Request
from faultproxy.units import quote

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
)
"""What every answer carries. There is no header of CORS among them, so that no other site's page may read it."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{0,5})?")
_PRIVATE = (".localhost", ".internal", ".svc", ".cluster.local")  # names that no one can register
_TOKEN = re.compile(r"[!-~]{1,1000}")
_LONGEST_TOKEN_FILE = 4096


class BadToken(Exception):
    """The file of the token cannot be used; the text says why, and what would be right."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask. ``allowed_hosts`` are further names of this host, in lower case; without a ``token`` none is due."""

    allowed_hosts: frozenset[str] = frozenset()
    token: str | None = None

    def check(self, request: Request, *, needs_token: bool = True) -> None:
        """Raise HttpProblem (403, 401) if the request may not be answered."""
        if (host := request.headers.get("host")) is not None:  # HTTP/1.0 needs none; a browser always sends it
            self._check_host(host)
        if request.method not in _SAFE:
            _check_site(request.headers)
        if needs_token and self.token is not None:
            self._check_token(request.headers.get("authorization", ""), self.token)

    def _check_host(self, host: str) -> None:
        match = _HOST.fullmatch(host)
        if match is None or not self._is_ours(match[1].lower()):
            right = "ask for an IP address or localhost, or allow the name with --allowed-host"
            raise HttpProblem(403, "Forbidden", f"{quote(host[:200])} is not known as a name of this host; {right}")

    def _is_ours(self, name: str) -> bool:
        full = name.removesuffix(".")
        if full == "localhost" or full.endswith(_PRIVATE) or full in self.allowed_hosts:
            return True
        if "." not in name and not name.startswith("["):
            return True
        try:
            ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def _check_token(self, given: str, token: str) -> None:
        scheme, _, word = given.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(word.strip().encode(), token.encode()):
            detail = "a token is due: Authorization: Bearer TOKEN, with that of --api-token-file"
            raise HttpProblem(401, "Unauthorized", detail, headers={"www-authenticate": "Bearer"})


ANYBODY = Access()
"""Whoever asks for this host by a name that is surely its own."""


def _check_site(headers: Mapping[str, str]) -> None:
    """Refuse a change that another site's page asks for."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        is_ours = site in _OWN_SITES
    else:
        is_ours = origin is None or _origin(origin) == _origin(f"http://{headers.get('host', '')}")
    if not is_ours:
        raise HttpProblem(403, "Forbidden", "a page of another site asks for this; only one of this API may change it")


def _origin(text: str) -> str:
    """Host and port of an origin. Whether TLS ends before us, only our own host's pages are of our origin."""
    scheme, _, rest = text.lower().partition("://")
    return rest.removesuffix(":443" if scheme == "https" else ":80") or scheme


def read_token(path: Path) -> str:
    """The token that a file holds, without the space around it. Raises BadToken."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_TOKEN_FILE).decode("ascii").strip()
    except OSError as error:
        raise BadToken(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        text = ""
    if not _TOKEN.fullmatch(text):
        raise BadToken(f"{path}: holds no token; write one line of up to 1000 letters, digits and signs, without space")
    return text


def is_exposed(address: Address) -> bool:
    """Whether others than this host reach an address."""
    if isinstance(address, UnixAddress) or address.host.lower() == "localhost":
        return False
    try:
        return not ip_address(address.host).is_loopback
    except ValueError:
        return True
