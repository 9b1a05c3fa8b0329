"""A proxy in a thread of a test: real sockets, the whole program behind them, and nothing left when it is over."""

import asyncio
import socket
import threading
import unittest
from typing import Any

import pytest
import trio

import faultproxy
from tests.peers import PATIENCE_S, Server, connect, echo, nobody, read_exactly, read_to_the_end
from tests.testing.clients import REFUSE, RESET, ask, assert_nothing_left, left_behind


def test_the_example_of_the_issue(server: str) -> None:
    """It listens when the block begins; what was injected is there as soon as the client has seen it."""
    rules = [{"name": "cold", "when": {"first": 2}, "refuse": None}]
    with faultproxy.Proxy(upstream=server, rules=rules) as proxy:
        assert {ask(proxy), ask(proxy)} <= {"ConnectionRefusedError", "ConnectionResetError"}
        assert ask(proxy) == b"hi"
        assert [(fault.fault, fault.rule, fault.ordinal) for fault in proxy.faults] == [
            ("refuse", "cold", 1),
            ("refuse", "cold", 2),
        ]
        assert proxy.times("cold") == 2


def test_nothing_is_left_behind(server: str) -> None:
    """When the block ends, threads and descriptors are as before, though clients are still connected: they are reset."""
    before = left_behind()
    with faultproxy.Proxy(server) as proxy:
        client = connect((proxy.host, proxy.port))
        client.sendall(b"hi")
        assert read_exactly(client, 2) == b"hi"
    with client:
        assert read_to_the_end(client) == (b"", "ECONNRESET")
    assert_nothing_left(before)


def test_nothing_is_left_behind_by_a_lookup(server: str) -> None:
    """No thread either that has looked up the upstream's name."""
    before = left_behind()
    with faultproxy.Proxy(server.replace("127.0.0.1", "localhost")) as proxy:
        assert ask(proxy) == b"hi"
    assert_nothing_left(before)


