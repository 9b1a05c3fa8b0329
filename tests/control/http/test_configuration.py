"""Whole configurations over the API."""

from pathlib import Path
from typing import Any

import pytest

from faultproxy.config.loader import parse
from faultproxy.events.types import ConfigLoaded, ConfigRejected
from tests.control.http.asking import JSON, YAML, asked
from tests.managing import ask, at
from tests.peers import nobody

CUT = {"name": "cut $HOME ${X}", "reset": {"to": "client"}}


async def test_the_sum_can_be_saved_as_a_file(server: str, tmp_path: Path) -> None:
    """Saved, it is what runs: then nothing is laid over it any more."""
    file = tmp_path / "f.yaml"
    file.write_text(f"seed: 0\ndrain: 0s\nproxies:\n  p: {{listen: 127.0.0.1:0, upstream: '{server}'}}\n")
    async with asked({"proxies": {"p": at(server)}}, file=file) as (its, client):
        assert (await client.put("/v1/proxies/p/rules/cut%20%24HOME%20%24%7BX%7D", json=CUT)).status_code == 201
        assert (await client.put("/v1/proxies/1e5", json=at(server, {"name": "010", "pass": {}}))).status_code == 201
        assert its.manager.layers.has_overlay
        saved = await client.get("/v1/config")
        assert saved.headers["content-type"] == "application/yaml"
        assert parse(saved.content, "saved") == its.manager.config
        assert (await client.get("/v1/config", headers=JSON)).json() == its.manager.config.dump()
        assert "cut" not in (await client.get("/v1/config?layer=base")).text
        file.write_bytes(saved.content)
        await its.record.wait_for(ConfigLoaded, source="file")
        assert not its.manager.layers.has_overlay
        assert await ask(its.address("p")) == "ECONNRESET"


@pytest.mark.parametrize("as_yaml", [False, True])
async def test_run_this_instead(server: str, as_yaml: bool) -> None:
    """What GET said may be sent back, in YAML and in JSON. Without the overlay the file runs again."""
    async with asked({"proxies": {"p": at(server), "q": at(server)}}) as (its, client):
        asked_for = await client.get("/v1/config", headers={} if as_yaml else JSON)
        headers = {**(YAML if as_yaml else {}), "if-match": asked_for.headers["etag"]}
        same = await client.put("/v1/config", content=asked_for.content, headers=headers)
        assert (same.status_code, same.json()) == (200, {"revision": 0, "changes": []})
        config = {"drain": "0s", "proxies": {"p": at(server, CUT), "new": at(server)}}
        instead = await client.put("/v1/config", json=config)
        assert instead.json()["revision"] == 1
        assert instead.json()["changes"] == [
            "seed changed",
            "proxy p: rules changed",
            "proxy q removed",
            "proxy new added",
        ]
        assert await ask(its.address("p")) == "ECONNRESET"
        late = await client.put("/v1/config", json=config, headers=headers)
        assert late.status_code == 412
        back = await client.delete("/v1/overlay")
        assert back.json()["revision"] == 2
        assert its.manager.layers.config is its.manager.layers.base
        assert await ask(its.address("p")) == b"hi"


async def test_a_file_that_the_overlay_keeps_out(server: str, tmp_path: Path) -> None:
    """It is rejected, once; when the overlay is dropped, it takes effect within a second or so."""
    file = tmp_path / "f.yaml"
    head = "seed: 0\ndrain: 0s\nproxies:\n"
    file.write_text(f"{head}  p: {{listen: 127.0.0.1:0, upstream: '{server}'}}\n")
    with nobody() as listen:
        pass
    async with asked({"proxies": {"p": at(server)}}, file=file) as (its, client):
        assert (await client.put("/v1/proxies/mine", json=at(server, listen=listen))).status_code == 201
        file.write_text(f"{head}  new: {{listen: '{listen}', upstream: '{server}'}}\n")
        rejected = await its.record.wait_for(ConfigRejected, source="file")
        assert rejected.errors[0].startswith(f'proxies.mine.listen: "{listen}" is where proxy new listens already')
        assert "drop it (DELETE /v1/overlay)" in rejected.errors[1]
        assert sorted(its.manager.proxies) == ["mine", "p"]
        assert (await client.delete("/v1/proxies/mine")).status_code == 204
        await its.record.wait_for(ConfigLoaded, source="file")
        assert list(its.manager.proxies) == ["new"]
        assert len(its.record.of(ConfigRejected)) == 1


