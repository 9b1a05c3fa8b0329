"""A manager at work among the tasks of a test: its proxies, what they publish, and edits."""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM
from typing import Any, TypeVar

import trio

from faultproxy import daemon
from faultproxy.addresses import Address as ListenAddress
from faultproxy.addresses import TcpAddress
from faultproxy.config.loader import build
from faultproxy.config.schema import Config
from faultproxy.control.edits import rebase
from faultproxy.control.http.security import ANYBODY, Access
from faultproxy.control.manager import Manager
from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.events.types import EVENTS, ApiCrashed, ApiStarted, ConnectionCrashed, Event
from tests.peers import PATIENCE_S, Address, name_of

CUT = {"name": "cut", "reset": {"to": "client"}}
E = TypeVar("E", bound=Event)


class Record:
    """A subscriber that keeps every event."""

    wants = frozenset(EVENTS)

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = trio.Event()

    def receive(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, kind: type[E], **fields: object) -> list[E]:
        """The events of this kind with these fields, so far."""
        return [
            event
            for event in self.events
            if isinstance(event, kind) and all(getattr(event, key) == value for key, value in fields.items())
        ]

    async def wait_for(self, kind: type[E], nth: int = 1, **fields: object) -> E:
        """The ``nth`` event of this kind with these fields."""
        while len(found := self.of(kind, **fields)) < nth:
            self._news = trio.Event()
            with trio.fail_after(PATIENCE_S):
                await self._news.wait()
        return found[nth - 1]


class Managed:
    """A manager that runs, and ``record``, what it and its proxies have published."""

    def __init__(self, config: Config) -> None:
        self.record = Record()
        self.stats = Stats()
        self.manager = Manager(config, Bus(self.stats, self.record))
        self.signal, self.signals = trio.open_memory_channel[int](10)

    async def edit(self, **proxies: Mapping[str, Any]) -> None:
        """Have these proxies run."""
        await self.apply({"proxies": proxies})

    async def apply(self, config: Mapping[str, Any]) -> None:
        """Have this configuration run."""
        await self.manager.apply(rebase(configuration(config)), "python")

    def address(self, proxy: str) -> Address:
        """Where it really listens."""
        address = self.manager.addresses[proxy]
        assert isinstance(address, TcpAddress)
        return address.host or "127.0.0.1", address.port

    @property
    def api(self) -> str:
        """The URL of its API, at a port."""
        (started,) = self.record.of(ApiStarted)
        return f"http://{started.listen}"

    async def connect(self, proxy: str) -> trio.SocketStream:
        """A client of this proxy."""
        return await connect(self.address(proxy))


@asynccontextmanager
async def managed(
    config: Mapping[str, Any],
    *,
    file: Path | None = None,
    api: ListenAddress | None = None,
    access: Access = ANYBODY,
) -> AsyncIterator[Managed]:
    """Run this configuration; at the end nothing must have crashed."""
    its = Managed(configuration(config))
    ready = trio.Event()
    with trio.fail_after(3 * PATIENCE_S):
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                await daemon.run(
                    its.manager, its.stats, its.signals, file=file, api=api, access=access, ready=ready.set
                )

            nursery.start_soon(run)
            await ready.wait()
            if api is not None:
                await its.record.wait_for(ApiStarted)
            yield its
            its.signal.send_nowait(SIGTERM)
    crashes: list[ConnectionCrashed | ApiCrashed] = [*its.record.of(ConnectionCrashed), *its.record.of(ApiCrashed)]
    assert not crashes, crashes[0].traceback


def configuration(config: Mapping[str, Any]) -> Config:
    """A configuration as it stands in a file; its drain is short."""
    return build({"seed": 0, "drain": "0s", **config}, has_api=True)


def at(upstream: str, *rules: Mapping[str, Any], listen: str = "127.0.0.1:0", **settings: Any) -> dict[str, Any]:
    """A proxy's mapping."""
    return {"listen": listen, "upstream": upstream, **settings, "rules": list(rules)}


async def connect(address: Address) -> trio.SocketStream:
    """A client, once it is connected."""
    sock = trio.socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    try:
        await sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def ask(address: Address, data: bytes = b"hi") -> bytes | str:
    """What a client gets that sends and reads as much: the bytes, or the errno's name."""
    try:
        async with await connect(address) as client:
            await client.send_all(data)
            return await read_exactly(client, len(data))
    except trio.BrokenResourceError as error:
        assert isinstance(error.__cause__, OSError)
        return name_of(error.__cause__)
    except OSError as error:
        return name_of(error)


async def read_exactly(client: trio.SocketStream, count: int) -> bytes:
    """So many bytes; fewer at the end of the stream."""
    got = bytearray()
    while len(got) < count and (more := await client.receive_some(count - len(got))):
        got += more
    return bytes(got)
