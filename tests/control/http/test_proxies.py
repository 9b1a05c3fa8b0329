"""Proxies over the API: how they stand, and what becomes of them."""

import socket
from typing import Any

import pytest

from faultproxy.events.types import ConfigLoaded, ConfigRejected
from tests.control.http.asking import YAML, asked
from tests.managing import CUT, ask, at


async def test_how_a_proxy_stands(server: str) -> None:
    """Its settings as in a file, its real address, who is connected, and what each rule has done."""
    rules: list[dict[str, Any]] = [
        {**CUT, "when": {"first": 1}, "expect": {"min": 2}},
        {"name": "quiet", "dry_run": True, "limit": 1, "close": {}},
        {"name": "late", "when": {"window": {"from": "1h", "to": "2h"}}, "close": {}},
    ]
    async with asked({"proxies": {"p": at(server, *rules, dial_timeout="2s")}}) as (its, client):
        assert await ask(its.address("p")) == "ECONNRESET"
        async with await its.connect("p") as stream:
            await stream.send_all(b"hi")
            assert await stream.receive_some() == b"hi"
            answer = (await client.get("/v1/proxies/p")).json()
        assert (answer["name"], answer["state"], answer["upstream"]) == ("p", "open", server)
        assert answer["listen"] == "{}:{}".format(*its.address("p"))
        assert (answer["dial_timeout"], answer["peek_timeout"], answer["enabled"]) == ("2s", "1s", True)
        assert (answer["open"], answer["connections"]) == (1, 2)
        assert (answer["bytes_upstream"], answer["bytes_downstream"]) == (2, 2)
        cut, quiet, late = answer["rules"]
        assert cut["rule"] == rules[0]
        assert (cut["considered"], cut["matched"], cut["injected"]) == (2, 1, 1)
        assert cut["expect"] == {"min": 2, "max": None, "is_met": False}
        assert (quiet["matched"], quiet["injected"], quiet["dry_runs"]) == (1, 0, 1)
        window = late["window"]
        assert not window["is_open"]
        assert window["elapsed_s"] + window["next_edge_s"] == pytest.approx(3600)
        assert answer["next_window_edge_s"] == window["next_edge_s"]
        assert (await client.get("/v1/proxies")).json()["proxies"][0]["name"] == "p"


async def test_made_changed_and_removed(server: str) -> None:
    """When the answer is there, the change is in force; it is logged as the API's."""
    async with asked({"proxies": {"p": at(server)}}) as (its, client):
        made = await client.put("/v1/proxies/redis%3A6379%2F0", json=at(server, CUT))
        assert (made.status_code, made.json()["name"]) == (201, "redis:6379/0")
        assert await ask(its.address("redis:6379/0")) == "ECONNRESET"
        again = await client.put("/v1/proxies/redis%3A6379%2F0", json=at(server))
        assert (again.status_code, again.json()["rules"]) == (200, [])
        assert await ask(its.address("redis:6379/0")) == b"hi"
        address = its.address("p")
        patched = await client.patch("/v1/proxies/p", json={"enabled": False})
        assert (patched.status_code, patched.json()["state"]) == (200, "disabled")
        assert await ask(address) == "ECONNREFUSED"
        patched = await client.patch("/v1/proxies/p", json={"enabled": None})
        assert patched.json()["state"] == "open"
        assert await ask(address) == b"hi"
        gone = await client.delete("/v1/proxies/p")
        assert (gone.status_code, gone.content) == (204, b"")
        assert await ask(address) == "ECONNREFUSED"
        assert list(its.manager.proxies) == ["redis:6379/0"]
        loaded = its.record.of(ConfigLoaded, source="api", file=None)
        assert [event.changes[0] for event in loaded] == [
            "proxy redis:6379/0 added",
            "proxy redis:6379/0: rules changed",
            "proxy p: enabled changed",
            "proxy p: enabled changed",
            "proxy p removed",
        ]
        assert its.manager.revision == 5


async def test_what_there_is_not() -> None:
    """404, whoever asks for what."""
    async with asked({"proxies": {}}) as (its, client):
        for method in ("GET", "PATCH", "DELETE"):
            answer = await client.request(method, "/v1/proxies/x", json={})
            assert (answer.status_code, answer.json()["detail"]) == (404, 'there is no proxy "x"')
        assert not its.record.of(ConfigRejected)


@pytest.mark.parametrize("size", [0, 20_000])
async def test_a_bad_proxy_changes_nothing(server: str, size: int) -> None:
    """All errors at once, with the file's texts; in YAML with their places. It is logged, whatever its size."""
    rules = "".join(f"  - {{name: {number}x, close: }}\n" for number in range(size // 20))
    text = (
        f"listen: 127.0.0.1:0\nupstream: {server}\nrulez: []\nrules:\n  - name: cut\n    reset: {{after: 4}}\n{rules}"
    )
    async with asked({"proxies": {"p": at(server)}}) as (its, client):
        before = its.manager.layers
        answer = await client.put("/v1/proxies/p", content=text, headers=YAML)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert answer.json()["errors"] == [
            'body:3:1: proxies.p.rulez: "rulez" is not a key here; write rules',
            'body:6:20: proxies.p.rules[0].reset.after: "4" has no unit; write 4B, 4KiB or 4s',
        ]
        (rejected,) = its.record.of(ConfigRejected)
        assert (rejected.source, list(rejected.errors)) == ("api", answer.json()["errors"])
        answer = await client.patch("/v1/proxies/p", content="\nenabled: maybe", headers=YAML)
        assert answer.json()["errors"] == [
            'body:2:10: proxies.p.enabled: "maybe" is not true or false; write true or false'
        ]
        answer = await client.patch("/v1/proxies/p", json={"enabled": "maybe"})
        assert answer.json()["errors"] == ['proxies.p.enabled: "maybe" is not true or false; write true or false']
        answer = await client.patch("/v1/proxies/p", json=[])
        assert answer.json()["errors"][0].startswith("proxies.p: a list is not a mapping")
        assert its.manager.layers is before
        assert its.manager.revision == 0
        assert await ask(its.address("p")) == b"hi"


async def test_an_address_that_is_taken(server: str) -> None:
    """409, with who may hold it; nothing has changed. So with an address that another proxy has: that is not valid."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        async with asked({"proxies": {"p": at(server)}}) as (its, client):
            answer = await client.put("/v1/proxies/q", json=at(server, listen=taken))
            assert answer.status_code == 409
            assert "EADDRINUSE" in answer.json()["detail"]
            assert "holds it: stop that" in answer.json()["errors"][0]
            (rejected,) = its.record.of(ConfigRejected)
            assert rejected.errors == tuple(answer.json()["errors"])
            assert list(its.manager.proxies) == ["p"]
            holder.close()
            assert (await client.put("/v1/proxies/q", json=at(server, listen=taken))).status_code == 201
            answer = await client.put("/v1/proxies/r", json=at(server, listen=taken))
            assert answer.status_code == 422
            assert "is where proxy q listens already" in answer.json()["errors"][0]


async def test_a_proxy_that_dials_the_api() -> None:
    """It is refused: whoever reaches the proxy would reach the API."""
    async with asked({"proxies": {}}) as (its, client):
        answer = await client.put("/v1/proxies/p", json=at(str(its.manager.api)))
        assert answer.status_code == 422
        assert "is where the API listens" in answer.json()["errors"][0]
