"""The demo: every fault once, with a plain client, beside the event of the log that reports it.

Nothing here knows what a fault should look like. A row is right when each client saw what the event says it
would see (``client_sees``, to the byte), and every rule of the file injected as many faults as its ``expect`` says.
"""

import errno
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from itertools import groupby
from math import inf
from operator import ne
from pathlib import Path
from signal import SIGTERM
from typing import Any, TypeVar, get_args

import trio
import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from faultproxy import daemon
from faultproxy.addresses import TcpAddress
from faultproxy.config.loader import parse
from faultproxy.config.schema import Config
from faultproxy.control.manager import Manager
from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.events.types import ConnectionClosed, Event, FaultInjected, OutageStarted, UpstreamFailed
from faultproxy.faults.base import Direction

_HOST = "127.0.0.1"
_CHECKER = "127.0.0.2"
_REQUEST = b"give me ten thousand bytes\n"
_REPLY = b"x" * 10_000
_MORE = b"more after the end\n"
_MEANWHILE = b"is anyone there?\n"
_PATIENCE_S = 3.0
_HURRY_S = 0.15
_LONG_PATIENCE_S = 20.0  # a packet that is lost time and again comes after twice as long each time
_LOOK_AGAIN_S = 0.002
_TCP_INFO_SIZE = 104
_DESCRIPTORS = 200  # more than all proxies, their clients and the server have open at any time
_LONG_MS = 90  # no client without a fault takes so long
_ENDS = {"EOF", "silence", *errno.errorcode.values()}
_T = TypeVar("_T")

Outcome = FaultInjected | OutageStarted | UpstreamFailed | ConnectionClosed
"""An event that says what became of a connection."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one connection gave a client: ``sees`` in the words of the log's ``client_sees``, and how it knows."""

    sees: str
    call: str
    error: OSError | None
    received: int
    proof: str


@dataclass(frozen=True, slots=True)
class Row:
    """A proxy, what its client saw connection by connection, the events of that, and what is wrong with them."""

    proxy: str
    seen: Sequence[Seen]
    events: Sequence[Outcome]
    wrong: Sequence[str]


@dataclass(frozen=True, slots=True)
class Result:
    """The configuration, as it was run and as the file has it, and what came of each proxy."""

    config: Config
    proxies: Mapping[str, Any]
    rows: Sequence[Row]


async def run_demo(console: Console) -> bool:
    """Run it and print the table; whether every row is as it should be. Writes no file."""
    started = trio.current_time()
    result = await try_faults()
    rows = result.rows
    console.print(_table(rows, result.proxies, is_wide=console.width >= 100))
    wrong = sum(bool(row.wrong) for row in rows)
    is_not = "is not" if wrong == 1 else "are not"
    verdict = f"[bold red]{wrong} of {len(rows)} rows {is_not}" if wrong else f"[green]All {len(rows)} rows are"
    console.print(f"{verdict} as config/demo.yaml says.[/] It took {trio.current_time() - started:.1f} s.")
    return not wrong


async def try_faults() -> Result:
    """Run every client against its fault. Writes no file. Raises OSError where there cannot be enough descriptors."""
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] < _DESCRIPTORS:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    path = demo_file()
    text = path.read_bytes()
    heard: list[bytes] = []
    with socket.socket() as stopped:
        stopped.bind((_HOST, 0))  # and nobody listens
        async with trio.open_nursery() as conversations, trio.open_nursery() as serving:
            handler = partial(_serve, heard)
            serve = partial(trio.serve_tcp, handler, 0, host=_HOST, handler_nursery=conversations)
            (listener,) = await serving.start(serve)
            server = listener.socket.getsockname()[1]
            config = _with_upstreams(parse(text, path.name), {"server": server, "stopped": stopped.getsockname()[1]})
            seen, events, unmet = await _run_clients(config)
            serving.cancel_scope.cancel()
    rows = [_row(name, seen[name], events, unmet, heard) for name in config.proxies]
    return Result(config, yaml.safe_load(text)["proxies"], rows)