def test_nothing_is_left_behind_by_a_lookup_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the block waits for a lookup that its connection has given up."""
    before = left_behind()
    asked, answer, look_up = threading.Event(), threading.Event(), socket.getaddrinfo

    def hang(host: str, *rest: Any, **named: Any) -> list[Any]:
        if host != "db":
            return look_up(host, *rest, **named)
        asked.set()
        answer.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with faultproxy.Proxy("db:5432") as proxy, connect((proxy.host, proxy.port)):
        assert asked.wait(PATIENCE_S)
        later = threading.Timer(0.05, answer.set)
        later.start()
    assert answer.is_set()
    later.join()
    assert_nothing_left(before)


def test_nothing_is_left_behind_by_an_error(server: str) -> None:
    """A block that raises, and a start that fails, leave nothing either."""
    before = left_behind()
    with pytest.raises(KeyError), faultproxy.Proxy(server):
        raise KeyError
    with nobody() as taken, pytest.raises(faultproxy.CannotListen), faultproxy.Proxy(server, listen=taken):
        pass
    assert_nothing_left(before)


def test_several_at_once(server: str) -> None:
    """Proxies in one process know nothing of each other, and may stand one behind the other."""
    with faultproxy.Proxy(server, [RESET], name="first") as first, faultproxy.Proxy(server, name="second") as second:
        with faultproxy.Proxy(second.address, name="third") as third:
            assert ask(third) == b"hi"
        assert ask(first) == "ConnectionResetError"
        assert (len(first.faults), len(second.faults), len(third.faults)) == (1, 0, 0)
        assert [connection.connection for connection in second.wait_closed()] == ["second#1"]


def test_thirty_two_at_once(server: str) -> None:
    """Starting and stopping from many threads at once goes well."""
    answers: list[str | bytes] = []

    def use() -> None:
        with faultproxy.Proxy(server) as proxy:
            answers.append(ask(proxy))

    threads = [threading.Thread(target=use) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"hi"] * 32


def test_a_proxy_is_started_once(server: str) -> None:
    """A second start is an error, a second stop is not; before the start there is no port."""
    proxy = faultproxy.Proxy(server)
    with pytest.raises(RuntimeError, match="with statement"):
        _ = proxy.port
    with pytest.raises(RuntimeError, match="not running"):
        proxy.update(rules=[])
    with pytest.raises(RuntimeError, match="not running"):
        proxy.wait_for("reset")
    proxy.stop()
    proxy.start()
    proxy.stop()
    proxy.stop()
    with pytest.raises(RuntimeError, match="started once"):
        proxy.start()


def test_an_update_is_in_force_when_it_returns(server: str) -> None:
    """Also where the listener must be closed or opened for it; the port stays."""
    with faultproxy.Proxy(server) as proxy:
        port = proxy.port
        for _ in range(10):
            proxy.update(rules=[REFUSE])
            assert ask(proxy) == "ConnectionRefusedError"
            proxy.update(rules=[RESET])
            assert ask(proxy) == "ConnectionResetError"
            proxy.update(enabled=False)
            assert ask(proxy) == "ConnectionRefusedError"
            proxy.update(rules=[], enabled=True)
            assert ask(proxy) == b"hi"
        assert proxy.port == port


def test_a_connection_of_a_proxy_that_is_disabled(server: str) -> None:
    """It is reset by no rule, and that can be waited for."""
    with faultproxy.Proxy(server) as proxy, connect((proxy.host, proxy.port)) as client:
        client.sendall(b"hi")
        assert client.recv(2) == b"hi"
        proxy.update(enabled=False)
        fault = proxy.wait_for("disabled")
        assert (fault.rule, fault.client_sees, fault.injected) == (None, "ECONNRESET", None)
        assert "disabled, edit, client sees ECONNRESET" in proxy.summary()
        assert read_to_the_end(client) == (b"", "ECONNRESET")


def test_waiting_for_a_fault_to_come(server: str) -> None:
    """It returns when the fault was injected, not before."""
    rules = [{"name": "later", "reset": {"after": "30ms"}}]
    with faultproxy.Proxy(server, rules) as proxy, connect((proxy.host, proxy.port)) as client:
        fault = proxy.wait_for("reset", timeout=PATIENCE_S)
        assert (fault.rule, fault.trigger, fault.client_sees) == ("later", "30ms", "ECONNRESET")
        assert fault.elapsed_ms >= 30
        assert read_to_the_end(client) == (b"", "ECONNRESET")


def test_waiting_for_what_has_been(server: str) -> None:
    """A fault that was injected already is found at once: the last of as many as are asked for."""
    with faultproxy.Proxy(server, [RESET]) as proxy:
        for _ in range(3):
            ask(proxy)
        assert proxy.wait_for("reset", timeout=0).connection == "proxy#1"
        assert proxy.wait_for(rule="cut", count=3, timeout=0).connection == "proxy#3"


def test_waiting_for_an_outage(server: str) -> None:
    """A listener that is closed is a fault too: a refuse of no connection, for every client."""
    with faultproxy.Proxy(server, [REFUSE]) as proxy:
        fault = proxy.wait_for("refuse", timeout=PATIENCE_S)
        assert (fault.connection, fault.rule, fault.ordinal, fault.client_sees) == (None, "down", 1, "ECONNREFUSED")


class InUnittest(unittest.TestCase):
    """unittest's own test cases."""

    def test_it(self) -> None:
        """enterContext starts it, and the clean-up stops it."""
        with Server(echo) as server:
            proxy = faultproxy.Proxy(server.address, [RESET])
            proxy.start()
            self.addCleanup(proxy.stop)
            assert ask(proxy) == "ConnectionResetError"
            self.enterContext(faultproxy.Proxy(server.address))


def test_in_asyncio(server: str) -> None:
    """The proxy has a loop of its own, and asyncio's is free."""

    async def main() -> None:
        with faultproxy.Proxy(server, [{"name": "cut", "reset": {"after": "1B"}}]) as proxy:
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            writer.write(b"hi")
            assert await reader.read(1) == b"h"
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            writer.close()
            await asyncio.to_thread(proxy.wait_for, "reset")
            proxy.update(rules=[])
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            writer.write(b"hi")
            assert await reader.readexactly(2) == b"hi"
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


async def test_in_trio(server: str) -> None:
    """The proxy of the thread may be used, and updated, from a trio program."""
    with faultproxy.Proxy(server, [RESET]) as proxy:
        assert await trio.to_thread.run_sync(ask, proxy) == "ConnectionResetError"
        proxy.update(rules=[])
        assert await trio.to_thread.run_sync(ask, proxy) == b"hi"
