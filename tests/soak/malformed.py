"""Requests to the API that are wrong in some way, from a seed: bytes, heads, chunks, bodies, and how they are sent."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from faultproxy.faults import CATALOGUE


class Case(NamedTuple):
    """A request as bytes in pieces, the pause before each piece, and how the client ends."""

    pieces: Sequence[bytes]
    pause_s: float
    ending: str  # reads | closes | resets | half-closes


PATHS = (
    *(
        "/",
        "/live",
        "/ready",
        "/metrics",
        "/v1/status",
        "/v1/openapi.json",
        "/v1/report",
        "/v1/events",
        "/v1/connections",
    ),
    *("/v1/proxies", "/v1/proxies/p", "/v1/proxies/x", "/v1/proxies/p/rules/r", "/v1/proxies/x/rules/r?before=q"),
    *("/v1/config", "/v1/overlay", "/v1/check", "/v1/explain", "/v1/counters/reset", "/v1/connections/p%231"),
    *("/v1/connections/p%231/faults", "/v1/events?since=-1&event=%00&proxy=p&proxy=q", "/nowhere"),
    *(
        "/proxies",
        "/proxies/p",
        "/proxies/x",
        "/proxies/p/toxics",
        "/proxies/p/toxics/t",
        "/populate",
        "/reset",
        "/version",
    ),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "", "G\x00T", "PRI")
TYPES = ("application/json", "application/yaml", "text/plain", "multipart/form-data; boundary=x", "", ";", "\xff")
HEADERS = (
    *(
        "Connection: close",
        "Connection: upgrade\r\nUpgrade: websocket",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings",
    ),
    *(
        "Expect: 100-continue",
        "Expect: everything",
        "Origin: http://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ),
    *("Authorization: Bearer x", "Authorization: " + "a" * 3000, "If-Match: *", 'If-Match: "-1"', "If-None-Match: ,,,"),
    *(
        "Accept: text/event-stream",
        "Last-Event-ID: -1",
        "Last-Event-ID: " + "9" * 400,
        "Range: bytes=0-0,-1",
        "Content-Encoding: gzip",
    ),
    *(
        "Host: localhost",
        "Host: evil.example",
        "Host:",
        " folded",
        "X: \x00",
        "X\x00: y",
        "X : y",
        ": y",
        "X: " + "y" * 70_000,
    ),
    *(
        "Content-Length: 0",
        "Content-Length: -1",
        "Content-Length: 1, 1",
        "Content-Length: 99999999999999999999",
        "Content-Length: 0x10",
    ),
    *(
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "TE: trailers",
        "Cookie: a=b",
    ),
    *("User-Agent: Mozilla/5.0", "\r\n".join(f"X{number}: {number}" for number in range(2000))),
)
TEXTS = (
    "",
    "p",
    "127.0.0.1:0",
    "127.0.0.1:1",
    "unix:/",
    ":::",
    "4KiB",
    "1s",
    "-1s",
    "1e999s",
    "10%",
    "\u0000",
    "\ud83d\ude00",
    "x" * 5000,
)
KEYS = (
    *(
        "proxies",
        "listen",
        "upstream",
        "rules",
        "name",
        "when",
        "enabled",
        "seed",
        "version",
        "api",
        "drain",
        "memory",
        "log",
        "x-a",
    ),
    *(
        "type",
        "stream",
        "toxicity",
        "attributes",
        "toxics",
        "latency",
        "rate",
        "bytes",
        "timeout",
        "after",
        "delay",
        "to",
    ),
    *(
        "first",
        "probability",
        "window",
        "client",
        "starts_with",
        "matches",
        "limit",
        "expect",
        "direction",
        "live",
        "stop",
    ),
    *(kind.key for kind in CATALOGUE),
)


def case(r: random.Random) -> Case:
    """One."""
    data = r.choices(_KINDS, _WEIGHTS)[0](r)
    if r.random() < 0.3:
        data = _damaged(r, data)
    if r.random() < 0.1:
        data *= r.randrange(2, 20)  # pipelined
    pieces = [data]
    if r.random() < 0.2 and len(data) > 2:
        cuts = sorted(r.randrange(len(data)) for _ in range(r.randrange(1, 8)))
        pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    pause_s = 0.02 if r.random() < 0.01 else 0.0
    return Case(pieces, pause_s, r.choices(("reads", "half-closes", "closes", "resets"), (2, 6, 3, 3))[0])


def _request(r: random.Random) -> bytes:
    """A request with a head and a body that need not go together."""
    body = _body(r)
    method = r.choice(METHODS[:6] if r.random() < 0.8 else METHODS)
    path = r.choice(PATHS) if r.random() < 0.9 else _path(r)
    lines = [f"{method} {path} HTTP/{r.choice(('1.1', '1.1', '1.1', '1.0', '0.9', '2', '1.1.1'))}"]
    lines += ["Host: localhost"] if r.random() < 0.95 else []
    lines += [f"Content-Type: {r.choice(TYPES)}"] if r.random() < 0.7 else []
    lines += r.choices(HEADERS, k=r.choice((0, 0, 0, 1, 2)))
    if r.random() < 0.7:
        lines.append(f"Content-Length: {len(body) + r.choice((0, 0, 0, 0, 1, -1, 10))}")
    elif r.random() < 0.5:
        lines.append("Transfer-Encoding: chunked")
        body = _chunked(r, body)
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body


def _path(r: random.Random) -> str:
    parts = (
        "/",
        "//",
        "%2F",
        "%2e%2e",
        "..",
        "%",
        "%zz",
        "%00",
        "%ff",
        "é",
        "?",
        "#",
        "&a=",
        "*",
        "http://localhost/live",
        "v1",
        "proxies",
        "a" * 9000,
    )
    return "".join(r.choices(parts, k=r.randrange(1, 8)))


def _chunked(r: random.Random, body: bytes) -> bytes:
    """In chunks, some of which are not as they should be."""
    size = r.choice((1, 7, 1000, 100_000))
    chunks = [body[at : at + size] for at in range(0, min(len(body), 500 * size), size)]
    data = b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), r.choice((b"", b"", b";a=b")), chunk) for chunk in chunks)
    return data + r.choice(
        (
            b"0\r\n\r\n",
            b"0\r\n\r\n",
            b"0\r\nA: b\r\n\r\n",
            b"",
            b"-1\r\n",
            b"ffffffffffffffffffffff\r\n",
            b"0\n\n",
            b"zz\r\n",
        )
    )


def _body(r: random.Random) -> bytes:
    return r.choice((_json, _json, _json, _yaml, _deep, _noise))(r)


def _json(r: random.Random) -> bytes:
    return json.dumps(_value(r, r.randrange(5))).encode("utf-8", "surrogatepass")


def _value(r: random.Random, depth: int) -> Any:
    if depth and r.random() < 0.8:
        if r.random() < 0.3:
            return [_value(r, depth - 1) for _ in range(r.randrange(4))]
        return {r.choice(KEYS): _value(r, depth - 1) for _ in range(r.randrange(6))}
    return r.choice(
        (None, True, False, 0, 1, -1, 2**63, 1e308, 10**400, r.choice(TEXTS), r.choice(TEXTS), r.choice(KEYS), [], {})
    )


def _yaml(r: random.Random) -> bytes:
    anchors = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    texts = (
        anchors,
        "a: &a [*a]",
        "? [a]\n: b",
        "!!python/object/apply:os.system [id]",
        "- " * 3000,
        "a: 'b",
        "\t",
        "---\n---\n",
        "${HOME}",
        "proxies: {p: {listen: 5432:54}}",
    )
    return r.choice(texts).encode()


def _deep(r: random.Random) -> bytes:
    opening, closing = r.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]"), (b"(", b")")))
    depth = r.choice((60, 70, 1000, 20_000))
    return opening * depth + r.choice((b"", b"1")) + r.choice((b"", closing * depth))


def _noise(r: random.Random) -> bytes:
    return r.randbytes(r.choice((0, 1, 10, 1000, 70_000)))


def _large(r: random.Random) -> bytes:
    """A body of megabytes, or the promise of one."""
    size = r.choice((1 << 20, 9 << 20, 1 << 40))
    head = f"PUT /v1/config HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + bytes(min(size, r.choice((0, 100_000, 1 << 20))))


def _foreign(r: random.Random) -> bytes:
    """What other protocols begin with."""
    return r.choice(
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + r.randbytes(500),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
            b"*1\r\n$4\r\nPING\r\n",
            b"SSH-2.0-x\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /live HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\r\n" * r.randrange(1, 40_000),
            b"GET /live\r\n",
            b"\x00" * 1000,
            b"",
        )
    )


def _damaged(r: random.Random, data: bytes) -> bytes:
    """The same with some bytes lost, doubled or changed."""
    damaged = bytearray(data[: 1 << 17])
    for _ in range(r.randrange(1, 5)):
        at = r.randrange(min(len(damaged), 400) + 1)
        damaged[at : at + r.choice((0, 0, 1, 1, 4, 50))] = r.choice(
            (b"", b"\r\n", b"\x00", b"\n", b" ", r.randbytes(1), r.randbytes(4))
        )
    return bytes(damaged)


_KINDS: Sequence[Callable[[random.Random], bytes]] = (_request, _foreign, _noise, _large)
_WEIGHTS = (80, 8, 8, 1)
