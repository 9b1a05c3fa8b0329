"""A server by itself among the tasks of a test, and clients that send bytes as they are."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from faultproxy.control.http.messages import Handler, Request, Response
from faultproxy.control.http.server import Server
from faultproxy.events.types import Event
from tests.managing import connect
from tests.peers import Address

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass
class Served:
    """A server that runs: its address, what it published, and its end."""

    server: Server
    address: Address
    events: list[Event]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def drain(self) -> None:
        """As at SIGTERM."""
        self.scope.cancel()


async def hello(_: Request) -> Response:
    """A handler: greets."""
    return Response.text("hello")


@asynccontextmanager
async def serving(answer: Handler = hello) -> AsyncIterator[Served]:
    """A server with this handler; at the end it is drained, within five seconds."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    events: list[Event] = []
    server = Server(answer, events.append)
    served = Served(server, listeners[0].socket.getsockname()[:2], events)
    with trio.fail_after(100):  # longer than the server waits for anybody
        async with trio.open_nursery() as clients:

            async def serve() -> None:
                with served.scope:
                    await server.serve(listeners, clients)

            clients.start_soon(serve)
            yield served
            served.drain()
            clients.cancel_scope.deadline = trio.current_time() + 5


async def talk(address: Address, *parts: bytes) -> bytes:
    """Send these bytes, a write each; all that comes until the server closes."""
    async with await connect(address) as client:
        for part in parts:
            await client.send_all(part)
        return await rest(client)


async def rest(client: trio.SocketStream) -> bytes:
    """All that comes until the server closes."""
    got = bytearray()
    async for data in client:
        got += data
    return bytes(got)


async def until(client: trio.SocketStream, mark: bytes) -> bytes:
    """All that comes up to these bytes."""
    got = bytearray()
    while mark not in got:
        data = await client.receive_some()
        assert data, bytes(got)
        got += data
    return bytes(got)


def status(answer: bytes) -> int:
    """The status of an answer."""
    return int(answer.split(b" ", 2)[1])


def problem(answer: bytes) -> Any:
    """The body of an answer that tells a problem."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return json.loads(body)
