"""Connections are seen over the API, with what every rule said to them, and faults are injected into open ones."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import trio

from faultproxy.control.http.byte_stream import ByteStream
from faultproxy.control.http.connections import Story, Summaries
from faultproxy.events.types import ConnectionClosed, FaultInjected, ProxyStopped
from tests.control.http.asking import YAML, Asking, asking
from tests.managing import ask, read_exactly
from tests.network import needs_syn_interception

FIRST = {"name": "cold start", "when": {"first": 1}, "latency": {"delay": "1ms"}}
CUT = {"name": "cut", "reset": {"after": "2B"}}
ELSEWHERE = {"name": "elsewhere", "when": {"client": "10.0.0.1"}, "reset": None}


async def talk(client: trio.SocketStream, data: bytes = b"hello") -> None:
    """Have it echoed."""
    await client.send_all(data)
    assert await read_exactly(client, len(data)) == data


async def inject(it: Asking, number: int, fault: object) -> Any:
    """The answer to a fault by hand."""
    return await it.api.post(f"/v1/connections/p%23{number}/faults", json=fault)


async def test_open_ones_and_those_that_are_over() -> None:
    """Open ones first, the latest first, with their bytes; of one proxy or one state; no more than asked for."""
    async with asking(FIRST) as it:
        for _ in range(2):
            assert await ask(it.its.address("p")) == b"hi"
        await it.its.record.wait_for(ConnectionClosed, 2)
        async with await it.its.connect("p") as client, await it.its.connect("p"):
            await talk(client)
            all_of_them = await it.get("/v1/connections")
            Summaries.model_validate(all_of_them)
            found = all_of_them["connections"]
            assert [(each["number"], each["state"]) for each in found[:2]] == [(4, "open"), (3, "open")]
            assert {each["number"] for each in found[2:]} == {1, 2}
            assert all_of_them["open"] == 2
            three = found[1]
            assert (three["connection"], three["bytes_upstream"], three["bytes_downstream"]) == ("p#3", 5, 5)
            first = next(each for each in found if each["number"] == 1)
            assert (first["rule"], first["faults"], first["ended_by"]) == ("cold start", ["latency"], "client")
            assert len((await it.get("/v1/connections", state="closed"))["connections"]) == 2
            assert len((await it.get("/v1/connections", limit="3"))["connections"]) == 3
            assert (await it.get("/v1/connections", proxy="q"))["connections"] == []


async def test_a_story() -> None:
    """What every rule said when the connection was accepted, also when the counts have gone on since."""
    chance = {"name": "chance", "when": {"probability": "0%"}, "reset": None}
    async with asking(FIRST, ELSEWHERE, chance) as it:
        async with await it.its.connect("p") as client, await it.its.connect("p") as other:
            await talk(client)
            await talk(other)
            first = await it.get("/v1/connections/p%231")
            Story.model_validate(first)
            assert [(each["rule"], each["holds"]) for each in first["rules"]] == [
                ("cold start", True),
                ("elsewhere", False),
                ("chance", False),
            ]
            assert first["rules"][0]["because"] == "1st that it counts, of the first 1"
            assert first["rules"][1]["because"] == "client 127.0.0.1 is not in 10.0.0.1/32"
            (fault,) = first["injected"]
            assert (fault["rule"], fault["fault"], fault["client_sees"]) == ("cold start", "latency", "delay")
            second = await it.get("/v1/connections/p%232")
            assert second["rules"][0]["because"] == "2nd that it counts, past the first 1"
        await it.its.record.wait_for(ConnectionClosed, 2)
        over = await it.get("/v1/connections/p%231")
        assert (over["state"], over["ended_by"], over["rules"]) == ("closed", "client", first["rules"])


async def test_the_story_on_the_page() -> None:
    """docs/api.md shows one with the fields that there are, in their order."""
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    (shown,) = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)]
    async with asking(CUT) as it:
        assert await ask(it.its.address("p"), b"four") == "ECONNRESET"
        real = await it.get("/v1/connections/p%231")
    Story.model_validate(shown)
    assert set(shown) == set(Story.model_fields)
    assert list(shown) == list(real)
    assert [list(each) for each in shown["injected"]] == [list(each) for each in real["injected"]]
    assert list(shown["rules"][0]) == list(real["rules"][0])


@needs_syn_interception
async def test_the_story_of_a_client_that_was_refused() -> None:
    """It has no connection, and is among those that are over, with the rule that decided and why."""
    every = {"name": "every other", "when": {"every": 2}, "refuse": None}
    async with asking(every, ELSEWHERE) as it:
        assert await ask(it.its.address("p")) == b"hi"
        assert await ask(it.its.address("p")) == "ECONNREFUSED"
        story = await it.get("/v1/connections/p%232")
        assert (story["ended_by"], story["faults"], story["rule"]) == ("fault", ["refuse"], "every other")
        assert story["rules"][0] == {
            "rule": "every other",
            "holds": True,
            "because": "2nd that it counts, every 2nd",
        }
        assert story["rules"][1]["because"] == 'not read: "every other" has decided'
        assert not story["client"].endswith(":0")


async def test_a_client_whose_first_bytes_are_waited_for() -> None:
    """It is listed, and has no story yet; no fault can be injected before it is decided."""
    hears = {"name": "hears", "when": {"starts_with": "GET"}, "reset": None}
    async with asking(hears, peek_timeout="1h") as it, await it.its.connect("p") as client:
        found: list[Any] = []
        while not found:
            found = (await it.get("/v1/connections"))["connections"]
        assert [each["state"] for each in found] == ["peeking"]
        assert (await it.get("/v1/connections/p%231"))["rules"] == []
        answer = await inject(it, 1, {"reset": {}})
        assert (answer.status_code, "first bytes" in answer.json()["detail"]) == (409, True)
        await talk(client, b"PUT ")
        (said,) = (await it.get("/v1/connections/p%231"))["rules"]
        assert said["because"].endswith('and this client says "PUT "')


async def test_a_reset_by_hand() -> None:
    """At once: the client gets RST; logged without a rule, and with who asked for it; counted apart."""
    async with asking(FIRST) as it, await it.its.connect("p") as client:
        await talk(client)
        answer = await inject(it, 1, {"reset": {"to": "client"}})
        assert answer.json()["faults"][0]["fault"] == "reset"
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some(1)
        event = await it.its.record.wait_for(FaultInjected, fault="reset")
        assert (event.rule, event.ordinal, event.source, event.client_sees) == (None, None, "api", "ECONNRESET")
        assert it.its.stats.count(event) == 1
        assert it.its.stats.injected("p") == {"cold start": 1}
        answer = await inject(it, 1, {"reset": {}})
        assert (answer.status_code, answer.json()["detail"]) == (409, "p#1 is over: ended by fault")


@pytest.mark.parametrize(
    ("fault", "sees"),
    [
        ({"reset": None}, "ECONNRESET"),
        ({"close": None}, "EOF"),
        ({"half_close": {"direction": "downstream"}}, "EOF"),
        ({"reset": {"after": "2B"}}, "ECONNRESET"),
        ({"close": {"after": "1ms"}}, "EOF"),
    ],
)
async def test_what_the_client_sees(fault: dict[str, Any], sees: str) -> None:
    """It is what the log says; time and bytes count from the call, also beside another fault by hand."""
    async with asking() as it, await it.its.connect("p") as client:
        await talk(client)
        assert (await inject(it, 1, {"abort": {"after": "1h"}})).status_code == 200
        await talk(client)
        assert (await inject(it, 1, fault)).status_code == 200
        end = "EOF"
        try:
            if "2B" in str(fault):
                await client.send_all(b"67")
                assert await read_exactly(client, 2) == b"67"
            assert await client.receive_some(1) == b""
        except trio.BrokenResourceError:
            end = "ECONNRESET"
        (key,) = fault
        event = await it.its.record.wait_for(FaultInjected, fault=key)
        assert (end, event.client_sees) == (sees, sees)


async def test_a_hang_by_hand() -> None:
    """Nothing moves until it is let go; then every byte goes on."""
    async with asking() as it, await it.its.connect("p") as client:
        await talk(client)
        await inject(it, 1, {"hang": None})
        await it.its.record.wait_for(FaultInjected, fault="hang")
        await client.send_all(b"held")
        assert (await it.get("/v1/connections/p%231"))["bytes_upstream"] == 5
        assert (await it.api.delete("/v1/connections/p%231/faults")).status_code == 204
        assert await read_exactly(client, 4) == b"held"


@pytest.mark.parametrize("fault", ["hang", "half_close", "blackhole"])
async def test_it_is_in_force_when_it_is_answered(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """What is sent after the answer meets it."""
    at_answers = []
    send = ByteStream.send

    async def note(stream: ByteStream, data: bytes) -> None:
        at_answers.append(len(it.its.record.of(FaultInjected)))
        await send(stream, data)

    monkeypatch.setattr(ByteStream, "send", note)
    async with asking() as it, await it.its.connect("p") as client:
        await talk(client)
        assert (await inject(it, 1, {fault: None})).status_code == 200
        assert at_answers == [1]


async def test_no_call_waits_for_a_peer() -> None:
    """A client that does not read holds megabytes back: a fault into its connection is answered, and strikes."""
    async with asking() as it, await it.its.connect("p") as client:
        with trio.move_on_after(0.5):
            while True:
                await client.send_all(bytes(2**20))
        held = await it.get("/v1/connections/p%231")
        assert held["bytes_upstream"] > 2**20
        assert (await inject(it, 1, {"latency": {"delay": "1s"}})).status_code == 200
        assert (await inject(it, 1, {"reset": None})).status_code == 200
        await it.its.record.wait_for(FaultInjected, fault="reset")


async def test_a_shape_by_hand() -> None:
    """It acts at once and through an edit, another of its kind takes its place, and it is gone when it is deleted."""
    async with asking() as it, await it.its.connect("p") as client:
        await talk(client)
        for at in (5, 12):
            await inject(it, 1, {"corrupt": {"at": [at], "direction": "upstream"}})
        await it.its.edit(p={**it.its.manager.config.proxies["p"].dump(), "rules": [FIRST]})
        await client.send_all(b"01234567")
        got = await read_exactly(client, 8)
        assert got != b"01234567"
        assert got[:7] == b"0123456"
        (event,) = it.its.record.of(FaultInjected, fault="corrupt")
        assert event.source == "api"
        await inject(it, 1, {"corrupt": {"at": [13], "direction": "upstream"}})
        assert (await it.api.delete("/v1/connections/p%231/faults")).status_code == 204
        await talk(client)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"refuse": None}, "refuse comes before there is a connection"),
        ({"slow_connect": {"delay": "1s"}}, "slow_connect comes before there is a connection"),
        ({"pass": None}, "pass does nothing"),
        ({"rset": None}, '"rset" is not a fault here; write reset'),
        ({"foo": None}, '"foo" is not a fault here; write one of reset, broken_pipe, abort, half_close, close, hang, '),
        ({"whem": None}, '"whem" is not a fault here; write one of reset, '),
        ({"reset": {"after": 4}}, 'reset.after: "4" has no unit'),
        ({"reset": None, "when": {"first": 1}}, "when is of a rule"),
        ({"reset": None, "name": "x"}, "name is of a rule"),
        ({"when": None}, "when is of a rule"),
        ({"reset": None, "first": 1}, "first is of a rule"),
        ({"reset": None, "to": "client"}, 'to: "to" is an option of reset'),
        ({}, "has no fault; add one of reset, "),
        ([], "the body is not a mapping"),
    ],
)
async def test_what_is_no_fault_by_hand(body: object, error: str) -> None:
    """It says why, in the file's words, and nothing happens."""
    async with asking() as it, await it.its.connect("p") as client:
        await talk(client)
        answer = await inject(it, 1, body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0].startswith(error)
        assert "refuse," not in answer.text  # what may be written is a fault by hand
        await talk(client)