def demo_file() -> Path:
    """The demo's configuration: beside the code in an installed package, in config/ in a working tree."""
    package = Path(str(files("faultproxy")))
    installed = package / "demo.yaml"
    return installed if installed.exists() else package.parent / "config" / "demo.yaml"


# ---- the proxies --------------------------------------------------------------------------------------------------


def _with_upstreams(config: Config, ports: Mapping[str, int]) -> Config:
    """The configuration with the real ports of the servers that the file knows by name."""
    proxies = {}
    for name, proxy in config.proxies.items():
        upstream = proxy.upstream
        if isinstance(upstream, TcpAddress) and upstream.host in ports:
            upstream = TcpAddress(_HOST, ports[upstream.host])
        proxies[name] = proxy.model_copy(update={"upstream": upstream})
    return config.model_copy(update={"proxies": proxies})


class _Collected(list[Outcome]):
    """A subscriber that keeps every event that says what became of a connection."""

    wants: AbstractSet[type[Event]] = frozenset(get_args(Outcome))

    def receive(self, event: Event) -> None:
        if isinstance(event, Outcome):
            self.append(event)


async def _run_clients(config: Config) -> tuple[dict[str, list[Seen]], list[Outcome], list[str]]:
    """What the clients saw, what happened meanwhile, and which rules did not do as they should have."""
    stats, events = Stats(), _Collected()
    manager = Manager(config, Bus(stats, events))
    stop, signals = trio.open_memory_channel[int](1)
    listening = trio.Event()
    seen: dict[str, list[Seen]] = {}
    async with trio.open_nursery() as running:
        running.start_soon(partial(daemon.run, manager, stats, signals, ready=listening.set))
        await listening.wait()
        async with trio.open_nursery() as clients:
            for name, address in manager.addresses.items():
                assert isinstance(address, TcpAddress)  # all of config/demo.yaml
                clients.start_soon(_run_client, name, (address.host, address.port), seen)
        await stop.send(SIGTERM)
    return seen, events, manager.unmet()


async def _serve(heard: list[bytes], stream: trio.SocketStream) -> None:
    """The server: it answers a line with ten thousand bytes, and an EOF in mid-line by saying so."""
    text = b""
    try:
        async for data in stream:
            if _REQUEST in text + data and _REQUEST not in text:
                await stream.send_all(_REPLY)
            text += data
        if text and not text.endswith(b"\n"):
            await stream.send_all(b'EOF after "%b"' % text)
    except trio.BrokenResourceError:
        pass
    finally:
        heard.append(text)


# ---- the clients: blocking sockets, as in any program ---------------------------------------------------------------


class DemoClient:
    """One connection of a client, and how far it came."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.call = "socket"
        self.received = 0
        self.eof = False
        self.effect = ""
        self.proof = ""
        self.sock = socket.socket()
        self.sock.settimeout(_PATIENCE_S)

    def connect(self) -> None:
        """Connect."""
        self.call = "connect"
        self.sock.connect(self.address)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.call = "send"
        self.sock.sendall(data)

    def receive(self, most: float = inf) -> bytes:
        """What comes until EOF, or until there is so much in all."""
        self.call = "recv"
        data = b""
        while self.received < most and not self.eof:
            piece = self.sock.recv(65536)
            self.received += len(piece)
            self.eof = not piece
            data += piece
        return data

    @property
    def unacknowledged(self) -> int:
        """Packets that its kernel has sent, and not heard of since (tcp(7), TCP_INFO: tcpi_unacked)."""
        return self._tcp_info(24)

    @property
    def sent_again(self) -> int:
        """Packets that its kernel has sent more than once (tcpi_total_retrans)."""
        return self._tcp_info(100)

    def _tcp_info(self, offset: int) -> int:
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        return int.from_bytes(info[offset : offset + 4], sys.byteorder)

    def sees(self, error: OSError | None) -> str:
        """What became of it, in the words of the log's ``client_sees``."""
        if isinstance(error, TimeoutError) and not error.errno:
            return "ETIMEDOUT" if self.call == "connect" else "silence"  # its own timeout, before the kernel's
        if error is not None:
            return errno.errorcode.get(error.errno or 0, type(error).__name__)
        return self.effect or ("EOF" if self.eof else "nothing")


