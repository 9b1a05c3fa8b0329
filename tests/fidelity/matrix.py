"""The fidelity matrix: a row a fault, and what a plain client in any language sees.

To add a fault, add a Row: its rules as a user writes them, the steps the client takes (clients/protocol.md),
and what each exchange is expected to end with, in the words of errno(3). Nothing else is to be done: the stage, the tests
and docs/fidelity.md follow this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

SIZE = 10_000
ASK = "connect send read"
LISTEN = "connect read"
CONNECT = "connect"
WHOLE = "10000 bytes, EOF"

PROXY_PAUSES = dict.fromkeys(("Python", "C", "Node", "Java", "Rust", "Perl"), 4)
"""Between FIN and RST a loaded machine may take the processor from the proxy for longer than a client waits before it writes."""

UNTIL_LOST = dict.fromkeys(("Python", "C", "Node", "Java", "Rust", "Perl"), 40)
"""Of the reply and its FIN none is lost in about two of three exchanges. With more loss some would take half a minute."""

NODE_MISSES_RESETS = {"Node": 6}
"""libuv takes a reset for EOF when it finds it together with data (uv__stream_io in src/unix/stream.c): a loaded machine is enough."""


@dataclass(frozen=True)
class Row:
    """A proxy with these rules, each client's exchanges to it, and what they are expected to end with.

    An exchange is ``steps``; there are as many as there are expectations, which read: ``[N bytes, ][byte N changed, ]``, then ``EOF``
    an errno or ``silence`` (the client's own timeout); for a write, what became of it. ``connected`` if nothing was to be read.
    ``request`` says what the server is to do (playing.py).

    ``client_sees`` is what the log says; None where it reports no fault. ``degraded`` is expected instead where the log says
    that this host cannot do better. ``also`` is as right in a language as what is expected. ``attempts`` is how often a language
    may try when, on a loaded machine, a difference of a moment may not show. The times are the least that must have passed when the
    first byte came and when the exchange ended, and for how long the end was held back after the last byte.
    ``is_by_chance``: an exchange that ends before its time met no fault, and is to be tried again.
    ``first_write_fails`` distinguishes a pipe that is broken from one whose reader has merely closed it.
    """

    name: str
    rules: str
    expected: tuple[str, ...]
    client_sees: str | None
    steps: str = ASK
    request: str = f"GET {SIZE}"
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    degraded: tuple[str, ...] | None = None
    settings: str = "{}"
    nobody_upstream: bool = False
    ready: str | None = None
    first_byte_ms: int = 0
    end_ms: int = 0
    end_held_ms: int = 0
    first_write_fails: bool = False
    is_by_chance: bool = False
    server_hears: str | None = None


ROWS = (
    Row("nothing", "[]", (WHOLE,), client_sees=None),
    Row(
        "the client half-closes",
        "[]",
        (WHOLE,),
        client_sees=None,
        steps="connect send shut read",
        request=f"LATER {SIZE}",
    ),
    Row(
        "the server resets",
        "[]",
        ("4096 bytes, ECONNRESET",),
        client_sees=None,
        request="RESET 4096",
        attempts=NODE_MISSES_RESETS,
    ),
    Row("the upstream refuses", "[]", ("ECONNRESET",), client_sees=None, steps=LISTEN, nobody_upstream=True),
    Row("a disabled proxy", "[]", ("ECONNREFUSED",), client_sees=None, steps=CONNECT, settings="{enabled: false}"),
    Row(
        "pass",
        "[{name: exempt, pass: }, {name: all others, reset: }]",
        (WHOLE,),
        client_sees=None,
    ),
    Row(
        "refuse: an outage",
        "[{name: down, refuse: }]",
        ("ECONNREFUSED",),
        client_sees=None,
        steps=CONNECT,
        ready="outage.started",
    ),
    Row(
        "refuse: one connection of three",
        "[{name: overloaded, when: {every: 3}, refuse: }]",
        (WHOLE, WHOLE, "ECONNREFUSED"),
        degraded=(WHOLE, WHOLE, "ECONNRESET"),
        client_sees="ECONNREFUSED",
    ),
    Row(
        "unreachable: host",
        "[{name: no route, unreachable: }]",
        ("EHOSTUNREACH",),
        degraded=("ECONNRESET",),
        client_sees="EHOSTUNREACH",
        steps=LISTEN,
    ),
    Row(
        "unreachable: net",
        "[{name: no network, unreachable: {code: net}}]",
        ("ENETUNREACH",),
        degraded=("ECONNRESET",),
        client_sees="ENETUNREACH",
        steps=LISTEN,
    ),
    Row(
        "connect_timeout: longer than the client waits",
        "[{name: behind a firewall, connect_timeout: }]",
        ("silence",),
        degraded=("ECONNRESET",),
        client_sees="ETIMEDOUT",
        steps="patience:500 connect read",
    ),
    Row(
        "abort: after bytes",
        "[{name: gave up, abort: {after: 1000B}}]",
        ("1000 bytes, ECONNABORTED",),
        degraded=("1000 bytes, ECONNRESET",),
        client_sees="ECONNABORTED",
        attempts=NODE_MISSES_RESETS,
    ),
    Row(
        "reset: at once",
        "[{name: crashed, reset: }]",
        ("ECONNRESET",),
        client_sees="ECONNRESET",
        steps=LISTEN,  # a close with unread input would send RST by itself
    ),
    Row(
        "reset: after bytes",
        "[{name: cut mid-reply, reset: {after: 4096B}}]",
        ("4096 bytes, ECONNRESET",),
        client_sees="ECONNRESET",
        attempts=NODE_MISSES_RESETS,
    ),
    Row(
        "reset: after a time",
        "[{name: idle too long, reset: {after: 500ms}}]",
        ("1000 bytes, ECONNRESET",),
        client_sees="ECONNRESET",
        request="HOLD 1000",
        end_ms=500,
    ),
    Row(
        "reset: seen by a write",
        "[{name: gone at night, reset: {after: 100ms}}]",
        ("write: ECONNRESET",),
        client_sees="ECONNRESET",
        steps="connect send write:200",
        request="HOLD 0",
        end_ms=100,
    ),
    Row(
        "broken_pipe: at once",
        "[{name: gone, broken_pipe: }]",
        ("EOF, write: EPIPE",),
        client_sees="EPIPE",
        first_write_fails=True,
        attempts=PROXY_PAUSES,
        steps="connect read write:200",
        also={"Node": ("EPIPE",)},  # an event loop asks for SO_ERROR once it is connected, and is given this one
    ),
    Row(
        "broken_pipe: after a time",
        "[{name: gone at night, broken_pipe: {after: 100ms}}]",
        ("EOF, write: EPIPE",),
        client_sees="EPIPE",
        first_write_fails=True,
        attempts=PROXY_PAUSES,
        steps="connect read write:200",
        end_ms=100,
    ),
    Row(
        "broken_pipe: after bytes",
        "[{name: gone mid-reply, broken_pipe: {after: 1000B}}]",
        ("1000 bytes, EOF, write: EPIPE",),
        client_sees="EPIPE",
        first_write_fails=True,
        attempts=PROXY_PAUSES,
        steps="connect send read write:200",
    ),
    Row(
        "half_close: downstream",
        "[{name: stops talking, half_close: {after: 1000B}}]",
        ("1000 bytes, EOF, write: ok",),
        client_sees="EOF",
        steps="connect send read write:5",
        server_hears="GET 10000\n" + 5 * "more\n",
    ),
    Row(
        "half_close: upstream",
        "[{name: stops listening, half_close: {direction: upstream, after: {bytes: 5B, direction: upstream}}}]",
        ("5 bytes, EOF",),  # the server answers an EOF in mid-line with as many bytes as it heard
        client_sees="nothing",
        server_hears="GET 1",
    ),
    Row(
        "close: after bytes",
        "[{name: truncated, close: {after: 1000B}}]",
        ("1000 bytes, EOF",),
        client_sees="EOF",
    ),
    Row(
        "hang: for a time",
        "[{name: garbage collection, hang: {after: 1000B, for: 300ms}}]",
        (WHOLE,),
        client_sees="silence",
        end_ms=300,
    ),
    Row(
        "hang: for ever, a client with a timeout of 800 ms",
        "[{name: stuck, hang: {after: 1000B}}]",
        ("1000 bytes, silence",),
        client_sees="silence",
        steps="patience:800 connect send read",
        end_ms=800,
    ),
    Row(
        "hang: a partition for a time",
        "[{name: failover, hang: {after: 1000B, acks: false, for: 300ms}}]",
        (WHOLE,),
        client_sees="silence",
        end_ms=300,
    ),
    Row(
        "hang: a partition, a client with a timeout of 800 ms",
        "[{name: cable pulled, hang: {after: 1000B, acks: false}}]",
        ("1000 bytes, silence",),
        client_sees="silence",
        steps="patience:800 connect send read",
        end_ms=800,
    ),
    Row(
        "blackhole, a client with a timeout of 800 ms",
        "[{name: into the void, blackhole: {after: 1000B, direction: downstream}}]",
        ("1000 bytes, silence",),
        client_sees="silence",
        steps="patience:800 connect send read",
        request=f"HOLD {SIZE}",
        end_ms=800,
    ),
    Row(
        "latency",
        "[{name: far away, latency: {delay: 100ms}}]",
        (WHOLE,),
        client_sees="delay",
        first_byte_ms=200,
    ),
    Row(
        "bandwidth",
        "[{name: a thin line, bandwidth: {rate: 50kB/s, direction: downstream}}]",
        (WHOLE,),
        client_sees="delay",
        end_ms=190,
    ),
    Row(
        "slice",
        "[{name: crumbs, slice: {size: 100B, pause: 2ms, direction: downstream}}]",
        (WHOLE,),
        client_sees="delay",
        end_ms=100,
    ),
    Row(
        "corrupt",
        "[{name: a bad cable, corrupt: {at: [5, 9999], direction: downstream}}]",
        ("10000 bytes, bytes 5,9999 changed, EOF",),
        client_sees="change",
    ),
    Row(
        "loss",
        "[{name: a noisy line, loss: {probability: 20%, direction: downstream}}]",
        (WHOLE,),
        client_sees="delay",
        end_ms=150,
        is_by_chance=True,
        attempts=UNTIL_LOST,
    ),
    Row(
        "slow_close",
        "[{name: will not let go, slow_close: {delay: 300ms, direction: downstream}}]",
        (WHOLE,),
        client_sees="delay",
        end_ms=300,
        end_held_ms=150,
    ),
)
