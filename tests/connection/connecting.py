"""Connections between two real peers, with the events that they publish."""

import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import trio

from faultproxy.connection.connection import Connection
from faultproxy.connection.context import Context, Greeting
from faultproxy.connection.peers import Peers
from faultproxy.events.bus import Bus
from faultproxy.events.types import EVENTS, ConnectionClosed, Event
from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import Fault
from faultproxy.relay import Poller
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import UNTOUCHED, Faults, Match, Plan
from faultproxy.upstream.circles import Circles
from faultproxy.upstream.dial import Target
from faultproxy.upstream.dialler import Dialler
from tests.relay.relaying import polling, tcp_pair, until

KINDS = {kind.key: kind for kind in CATALOGUE}
SEED = 7
E = TypeVar("E")


def match(rule: str = "r", *, ordinal: int = 1, dry_run: bool = False, **faults: dict[str, Any]) -> Match:
    """A rule with these faults, as they stand in a file, that matches."""
    made: Iterable[Fault] = (KINDS[key].model_validate(options) for key, options in faults.items())
    return Match(rule, ordinal, Faults(made), dry_run)


def plan(*matches: Match) -> Plan:
    """What the rules decide when these match, the last with a verdict."""
    real = tuple(one for one in matches if not one.dry_run)
    return Plan(
        real, tuple(one for one in matches if one.dry_run), next((one for one in real if one.faults.connect), None)
    )


def facts(number: int = 17, at_s: float | None = None) -> ConnectionFacts:
    """A connection that was accepted now, or at a moment."""
    return ConnectionFacts(number, "127.0.0.1", trio.current_time() if at_s is None else at_s, 1, client_port=5555)


class Recorder:
    """A subscriber that keeps all events."""

    wants = frozenset(EVENTS)

    def __init__(self) -> None:
        self.events: list[Event] = []

    def receive(self, event: Event) -> None:
        self.events.append(event)

    def all(self, kind: type[E]) -> list[E]:
        """Those of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def next(self, kind: type[E]) -> E:
        """Wait for the first of a kind."""
        await until(lambda: bool(self.all(kind)))
        return self.all(kind)[0]


@dataclass
class Scene:
    """What the connections of a proxy need, and an upstream that accepts by hand."""

    context: Context
    reported: Recorder
    listener: trio.socket.SocketType
    ended: list[Connection] = field(default_factory=list)
    _socks: list[trio.socket.SocketType] = field(default_factory=list)

    @property
    def tasks(self) -> int:
        """How many tasks connections have."""
        return len(self.context.nursery.child_tasks)

    def connection(
        self,
        *matches: Match,
        greeting: Greeting | None = None,
        at_s: float | None = None,
        client_buffer: int | None = None,
        **changes: Any,
    ) -> tuple[Connection, trio.socket.SocketType]:
        """One that is not started yet, with the client's end; ``changes`` are those to the context's dialler."""
        peer, ours = tcp_pair(receive_buffer=client_buffer)
        client = self.keep(peer)
        made = Connection(
            replace(self.context, dialler=replace(self.context.dialler, **changes)),
            ours,
            facts(at_s=at_s),
            plan(*matches) if matches else UNTOUCHED,
            greeting or Greeting(),
            self.ended.append,
        )
        return made, client

    async def joined(
        self, *matches: Match, client_buffer: int | None = None, **changes: Any
    ) -> tuple[Connection, trio.socket.SocketType, trio.socket.SocketType]:
        """One that is started, with both peers' ends."""
        made, client = self.connection(*matches, client_buffer=client_buffer, **changes)
        made.start()
        return made, client, await self.accept()

    async def accept(self) -> trio.socket.SocketType:
        """The server's end of the next connection."""
        sock, _ = await self.listener.accept()
        return self.keep(sock)

    def keep(self, sock: socket.socket | trio.socket.SocketType) -> trio.socket.SocketType:
        """Close it at the end."""
        kept = trio.socket.from_stdlib_socket(sock) if isinstance(sock, socket.socket) else sock
        self._socks.append(kept)
        return kept

    def is_left_alone(self) -> bool:
        """Whether nobody has dialled the upstream."""
        with socket.socket(fileno=socket.dup(self.listener.fileno())) as twin:
            twin.setblocking(False)
            try:
                twin.accept()[0].close()
            except BlockingIOError:
                return True
        return False

    async def closed(self) -> ConnectionClosed:
        """Wait for the end; then its task, if there was one, is gone too, and everything closed."""
        event = await self.reported.next(ConnectionClosed)
        await until(lambda: not self.tasks)
        assert len(self.reported.all(ConnectionClosed)) == len(self.ended)
        return event

    def close(self) -> None:
        """Close the peers' ends."""
        for sock in self._socks:
            sock.close()


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """A place for connections, on a poller of its own. Their tasks are cancelled at the end."""
    async with polling() as poller:
        with trio.socket.socket() as listener:
            await listener.bind(("127.0.0.1", 0))
            listener.listen()
            target = Target.tcp(*listener.getsockname())
            async with trio.open_nursery() as nursery:
                reported = Recorder()
                it = Scene(
                    Context(
                        "redis",
                        SEED,
                        Dialler("redis", target, 5.0, poller, Circles()),
                        poller,
                        Bus(reported),
                        nursery,
                    ),
                    reported,
                    listener,
                )
                try:
                    yield it
                finally:
                    it.close()
                nursery.cancel_scope.cancel()


@dataclass
class Ends:
    """Peers, and the two ends that are not ours."""

    peers: Peers
    client: trio.socket.SocketType
    server: trio.socket.SocketType
    to_server: socket.socket
    changes: list[None]
    on_change: Callable[[], None]

    def connect(self) -> None:
        """Reach the server, and let the bytes flow."""
        self.peers.connect(self.to_server, self.on_change).start()


@asynccontextmanager
async def ends(*, client_buffer: int | None = None) -> AsyncIterator[Ends]:
    """Peers whose server is not reached yet."""
    async with polling() as poller:
        with_peers = peers_on(poller, client_buffer)
        try:
            yield with_peers
        finally:
            with_peers.peers.stop()
            socks: Sequence[Any] = (with_peers.client, with_peers.server, with_peers.peers.client, with_peers.to_server)
            for sock in socks:
                sock.close()


def peers_on(poller: Poller, client_buffer: int | None = None) -> Ends:
    """Peers that use this poller."""
    (client, ours), (server, theirs) = tcp_pair(receive_buffer=client_buffer), tcp_pair()
    changes: list[None] = []

    def on_change() -> None:
        changes.append(None)
        poller.yield_soon = True

    wrap = trio.socket.from_stdlib_socket
    return Ends(Peers(poller, ours), wrap(client), wrap(server), theirs, changes, on_change)