def _play(address: tuple[str, int], act: Callable[[DemoClient], None]) -> Seen:
    client = DemoClient(address)
    error = None
    with client.sock:
        try:
            act(client)
        except OSError as caught:
            error = caught
    return Seen(client.sees(error), client.call, error, client.received, client.proof)


def _fetch(client: DemoClient) -> None:
    client.connect()
    client.send(_REQUEST)
    answer = client.receive(len(_REPLY))
    if not _REPLY.startswith(answer):
        changed = sum(map(ne, answer, _REPLY))
        client.effect, client.proof = "change", f"{changed} of them changed"


def _fetch_at_leisure(client: DemoClient) -> None:
    before = time.monotonic()
    _fetch(client)
    _note_delay(client, before, "after")


def _fetch_to_the_end(client: DemoClient) -> None:
    _fetch(client)
    client.sock.shutdown(socket.SHUT_WR)
    before = time.monotonic()
    client.receive()
    _note_delay(client, before, "EOF after")


def _note_delay(client: DemoClient, before: float, what: str) -> None:
    took_ms = (time.monotonic() - before) * 1000
    if took_ms >= _LONG_MS:
        client.effect, client.proof = "delay", f"{what} {took_ms:.0f} ms"


def _fetch_in_a_hurry(client: DemoClient) -> None:
    client.connect()
    client.send(_REQUEST)
    client.receive(1)
    client.sock.settimeout(_HURRY_S)
    client.receive(len(_REPLY))


def _call_out(client: DemoClient) -> None:
    client.connect()
    client.send(_REQUEST)
    client.receive(1)
    client.sock.settimeout(_HURRY_S)
    with suppress(TimeoutError):
        client.receive(len(_REPLY))
    client.send(_MEANWHILE)
    try:
        client.receive(len(_REPLY))
    finally:
        client.proof = f"what it sends is {'never ' if client.unacknowledged else ''}acknowledged"


def _talk_until_sent_again(client: DemoClient) -> None:
    client.sock.settimeout(_LONG_PATIENCE_S)
    _fetch(client)
    give_up = time.monotonic() + _PATIENCE_S
    while not client.sent_again and time.monotonic() < give_up:
        if not client.unacknowledged:
            client.send(_MEANWHILE)
        time.sleep(_LOOK_AGAIN_S)  # noqa: TID251  # a client has its own thread
    client.call = "getsockopt"
    if client.sent_again:
        client.effect, client.proof = "delay", f"packets sent again: {client.sent_again}"


def _connect_in_a_hurry(client: DemoClient) -> None:
    client.sock.settimeout(_HURRY_S)
    _fetch(client)


def _fetch_and_stay(client: DemoClient) -> None:
    _fetch(client)
    client.receive()


def _fetch_as_checker(client: DemoClient) -> None:
    client.sock.bind((_CHECKER, 0))
    _fetch(client)
    client.proof = f"from {_CHECKER}"


def _write_after_eof(client: DemoClient) -> None:
    _fetch(client)
    gone = select.poll()
    gone.register(client.sock, 0)  # 0: nothing but POLLERR and POLLHUP, which come with the reset
    gone.poll(_PATIENCE_S * 1000)
    client.send(_MORE)


def _talk_on(client: DemoClient) -> None:
    _fetch(client)
    client.send(_MORE)


def _talk_to_the_deaf(client: DemoClient) -> None:
    client.connect()
    client.send(b"hello, world\n")
    answer = client.receive().decode()
    client.eof = not answer  # the end of a whole answer is no surprise
    client.proof = f"the server says: {answer}"


