"""Events over the API: those that were, those that come, and those that were missed."""

import json
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from faultproxy.control.http.events import Events
from faultproxy.events.types import ConnectionClosed
from tests.control.http.asking import Asking, asking
from tests.events.samples import FAULT
from tests.managing import ask

CUT = {"name": "cut", "reset": {"after": "2B"}}


async def faults(it: Asking, count: int) -> None:
    """Have so many injected."""
    for _ in range(count):
        assert await ask(it.its.address("p"), b"four") == "ECONNRESET"


async def test_what_has_happened() -> None:
    """Each as its line in the log with an id; by event, proxy, rule and level; after an id; no more than asked for."""
    async with asking(CUT) as it:
        await faults(it, 3)
        said = await it.get("/v1/events")
        Events.model_validate(said)
        names = [event["event"] for event in said["events"]]
        assert names == ["proxy.started", "api.started", *["fault.injected"] * 3]
        ids = [event["id"] for event in said["events"]]
        assert ids == list(range(ids[0], ids[0] + 5))
        assert (said["last"], said["dropped"]) == (ids[-1], 0)
        assert list(said["events"][2])[:6] == ["id", "timestamp", "level", "event", "proxy", "connection"]
        assert [event["injected"] for event in said["events"][2:]] == [1, 2, 3]
        assert len((await it.get("/v1/events", event="fault.injected,fault.dry_run"))["events"]) == 3
        assert len((await it.get("/v1/events", rule="cut"))["events"]) == 3
        assert len((await it.get("/v1/events", proxy="q"))["events"]) == 0
        assert len((await it.get("/v1/events", level="warning"))["events"]) == 0
        since = await it.get("/v1/events", since=str(ids[1]), limit="1")
        assert ([event["id"] for event in since["events"]], since["last"]) == ([ids[2]], ids[2])
        assert [e["id"] for e in (await it.get("/v1/events", limit="2"))["events"]] == ids[3:]


@pytest.mark.parametrize("query", [{"event": "fault.injcted"}, {"level": "loud"}, {"since": "-1"}, {"limit": "x"}])
async def test_what_cannot_be_asked(query: dict[str, str]) -> None:
    """400, with what can."""
    async with asking() as it:
        answer = await it.api.get("/v1/events", params=query)
        assert (answer.status_code, bool(answer.json()["detail"])) == (400, True)


async def test_what_happens() -> None:
    """A stream begins now, or after an id; its filters apply; it goes on where the last one ended."""
    async with asking(CUT) as it:
        await faults(it, 1)
        seen: list[Any] = []
        async with it.listen(event="fault.injected") as stream:
            await faults(it, 2)
            for _ in range(2):
                frame = await stream.next()
                seen.append(json.loads(frame["data"]))
                assert (frame["event"], int(frame["id"])) == ("fault.injected", seen[-1]["id"])
        assert [event["injected"] for event in seen] == [2, 3]
        await faults(it, 1)
        async with it.listen(since=seen[0]["id"]) as stream:
            assert [json.loads((await stream.next())["data"])["injected"] for _ in range(2)] == [3, 4]


async def test_many_listen() -> None:
    """Each gets what happens while all of them wait for it."""
    async with asking(CUT) as it, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(it.listen(event="fault.injected")) for _ in range(16)]
        for nth in (1, 2):
            await trio.testing.wait_all_tasks_blocked()
            await faults(it, 1)
            assert [json.loads((await stream.next())["data"])["injected"] for stream in streams] == [nth] * 16


async def test_debug_is_kept_while_it_is_listened_to() -> None:
    """Who opens and closes is told only to those who ask for it."""
    async with asking() as it:
        await ask(it.its.address("p"))
        await it.its.record.wait_for(ConnectionClosed)
        its = (await it.get("/v1/events", level="debug"))["events"]
        assert [event["event"] for event in its] == ["proxy.started", "api.started"]
        async with it.listen(level="debug") as stream:
            await ask(it.its.address("p"))
            assert [(await stream.next())["event"] for _ in range(2)] == ["connection.opened", "connection.closed"]
        assert len((await it.get("/v1/events"))["events"]) == 2


async def test_no_gap_and_no_double() -> None:
    """A listener that comes back again and again gets each of 3,000 faults once, in their order."""
    async with asking() as it:
        total, seen, last = 3_000, list[int](), "0"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_publish, it, total)
            while len(seen) < total:
                async with it.listen(since=last, event="fault.injected") as stream:
                    for _ in range(min(400, total - len(seen))):
                        frame = await stream.next()
                        last = frame["id"]
                        seen.append(json.loads(frame["data"])["ordinal"])
        assert seen == list(range(1, total + 1))


async def _publish(it: Asking, total: int) -> None:
    """So many faults, a thousand a second."""
    for ordinal in range(1, total + 1):
        it.its.manager.bus.publish(replace(FAULT, ordinal=ordinal))
        if ordinal % 10 == 0:
            await trio.sleep(0.01)
