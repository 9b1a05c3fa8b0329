"""How the whole stands, for people and for probes."""

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from faultproxy.events.types import ConfigRejected
from faultproxy.version import __version__
from tests.control.http.asking import asked
from tests.managing import at
from tests.peers import nobody


async def test_how_the_whole_stands(server: str, tmp_path: Path) -> None:
    """What runs since when, from which file, and whether the API has changed it."""
    file = tmp_path / "f.yaml"
    file.write_text(f"seed: 0\ndrain: 0s\nproxies:\n  p: {{listen: 127.0.0.1:0, upstream: '{server}'}}\n")
    async with asked({"proxies": {"p": at(server)}}, file=file) as (its, client):
        async with await its.connect("p") as stream:
            await stream.send_all(b"hi")
            assert await stream.receive_some() == b"hi"
            answer = (await client.get("/v1/status")).json()
        assert 0 < answer.pop("uptime_s") < 30
        assert abs(datetime.fromisoformat(answer.pop("time")) - datetime.now(UTC)) < timedelta(seconds=30)
        assert answer == {
            "version": __version__,
            "run": its.manager.run_id,
            "seed": 0,
            "workers": 1,
            "file": str(file),
            "revision": 0,
            "overlay": False,
            "proxies": 1,
            "open": 1,
            "degraded": [],
        }
        await client.patch("/v1/proxies/p", json={"enabled": False})
        answer = (await client.get("/v1/status")).json()
        assert (answer["revision"], answer["overlay"]) == (1, True)


async def test_a_file_whose_name_is_not_utf_8(server: str, tmp_path: Path) -> None:
    """It is told with escapes, by what runs and by its events."""
    file = tmp_path / os.fsdecode(b"\xff.yaml")
    file.write_text(f"drain: 0s\nproxies:\n  p: {{listen: 127.0.0.1:0, upstream: '{server}'}}\n")
    async with asked({"proxies": {"p": at(server)}}, file=file) as (its, client):
        assert (await client.get("/v1/status")).json()["file"] == f"{tmp_path}/\\udcff.yaml"
        file.write_text("proxies: 1")
        await its.record.wait_for(ConfigRejected)
        (event,) = (await client.get("/v1/events?event=config.rejected")).json()["events"]
        assert event["file"] == f"{tmp_path}/\\udcff.yaml"


async def test_what_is_degraded(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The faults that this host does not allow, and why."""
    monkeypatch.setattr("faultproxy.connection.host.why_missing", lambda _: "it may not")
    rule = {"name": "gone", "hang": {"acks": False}}
    async with asked({"proxies": {"p": at(server, rule)}}) as (_, client):
        degraded = (await client.get("/v1/status")).json()["degraded"]
        assert degraded == [{"proxy": "p", "faults": ["hang"], "reason": "it may not"}]


async def test_ready_and_live(server: str) -> None:
    """Live as long as it answers; ready unless an address was lost. Whoever is closed on purpose is ready."""
    with nobody() as listen:
        pass
    proxies = {"p": at(server, listen=listen), "q": at(server, enabled=False)}
    async with asked({"proxies": proxies}) as (its, client):
        assert (await client.get("/live")).text == "live\n"
        assert (await client.get("/ready")).text == "ready\n"
        await client.put("/v1/proxies/p/rules/out", json={"refuse": {}})
        assert (await client.get("/v1/proxies/p")).json()["state"] == "outage"
        assert (await client.get("/ready")).status_code == 200
        with socket.create_server(its.address("p"), reuse_port=False):
            await client.delete("/v1/proxies/p/rules/out")
            answer = await client.get("/ready")
            assert (answer.status_code, answer.text) == (503, f"not ready: p cannot listen at {listen}\n")
            assert (await client.get("/v1/proxies/p")).json()["state"] == "failed"
            assert (await client.get("/live")).status_code == 200
        await client.patch("/v1/proxies/p", json={"enabled": True, "dial_timeout": "1s"})
        assert (await client.get("/ready")).status_code == 200
