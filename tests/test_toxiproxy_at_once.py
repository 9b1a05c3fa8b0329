"""Many clients of Toxiproxy's API at once, while connections come and go."""

import os
from pathlib import Path
from random import Random
from typing import Any

import httpx
import trio

from faultproxy.events.types import ConnectionClosed, ConnectionOpened, FaultInjected
from tests.control.http.toxiproxy.calling import Caller, called
from tests.managing import connect
from tests.peers import Server, echo

CLIENTS, CALLS, NAMES = 24, 25, 6
TOXICS: tuple[dict[str, Any], ...] = (
    {"type": "latency", "attributes": {"latency": 5, "jitter": 5}},
    {"type": "bandwidth", "attributes": {"rate": 50}},
    {"type": "slow_close", "attributes": {"delay": 5}},
    {"type": "timeout", "attributes": {"timeout": 5}},
    {"type": "timeout", "attributes": {"timeout": 0}},
    {"type": "reset_peer", "attributes": {"timeout": 5}},
    {"type": "slicer", "attributes": {"average_size": 100, "size_variation": 50, "delay": 10}},
    {"type": "limit_data", "stream": "UPSTREAM", "attributes": {"bytes": 500}},
)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def talk(listen: str, size: int) -> None:
    """A connection that sends, and gets what it gets."""
    host, _, port = listen.rpartition(":")
    with trio.move_on_after(0.05):
        try:
            async with await connect((host, int(port))) as stream:
                await stream.send_all(bytes(size))
                await stream.receive_some()
        except (OSError, trio.BrokenResourceError):
            pass


async def work(call: Caller, upstream: str, number: int, answers: list[httpx.Response]) -> None:
    random = Random(number)
    for _ in range(CALLS):
        name = f"p{random.randrange(NAMES)}"
        path = f"/proxies/{name}"
        proxy = {"name": name, "listen": "127.0.0.1:0", "upstream": upstream}
        method, path, body = random.choice(
            [
                ("POST", "/proxies", proxy),
                ("POST", "/proxies", proxy),
                ("POST", f"{path}/toxics", {**random.choice(TOXICS), "toxicity": random.choice([0.5, 1])}),
                ("POST", f"{path}/toxics", random.choice(TOXICS)),
                ("DELETE", f"{path}/toxics/{random.choice(TOXICS)['type']}_downstream", None),
                ("PATCH", path, {"enabled": random.random() < 0.7}),
                ("PATCH", path, {"listen": "127.0.0.1:0"}),
                ("POST", "/populate", [proxy]),
                ("POST", "/reset", None),
                ("DELETE", path, None),
                ("GET", "/proxies", None),
            ]
        )
        answers.append(await call(method, path, body))
        shown = await call("GET", f"/proxies/{name}")
        answers.append(shown)
        if shown.status_code == 200 and shown.json()["enabled"]:
            await talk(shown.json()["listen"], random.choice([10, 1000, 50_000]))


async def test_many_clients_at_once(tmp_path: Path) -> None:
    """No answer says that the server failed, nothing crashes, every connection ends, and no descriptor stays."""
    answers: list[httpx.Response] = []
    async with called(tmp_path):
        pass  # what is opened once is open
    before = descriptors()
    with Server(echo) as server:
        async with called(tmp_path) as call:
            async with trio.open_nursery() as clients:
                for number in range(CLIENTS):
                    clients.start_soon(work, call, server.address, number, answers)
            assert {answer.status_code for answer in answers} <= {200, 201, 204, 404, 409}
            assert len(answers) == 2 * CLIENTS * CALLS
            for name in (await call("GET", "/proxies")).json():
                assert (await call("DELETE", f"/proxies/{name}")).status_code == 204
            record = call.its.record
            await record.wait_for(ConnectionClosed, nth=len(record.of(ConnectionOpened)))
            assert record.of(FaultInjected)
    assert descriptors() == before
