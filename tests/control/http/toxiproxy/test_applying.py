"""What an edit that cannot be is in Toxiproxy's words."""

from typing import Any

import pytest
import trio

from faultproxy.config.loader import ConfigError
from faultproxy.control.edits import NotFound
from faultproxy.control.http.toxiproxy.answers import Refused
from faultproxy.control.http.toxiproxy.applying import apply
from faultproxy.control.manager import Draining
from faultproxy.failures import CannotListen
from tests.managing import at, managed, read_exactly
from tests.peers import Upstream


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (NotFound("proxy", "p"), 404, "proxy not found"),
        (Refused(400, "invalid toxic type"), 400, "invalid toxic type"),
        (CannotListen("proxies.p.listen: no", may_pass=True), 500, "proxies.p.listen: no"),
        (ConfigError(("proxies.p.listen: no",)), 500, "listen tcp [::1]:1: bind: address already in use"),
        (
            ConfigError(("proxies.p.listen: no", "proxies.p.upstream: no")),
            400,
            "bad request body: proxies.p.listen: no; ",
        ),
        (Draining(), 503, "the proxies are being stopped"),
    ],
)
async def test_errors(raised: Exception, status: int, message: str) -> None:
    """The status and the text of the answer."""

    def edit(_: Any) -> Any:
        raise raised

    async with managed({"proxies": {"p": at("127.0.0.1:1")}}) as its:
        with pytest.raises(Refused) as refused:
            await apply(its.manager, edit, place="[::1]:1")
        assert refused.value.status == status
        assert refused.value.message.startswith(message)


async def test_connections_of_the_restarted_are_dropped() -> None:
    """Those of the proxies that the edit names, once it is in force; no others."""
    with Upstream() as upstream, Upstream() as other:
        config = {"proxies": {"p": at(upstream.address), "q": at(other.address)}}
        async with managed(config) as its, await its.connect("p") as lost, await its.connect("q") as kept:
            with await trio.to_thread.run_sync(upstream.accept), await trio.to_thread.run_sync(other.accept) as server:
                await apply(its.manager, lambda layers: layers, [its.manager.proxies["p"]])
                with pytest.raises(trio.BrokenResourceError):
                    await lost.receive_some()
                server.sendall(b"hi")
                assert await read_exactly(kept, 2) == b"hi"
