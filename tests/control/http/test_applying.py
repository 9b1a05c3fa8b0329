"""Edits over the API: what they are meant for, and what is answered where one cannot be."""

from threading import Event

import pytest
import trio

from faultproxy.control.edits import delete_proxy, put_proxy
from faultproxy.control.http.applying import apply, offloaded
from faultproxy.control.http.messages import HttpProblem, Request
from faultproxy.control.layers import Layers
from tests.control.http.asking import asked
from tests.managing import at, managed


async def test_if_match(server: str) -> None:
    """An edit that was meant for what ran before is refused; so is one that was meant for another run."""
    async with asked({"proxies": {"p": at(server)}}) as (its, client):
        tag = (await client.get("/v1/proxies/p")).headers["etag"]
        first = await client.patch("/v1/proxies/p", json={"enabled": False}, headers={"if-match": f'"x", {tag}'})
        assert first.status_code == 200
        for old in (tag, '"0-1"', "x"):
            late = await client.delete("/v1/proxies/p", headers={"if-match": old})
            assert late.status_code == 412
            assert late.headers["etag"] == first.headers["etag"] != tag
        assert its.manager.revision == 1
        unchanged = await client.patch("/v1/proxies/p", json={"enabled": False}, headers={"if-match": "*"})
        assert unchanged.headers["etag"] == first.headers["etag"]
        assert (await client.delete("/v1/proxies/p", headers={"if-match": first.headers["etag"]})).status_code == 204


async def test_at_the_end(server: str) -> None:
    """503 while the proxies are being drained."""
    async with managed({"proxies": {"p": at(server)}}) as its:
        its.manager.drain()
        with pytest.raises(HttpProblem, match="drained") as caught:
            await apply(its.manager, lambda layers: layers, Request("DELETE", "/v1/overlay"))
        assert caught.value.status == 503


async def test_a_large_body_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started any more, it is validated all the same."""

    async def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("trio.to_thread.run_sync", fail)
    assert await offloaded(Request("PUT", "/", body=b" " * 100_000), lambda: 7) == 7


async def test_a_large_body_that_another_edit_overtakes(server: str) -> None:
    """It is an edit of what runs then, not of what ran when it was read."""
    large = Request("PUT", "/", body=b" " * 100_000)
    async with managed({"proxies": {"p": at(server)}}) as its:

        def edit(layers: Layers) -> Layers:
            entered.set()
            overtaken.wait()
            return put_proxy("large", at(server))(layers)

        entered, overtaken = Event(), Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(apply, its.manager, edit, large)
            await trio.to_thread.run_sync(entered.wait)
            await its.manager.apply(delete_proxy("p"), "api")
            overtaken.set()
        assert list(its.manager.proxies) == ["large"]
