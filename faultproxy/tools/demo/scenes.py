"""The demo: every fault once, with a plain client, beside the event of the log that reports it.

Nothing here knows what a fault should look like. A row is right when each client saw what the event says it
would see (``client_sees``, to the byte), and every rule of the file injected as many faults as its ``expect`` says.
"""

import errno
import os
import resource
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from signal import SIGTERM
from typing import Any, get_args

import trio
import yaml

from faultproxy import daemon
from faultproxy.addresses import TcpAddress
from faultproxy.config.loader import parse
from faultproxy.config.schema import Config
from faultproxy.control.manager import Manager
from faultproxy.events.bus import Bus, Subscriber
from faultproxy.events.stats import Stats
from faultproxy.events.types import ConnectionClosed, Event, FaultInjected, OutageStarted, UpstreamFailed
from faultproxy.tools.demo import clients
from faultproxy.tools.demo.clients import MORE, REPLY, REQUEST, Seen

_HOST = "127.0.0.1"
_DESCRIPTORS = 200  # more than all proxies, their clients and the server have open at any time
_ENDS = {"EOF", "silence", *errno.errorcode.values()}

Outcome = FaultInjected | OutageStarted | UpstreamFailed | ConnectionClosed
"""An event that says what became of a connection."""


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


async def try_faults() -> Result:
    """Run every client against its fault. Writes no file. Raises OSError where there cannot be enough descriptors."""
    heard: list[bytes] = []
    async with servers(heard) as config:
        seen, events, unmet = await _run_clients(config)
    rows = [_row(name, seen[name], events, unmet, heard) for name in config.proxies]
    return Result(config, yaml.safe_load(demo_file().read_bytes())["proxies"], rows)


@asynccontextmanager
async def servers(heard: list[bytes] | None = None) -> AsyncIterator[Config]:
    """The server runs meanwhile, and adds what each client sent to ``heard``; the configuration with its real port.

    Raises OSError where there cannot be enough descriptors.
    """
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] < _DESCRIPTORS:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    path = demo_file()
    with socket.socket() as stopped:
        stopped.bind((_HOST, 0))  # and nobody listens
        async with trio.open_nursery() as conversations, trio.open_nursery() as serving:
            serve = partial(trio.serve_tcp, partial(_serve, heard), 0, host=_HOST, handler_nursery=conversations)
            (listener,) = await serving.start(serve)
            ports = {"server": listener.socket.getsockname()[1], "stopped": stopped.getsockname()[1]}
            yield _with_upstreams(parse(path.read_bytes(), path.name), ports)
            serving.cancel_scope.cancel()


def demo_file() -> Path:
    """The demo's configuration: beside the code in an installed package, in config/ in a working tree."""
    package = Path(str(files("faultproxy")))
    installed = package / "demo.yaml"
    return installed if installed.exists() else package.parent / "config" / "demo.yaml"


@asynccontextmanager
async def running(config: Config, *subscribers: Subscriber, **options: Any) -> AsyncIterator[Manager]:
    """What runs the proxies, which listen within the block. ``options`` are the daemon's."""
    stats = Stats()
    manager = Manager(config, Bus(stats, *subscribers))
    stop, signals = trio.open_memory_channel[int](1)
    listening = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(daemon.run, manager, stats, signals, ready=listening.set, **options))
        await listening.wait()
        yield manager
        await stop.send(SIGTERM)


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
    events = _Collected()
    seen: dict[str, list[Seen]] = {}
    async with running(config, events) as manager, trio.open_nursery() as playing:
        for name, address in manager.addresses.items():
            assert isinstance(address, TcpAddress)  # all of config/demo.yaml
            playing.start_soon(_run_client, name, (address.host, address.port), seen)
    return seen, events, manager.unmet()


async def _run_client(proxy: str, address: tuple[str, int], seen: dict[str, list[Seen]]) -> None:
    seen[proxy] = await trio.to_thread.run_sync(clients.play, proxy, address)


async def _serve(heard: list[bytes] | None, stream: trio.SocketStream) -> None:
    """The server: it answers a line with ten thousand bytes, and an EOF in mid-line by saying so."""
    text = b""
    try:
        async for data in stream:
            if REQUEST in text + data and REQUEST not in text:
                await stream.send_all(REPLY)
            text += data
        if text and not text.endswith(b"\n"):
            await stream.send_all(b'EOF after "%b"' % text)
    except trio.BrokenResourceError:
        pass
    finally:
        if heard is not None:
            heard.append(text)


# ---- what came of it ------------------------------------------------------------------------------------------------


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
        if any(text.endswith(MORE) for text in heard):
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