def _fetch_patiently(address: tuple[str, int]) -> list[Seen]:
    """Exponential backoff: 20, 40, 80 ms, and so on, for at most six attempts."""
    attempts: list[Seen] = []
    while len(attempts) < 6:
        attempts.append(_play(address, _fetch))
        if attempts[-1].error is None:
            break
        time.sleep(0.01 * 2 ** len(attempts))  # noqa: TID251  # a client has its own thread
    return attempts


def once(*acts: Callable[[DemoClient], None]) -> Callable[[tuple[str, int]], list[Seen]]:
    """A client that does each of these things once, in a connection each."""
    return lambda address: [_play(address, act) for act in acts]


CLIENTS: Mapping[str, Callable[[tuple[str, int]], list[Seen]]] = {
    "timeout": once(_connect_in_a_hurry),
    "queue": once(_fetch_at_leisure),
    "late": once(_fetch_and_stay),
    "pipe": once(_write_after_eof),
    "hang": once(_fetch_in_a_hurry),
    "partition": once(_call_out),
    "slow": once(_fetch_at_leisure),
    "narrow": once(_fetch_at_leisure),
    "slice": once(_fetch_at_leisure),
    "loss": once(_talk_until_sent_again),
    "linger": once(_fetch_to_the_end),
    "half": once(_talk_on),
    "deaf": once(_talk_to_the_deaf),
    "pass": once(_fetch_as_checker, _fetch),
    "retry": _fetch_patiently,
}
"""The client of each proxy. The others have one that asks once."""


async def _run_client(proxy: str, address: tuple[str, int], seen: dict[str, list[Seen]]) -> None:
    seen[proxy] = await trio.to_thread.run_sync(CLIENTS.get(proxy, once(_fetch)), address)


# ---- the table ----------------------------------------------------------------------------------------------------


def _row(proxy: str, seen: list[Seen], logged: list[Outcome], unmet: list[str], heard: list[bytes]) -> Row:
    """Hold what the client saw against what the events say it would see."""
    events: list[Outcome] = []
    wrong = [sentence for sentence in unmet if sentence.startswith(f"{proxy}: ")]
    for number, connection in enumerate(seen, start=1):
        its = [event for event in logged if _reports(event, proxy, number)]
        events += its
        sees, sent = _client_sees(its[-1]) if its else ("nothing", 0)
        if connection.sees != sees:
            wrong.append(f"{proxy}#{number}: the log says {sees}, the client saw {connection.sees}")
        elif connection.sees in _ENDS and connection.received != sent:
            wrong.append(f"{proxy}#{number}: the log says {sent:,} bytes, the client received {connection.received:,}")
    if seen[-1].call == "send" and seen[-1].error is None:
        if any(text.endswith(_MORE) for text in heard):
            seen = [replace(seen[-1], proof="what it writes still arrives")]
        else:
            wrong.append(f"{proxy}: what the client wrote after the EOF never arrived")
    return Row(proxy, seen, events, wrong)


def _reports(event: Outcome, proxy: str, number: int) -> bool:
    """Whether an event says what became of a connection. One without a fault has only that of its end."""
    if isinstance(event, OutageStarted):
        return event.proxy == proxy
    is_reported_otherwise = isinstance(event, ConnectionClosed) and (event.ended_by != "client" or event.faults)
    return event.connection == f"{proxy}#{number}" and not is_reported_otherwise


def _client_sees(event: Outcome) -> tuple[str, int]:
    """What the client sees, after how many bytes."""
    match event:
        case FaultInjected():
            return event.client_sees, event.bytes_downstream
        case OutageStarted():
            return event.client_sees, 0
        case UpstreamFailed():
            return "ECONNRESET", 0
    return "nothing", event.bytes_downstream


