"""A faultproxy that is called as Toxiproxy's clients call it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from faultproxy.addresses import UnixAddress
from tests.managing import Managed, managed
from tests.peers import PATIENCE_S, Upstream


class Caller:
    """Sends requests; ``its`` is who answers them."""

    def __init__(self, its: Managed, http: httpx.AsyncClient) -> None:
        self.its = its
        self._http = http

    async def __call__(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """The answer to a request; a body that is bytes is sent as it is, any other as JSON."""
        sent = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        return await self._http.request(method, path, **sent, **options)

    async def create(self, name: str, upstream: str, **fields: object) -> Any:
        """A new proxy on a free port of 127.0.0.1."""
        body = {"name": name, "upstream": upstream, "listen": "127.0.0.1:0", **fields}
        answer = await self("POST", "/proxies", body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def add(self, proxy: str, kind: str, stream: str = "downstream", **attributes: Any) -> Any:
        """A new toxic."""
        body = {"type": kind, "stream": stream, "attributes": attributes}
        answer = await self("POST", f"/proxies/{proxy}/toxics", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @asynccontextmanager
    async def joined(self, proxy: str, upstream: Upstream) -> AsyncIterator[tuple[trio.SocketStream, socket.socket]]:
        """A client of a proxy, and the server's end of its connection."""
        async with await self.its.connect(proxy) as client:
            with await trio.to_thread.run_sync(upstream.accept) as server:
                yield client, server


@asynccontextmanager
async def called(folder: Path) -> AsyncIterator[Caller]:
    """A faultproxy without proxies, whose API listens in this folder."""
    path = str(folder / "api.sock")
    async with managed({"api": f"unix:{path}"}, api=UnixAddress(path)) as its:
        transport = httpx.AsyncHTTPTransport(uds=path)
        headers = {"user-agent": "toxiproxy-cli/v2.12.0 (linux/amd64)"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers, timeout=PATIENCE_S
        ) as http:
            yield Caller(its, http)


def error(answer: httpx.Response) -> tuple[int, str]:
    """The status and the text of an error, which must look as Toxiproxy's do."""
    said = answer.json()
    assert answer.text.endswith("}\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert said == {"error": said["error"], "status": answer.status_code}
    return answer.status_code, said["error"]
