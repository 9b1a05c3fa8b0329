"""No call waits for a peer, whatever a connection holds; and no byte of it is lost."""

import hashlib
import socket
from functools import partial

import trio

from tests.control.http.asking import asked
from tests.managing import at
from tests.peers import PATIENCE_S, Server, connect, pattern, read_to_the_end

SIZE = 20_000_000
HELD = 4 * 2**20


async def test_a_reader_that_stalls() -> None:
    """While 4 MiB are held for it, faults come, change and go at once; then it reads all that was sent, unchanged."""
    data = pattern(SIZE)

    def send(sock: socket.socket) -> None:
        sock.sendall(data)

    slow = {"name": "slow", "latency": {"delay": "10ms"}}
    with Server(send) as server:
        async with asked({"proxies": {"p": at(server.address, slow)}}) as (its, client):
            with connect(its.address("p"), receive_buffer=4096) as reader:
                memory = its.manager._services.poller.memory
                with trio.fail_after(PATIENCE_S):
                    while memory.held < HELD - 2**17:  # noqa: ASYNC110  # no event says that
                        await trio.sleep(0.01)
                for turn in range(30):
                    url = "/v1/proxies/p/rules"
                    calls = (
                        client.put(f"{url}/slow", json={"latency": {"delay": f"{turn + 1}ms"}}),
                        client.put(f"{url}/rate", json={"bandwidth": {"rate": "1GB/s"}}),
                        client.patch("/v1/proxies/p", json={"dial_timeout": f"{turn + 1}s"}),
                        client.put(f"{url}/slice", json={"slice": {"size": "1KiB"}}),
                        client.delete(f"{url}/slow"),
                        client.delete(f"{url}/rate"),
                        client.put(f"{url}/slow", json={"latency": {"delay": "1ms"}}),
                        client.delete(f"{url}/slice"),
                    )
                    for call in calls:
                        with trio.fail_after(PATIENCE_S):  # how short it really is, scripts/bench-api measures
                            assert (await call).status_code < 300
                assert memory.held > 2**20
                got, end = await trio.to_thread.run_sync(partial(read_to_the_end, reader))
    assert (len(got), end) == (SIZE, "EOF")
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
