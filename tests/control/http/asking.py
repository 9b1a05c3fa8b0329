"""A manager at work with its API on a Unix socket, a client of that, and an upstream that echoes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import h11
import httpx
import trio

from faultproxy.addresses import UnixAddress
from tests.managing import Managed, at, managed

YAML = {"content-type": "application/yaml"}
JSON = {"accept": "application/json"}


class Listening:
    """A stream of events: its head, then frame by frame."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._connection = h11.Connection(h11.CLIENT)
        self._text = ""

    async def ask(self, target: str, headers: Mapping[str, str]) -> h11.Response:
        """The head of the answer."""
        all_of_them = {"host": "localhost", "accept": "text/event-stream", **headers}
        head = h11.Request(method="GET", target=target, headers=list(all_of_them.items()))
        data = (self._connection.send(head) or b"") + (self._connection.send(h11.EndOfMessage()) or b"")
        await self.stream.send_all(data)
        answer = await self._next_event()
        assert isinstance(answer, h11.Response)
        return answer

    async def next(self) -> dict[str, str]:
        """The fields of the next frame; comments are not among them."""
        while "\n\n" not in self._text:
            event = await self._next_event()
            assert isinstance(event, h11.Data), event
            self._text += event.data.decode()
        frame, _, self._text = self._text.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in frame.splitlines() if not line.startswith(":"))
        return fields or await self.next()

    async def _next_event(self) -> Any:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            self._connection.receive_data(bytes(await self.stream.receive_some(65536)))
        return event


class Asking:
    """What runs, and a client of its API, which listens at ``path``."""

    def __init__(self, its: Managed, api: httpx.AsyncClient, path: str) -> None:
        self.its = its
        self.api = api
        self._path = path

    async def get(self, path: str, **query: str) -> Any:
        """The JSON that is answered, with 200."""
        answer = await self.api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @asynccontextmanager
    async def listen(self, since: object = None, **query: str) -> AsyncIterator[Listening]:
        """A stream of events, begun: its first frame is read."""
        async with await trio.open_unix_socket(self._path) as stream:
            listening = Listening(stream)
            resumed = {} if since is None else {"last-event-id": str(since)}
            answer = await listening.ask(f"/v1/events?{urlencode(query)}", resumed)
            assert (answer.status_code, dict(answer.headers)[b"content-type"]) == (200, b"text/event-stream")
            assert set(await listening.next()) == {"retry", "id"}
            yield listening


@asynccontextmanager
async def asked(
    config: Mapping[str, Any], *, file: Path | None = None
) -> AsyncIterator[tuple[Managed, httpx.AsyncClient]]:
    """Run this configuration with an API, and a client of it."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/api.sock"
        async with managed(config, file=file, api=UnixAddress(path)) as its:
            transport = httpx.AsyncHTTPTransport(uds=path)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
                yield its, client


@asynccontextmanager
async def asking(*rules: Mapping[str, Any], file: Path | None = None, **settings: Any) -> AsyncIterator[Asking]:
    """A proxy ``p`` with these rules, whose upstream echoes."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, _echo, listeners)
        port = listeners[0].socket.getsockname()[1]
        with TemporaryDirectory() as folder:
            path = str(Path(folder) / "api.sock")
            config = {"proxies": {"p": at(f"127.0.0.1:{port}", *rules, **settings)}}
            async with managed(config, file=file, api=UnixAddress(path)) as its:
                transport = httpx.AsyncHTTPTransport(uds=path)
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as api:
                    yield Asking(its, api, path)
        nursery.cancel_scope.cancel()


async def _echo(stream: trio.SocketStream) -> None:
    try:
        async for data in stream:
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass
