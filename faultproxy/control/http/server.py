"""HTTP/1.1 with h11 on trio: reads requests, has them answered, writes the answers."""

from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from urllib.parse import parse_qsl

import h11
import trio

from faultproxy.control.http.messages import EventStream, HttpProblem, Request, Response
from faultproxy.control.http.router import Router
from faultproxy.version import __version__

_READ = 2**16
_HEARTBEAT_S = 15.0


async def serve(router: Router, listener: trio.SocketListener) -> None:
    """Answer whoever connects, until cancelled. Closes the listener."""
    async with listener:
        await trio.serve_listeners(partial(_serve_client, router), [listener])


async def _serve_client(router: Router, stream: trio.abc.Stream) -> None:
    connection = h11.Connection(h11.SERVER)
    try:
        while connection.our_state is h11.IDLE:
            request = await _read_request(connection, stream)
            if request is None:
                return
            try:
                answer = await router.answer(request)
            except HttpProblem as problem:
                answer = problem.response()
            if isinstance(answer, EventStream):
                await _send_stream(connection, stream, answer)
            else:
                await _send(connection, stream, answer)
            if set(connection.states.values()) == {h11.DONE}:
                connection.start_next_cycle()
    except (h11.ProtocolError, trio.BrokenResourceError):
        pass
    finally:
        await trio.aclose_forcefully(stream)


async def _read_request(connection: h11.Connection, stream: trio.abc.Stream) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(_READ)))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _request(head, bytes(body))
        else:
            return None


def _request(head: h11.Request, body: bytes) -> Request:
    path, _, query = head.target.decode("ascii").partition("?")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    return Request(head.method.decode("ascii"), path, {}, pairs, headers, body)


async def _send(connection: h11.Connection, stream: trio.abc.Stream, response: Response) -> None:
    headers = _headers({**response.headers, "content-length": str(len(response.body))})
    data = connection.send(h11.Response(status_code=response.status, headers=headers)) or b""
    data += connection.send(h11.Data(data=response.body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)


async def _send_stream(connection: h11.Connection, stream: trio.abc.Stream, events: EventStream) -> None:
    headers = _headers({"content-type": "text/event-stream", "connection": "close"})
    await stream.send_all(connection.send(h11.Response(status_code=200, headers=headers)) or b"")
    async with aclosing(events.chunks) as chunks:
        async for chunk in chunks:
            await stream.send_all(connection.send(h11.Data(data=chunk)) or b"")


def _headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [("server", f"faultproxy/{__version__}"), *headers.items()]