async def test_a_file_may_come_to_have_no_proxies(server: str, tmp_path: Path) -> None:
    """Beside an API; what the API has made stays."""
    file = tmp_path / "f.yaml"
    file.write_text(f"seed: 0\ndrain: 0s\nproxies:\n  p: {{listen: 127.0.0.1:0, upstream: '{server}'}}\n")
    async with asked({"proxies": {"p": at(server)}}, file=file) as (its, client):
        assert (await client.put("/v1/proxies/mine", json=at(server))).status_code == 201
        file.write_text("seed: 0\ndrain: 0s\n")
        await its.record.wait_for(ConfigLoaded, source="file")
        assert list(its.manager.proxies) == ["mine"]


async def test_nothing_may_be_left(server: str) -> None:
    """Beside an API a configuration needs no proxies."""
    async with asked({"proxies": {"p": at(server)}}) as (its, client):
        assert (await client.put("/v1/config", json={})).status_code == 200
        assert its.manager.proxies == {}
        assert (await client.put("/v1/config", content="proxies: {}", headers=YAML)).status_code == 200


BAD = f"proxies:\n  p:\n    upstream: a:1\n    rules: [{{name: r}}]\n{'#' * 20_000}\n"


@pytest.mark.parametrize("size", [100, 20_000])
async def test_what_is_not_valid(server: str, size: int) -> None:
    """All errors, with their places in YAML, and nothing changes; check says the same, and is not logged."""
    async with asked({"proxies": {"p": at(server)}}) as (its, client):
        before = its.manager.layers
        checked = await client.post("/v1/check", content=BAD[:size], headers=YAML)
        assert checked.status_code == 422
        errors = checked.json()["errors"]
        assert errors == [
            "body:3:5: proxies.p: listen is missing; add listen: 127.0.0.1:16379",
            errors[1],
        ]
        assert errors[1].startswith("body:4:13: proxies.p.rules[0]: has no fault; add one of")
        assert not its.record.of(ConfigRejected)
        put = await client.put("/v1/config", content=BAD[:size], headers=YAML)
        assert (put.status_code, put.json()["errors"]) == (422, errors)
        (rejected,) = its.record.of(ConfigRejected)
        assert list(rejected.errors) == errors
        unread = await client.put("/v1/config", content="a: [", headers=YAML)
        assert unread.status_code == 422
        assert unread.json()["errors"][0].startswith("body:2:1: a: this is not YAML")
        assert (await client.put("/v1/config", content="[", headers=JSON)).status_code == 400
        assert its.manager.layers is before


async def test_a_variable_in_a_body() -> None:
    """The API's clients do not read the daemon's environment."""
    async with asked({"proxies": {}}) as (_, client):
        text = "proxies: {p: {listen: ':0', upstream: '${HOME}'}}"
        answer = await client.post("/v1/check", content=text, headers=YAML)
        assert "${HOME} is not set" in answer.json()["errors"][0]


async def test_check_warns(server: str) -> None:
    """Of what is valid and can hardly be meant."""
    rules: list[Any] = [{"name": "all", "pass": {}}, {"name": "never", "close": {}}]
    async with asked({"proxies": {}}) as (_, client):
        answer = (await client.post("/v1/check", json={"proxies": {"p": at(server, *rules)}})).json()
        assert (answer["proxies"], answer["rules"]) == (1, 2)
        assert answer["warnings"][0].startswith("proxies.p.rules[1]: warning: no connection reaches this rule")


async def test_explain(server: str) -> None:
    """The forecast of a configuration that is sent, or of what runs; nothing is opened or counted."""
    rule = {"name": "cut", "when": {"first": 1, "client": "10.0.0.1"}, "reset": {}}
    async with asked({"proxies": {"p": at(server, rule), "q": at(server)}}) as (its, client):
        answer = await client.post("/v1/explain?connections=2&client=10.0.0.1&proxy=p")
        (forecast,) = answer.json()["proxies"]
        first, second = forecast["connections"]
        assert (forecast["proxy"], first["connection"], first["text"]) == ("p", 1, "reset at once")
        assert first["faults"] == [{"rule": "cut", "fault": "reset", "count": 1}]
        assert second["faults"] == []
        assert not second["rules"][0]["holds"]
        assert its.manager.matched("p") == {"cut": 0}
        config = {"seed": 5, "proxies": {"p": at("a:1", {"name": "no", "refuse": {}})}}
        answer = await client.post("/v1/explain?connections=1", json=config)
        assert answer.json()["seed"] == 5
        assert answer.json()["proxies"][0]["connections"][0]["text"] == "refuse"
        for query in ("connections=10000", "connections=0", "connections=x", "client=x", "at=5", "seed=-1"):
            assert (await client.post(f"/v1/explain?{query}")).status_code == 400
        assert (await client.post("/v1/explain?proxy=x")).status_code == 404
        assert (await client.get("/v1/config?layer=x")).status_code == 400
