"""The API answers over real sockets."""

from pathlib import Path

import httpx

from faultproxy.addresses import UnixAddress
from tests.managing import at, managed


async def test_answers_over_a_unix_socket(tmp_path: Path) -> None:
    """A request that a library sends is answered."""
    path = str(tmp_path / "api.sock")
    async with managed({"proxies": {"p": at("127.0.0.1:1")}}, api=UnixAddress(path)) as its:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path)) as client:
            answer = await client.get("http://localhost/v1/status")
        assert answer.status_code == 200
        assert answer.json()["seed"] == its.manager.seed
