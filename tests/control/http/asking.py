"""A manager at work with its API, and a client that asks it over a Unix socket."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from faultproxy.addresses import UnixAddress
from tests.managing import Managed, managed

YAML = {"content-type": "application/yaml"}
JSON = {"accept": "application/json"}


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