async def test_what_is_wrong_in_yaml_has_its_place() -> None:
    """As in a file."""
    async with asking() as it, await it.its.connect("p") as client:
        await talk(client)
        answer = await it.api.post("/v1/connections/p%231/faults", content="reset: {to: moon}", headers=YAML)
        assert answer.json()["errors"] == [
            'body:1:13: reset.to: "moon" is not one of the choices; write client, server or both'
        ]
        answer = await it.api.post("/v1/connections/p%231/faults", content="{pass: , reset: {to: moon}}", headers=YAML)
        assert answer.json()["errors"] == [
            "body:1:2: pass does nothing to a connection that is open; remove it",
            'body:1:22: reset.to: "moon" is not one of the choices; write client, server or both',
        ]
        answer = await it.api.post("/v1/connections/p%231/faults", content="rset:", headers=YAML)
        assert answer.json()["errors"] == ['body:1:1: "rset" is not a fault here; write reset']


async def test_a_proxy_that_is_gone() -> None:
    """Its open connections go on, are listed, and can be injected into, until the last is over."""
    async with asking() as it, await it.its.connect("p") as client:
        await talk(client)
        await it.its.edit()
        (one,) = (await it.get("/v1/connections"))["connections"]
        assert (one["connection"], one["state"]) == ("p#1", "open")
        assert (await inject(it, 1, {"close": None})).status_code == 200
        assert await client.receive_some(1) == b""
        await it.its.record.wait_for(ProxyStopped)
        assert (await it.get("/v1/connections", state="open"))["open"] == 0


async def test_who_is_not_there() -> None:
    """404, for a number that never was, and for what is no name of a connection."""
    async with asking() as it:
        for name in ("p%231", "q%231", "p", "p%23x"):
            assert (await it.api.get(f"/v1/connections/{name}")).status_code == 404
            assert (await it.api.post(f"/v1/connections/{name}/faults", json={"reset": None})).status_code == 404
        assert (await it.api.post("/v1/connections/p%231/faults", content=b"{")).status_code == 400
        for query in ({"limit": "x"}, {"state": "shut"}):
            assert (await it.api.get("/v1/connections", params=query)).status_code == 400