def _table(rows: Sequence[Row], proxies: Mapping[str, Any], *, is_wide: bool) -> Table:
    table = Table(box=box.HORIZONTALS, show_lines=True, header_style="bold", pad_edge=False, expand=True)
    table.add_column("rule", ratio=4)
    table.add_column("the client caught", width=29 if is_wide else 23)
    table.add_column("the log says", ratio=5)
    table.add_column("", width=len("WRONG"))
    for row in rows:
        table.add_row(
            _rules_text(proxies[row.proxy]),
            _lines([_seen_text(run) for run in _runs(row.seen, key=lambda seen: (seen.sees, seen.call))]),
            _lines([*map(_event_text, _runs(row.events, key=_sameness)), *(Text(text, "red") for text in row.wrong)]),
            Text("WRONG", "bold white on red") if row.wrong else Text("ok", "green"),
        )
    return table


def _rules_text(proxy: Mapping[str, Any]) -> Text:
    """The rules as the file has them: the name of each, and the rest of it on a line."""
    rules = proxy.get("rules")
    if not rules:
        return Text.assemble(("no rules", "bold"), "\n", (f"upstream: {proxy['upstream']}", "cyan"))
    return _lines([Text.assemble((rule["name"], "bold"), "\n", (one_line(rule), "cyan")) for rule in rules])


def one_line(rule: Mapping[str, Any]) -> str:
    """A rule without its name, as YAML has it on one line."""
    parts = {key: value for key, value in rule.items() if key not in {"name", "expect"}}
    return "  ".join(_flow({key: value})[1:-1] for key, value in parts.items())


def _flow(value: object) -> str:
    """A value as YAML has it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}".rstrip() for key, item in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _seen_text(run: Sequence[Seen]) -> Text:
    seen = run[-1]
    proof = f"\n{seen.proof}" if seen.proof else ""
    if seen.error is not None:
        number = f"{seen.sees} {seen.error.errno} " if seen.error.errno else ""
        after = f" after {seen.received:,} bytes" if seen.received else ""
        times = f", {len(run)} times" if len(run) > 1 else ""
        return Text.assemble((type(seen.error).__name__, "bold red"), f"\n{number}{seen.call}(){after}{times}{proof}")
    if seen.sees == "EOF":
        return Text.assemble((f"EOF after {seen.received:,} bytes", "bold red"), proof)
    whole = f"all {len(_REPLY):,} bytes" if seen.received == len(_REPLY) else "no error"
    return Text.assemble((whole, "bold green" if seen.sees == "nothing" else "bold yellow"), proof)


def _event_text(run: Sequence[Outcome]) -> Text:
    """An event in short, or several that differ in the connection's number only."""
    event = run[0]
    where = ", ".join(its.proxy if isinstance(its, OutageStarted) else its.connection for its in run)
    match event:
        case FaultInjected():
            fidelity = ("exact", "green") if event.degraded is None else ("degraded", "yellow")
            reason = f"\n{event.degraded}" if event.degraded is not None else ""
            head = (f"{event.name} {where} ", (event.fault, "bold"))
            return Text.assemble(*head, f"\n{event.client_sees} ", fidelity, _when(event), reason)
        case UpstreamFailed():
            return Text(f"{event.name} {where}\n{event.error}")
        case OutageStarted():
            return Text.assemble(f"{event.name} {where} ", (event.fault, "bold"), f'\nrule "{event.rule}"')
    return Text(f"{event.name} {where}\nended_by {event.ended_by}")


def _when(event: FaultInjected) -> str:
    """How far the connection had come at the trigger."""
    if event.trigger.endswith(Direction.DOWNSTREAM):
        return f", {event.bytes_downstream:,} bytes"
    if event.trigger.endswith(Direction.UPSTREAM):
        return f", {event.bytes_upstream:,} bytes upstream"
    return f", {event.elapsed_ms:.0f} ms" if event.trigger[0].isdecimal() else ""


def _sameness(event: Outcome) -> object:
    if isinstance(event, FaultInjected):
        return event.name, event.fault, event.client_sees, event.degraded is None
    return event.name


def _runs(things: Sequence[_T], key: Callable[[_T], object]) -> list[list[_T]]:
    """Neighbours that are alike, together."""
    return [list(run) for _, run in groupby(things, key)]


def _lines(texts: Sequence[Text]) -> Text:
    return Text("\n").join(texts)
