"""Clients are numbered, judged and handed on, one by one; a bug or a shortage concerns nobody else."""

import errno
import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from faultproxy.events.types import (
    AcceptPaused,
    AcceptResumed,
    ConnectionClosed,
    ConnectionCrashed,
    ConnectionOpened,
    FaultInjected,
)
from faultproxy.kernel import sockets
from faultproxy.proxy import acceptor
from faultproxy.rules.rule_set import RuleSet
from tests.managing import CUT, ask, at, managed
from tests.relay.relaying import until

PEEKS = {"name": "get", "when": {"starts_with": "GET"}, "reset": {"to": "client"}}


async def test_clients_are_numbered_as_they_come(server: str) -> None:
    """From 1, whatever becomes of them; the number is what a rule's connection means."""
    rule = {**CUT, "when": {"connection": [2, 4]}}
    async with managed({"proxies": {"p": at(server, rule)}}) as its:
        assert [await ask(its.address("p")) for _ in range(5)] == [b"hi", "ECONNRESET", b"hi", "ECONNRESET", b"hi"]
        assert [event.connection for event in its.record.of(ConnectionOpened)] == [f"p#{n}" for n in range(1, 6)]
        assert its.manager.proxies["p"].accepted == 5


async def test_open_connections_count_the_client_itself(server: str) -> None:
    """The third of those that are open at once is the third."""
    rule = {**CUT, "when": {"open_connections": {"min": 3}}}
    async with managed({"proxies": {"p": at(server, rule)}}) as its:
        async with await its.connect("p"), await its.connect("p"):
            await its.record.wait_for(ConnectionOpened, 2)
            assert await ask(its.address("p")) == "ECONNRESET"
        await its.record.wait_for(ConnectionClosed, 3)
        assert await ask(its.address("p")) == b"hi"


@pytest.mark.parametrize(("where", "what"), [(RuleSet, "decide"), (acceptor, "Connection")])
async def test_a_bug_ends_one_client(server: str, monkeypatch: pytest.MonkeyPatch, where: object, what: str) -> None:
    """It is reported, its room is given back, and the next client is served."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with managed({"proxies": {"p": at(server, CUT | {"when": {"nth": 9}})}}) as its:
        monkeypatch.setattr(where, what, fail)
        assert await ask(its.address("p")) in {b"", "ECONNRESET"}
        crashed = await its.record.wait_for(ConnectionCrashed)
        assert crashed.connection == "p#1"
        assert "ZeroDivisionError" in crashed.traceback
        monkeypatch.undo()
        assert await ask(its.address("p")) == b"hi"
        await its.record.wait_for(ConnectionClosed)
        assert its.manager.proxies["p"]._limit.connections == 0
        its.record.events.clear()


async def test_a_shortage_of_the_kernels(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """accept() that fails is reported once, by name, and tried again until it does not; who waited is served."""
    accept = sockets.accept_waiting
    tries = []

    def fail(_: socket.socket, most: int) -> Any:
        tries.append(most)
        raise OSError(errno.ENOBUFS, "No buffer space available")

    async with managed({"proxies": {"p": at(server)}}) as its:
        monkeypatch.setattr(sockets, "accept_waiting", fail)
        async with await its.connect("p") as client:
            await client.send_all(b"hi")
            assert (await its.record.wait_for(AcceptPaused)).error == "ENOBUFS"
            await trio.sleep(0.5)
            assert 3 <= len(tries) <= 7
            monkeypatch.setattr(sockets, "accept_waiting", accept)
            assert await client.receive_some() == b"hi"
        assert [event.error for event in its.record.of(AcceptResumed)] == ["ENOBUFS"]
        assert len(its.record.of(AcceptPaused)) == 1


@pytest.mark.parametrize("by", ["an edit that disables", "the end of the program"])
async def test_who_is_being_listened_to_is_reset(server: str, by: str) -> None:
    """A client whose first bytes are waited for is open already: it is reset where connections are, and counted."""
    async with managed({"proxies": {"p": at(server, PEEKS, peek_timeout="1h")}}) as its:
        client = await its.connect("p")
        await until(lambda: len(its.manager.proxies["p"]._connections) == 1)
        if by == "an edit that disables":
            await its.edit(p=at(server, PEEKS, enabled=False))
            closed = await its.record.wait_for(ConnectionClosed)
            assert (closed.connection, closed.ended_by) == ("p#1", "fault")
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()
            await client.aclose()
    if by != "an edit that disables":
        (closed,) = its.record.of(ConnectionClosed)
        assert (closed.connection, closed.ended_by) == ("p#1", "drain")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        await client.aclose()


async def test_who_is_listened_to_is_judged_by_the_rules_of_the_moment(server: str) -> None:
    """An edit while the first bytes are waited for changes what they mean."""
    async with managed({"proxies": {"p": at(server, PEEKS, peek_timeout="1h")}}) as its, await its.connect("p") as one:
        put = {**PEEKS, "name": "put", "when": {"starts_with": "PUT"}}
        await its.edit(p=at(server, put, peek_timeout="1h"))
        await one.send_all(b"GET")
        assert await one.receive_some() == b"GET"
        async with await its.connect("p") as other:
            await other.send_all(b"PUT")
            assert (await its.record.wait_for(FaultInjected)).rule == "put"


async def test_a_burst(server: str) -> None:
    """More clients at once than are accepted at once: each is served."""
    async with managed({"proxies": {"p": at(server)}}) as its, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await its.connect("p")) for _ in range(300)]
        for client in clients:
            await client.send_all(b"hi")
        for client in clients:
            assert await client.receive_some() == b"hi"
        assert len({event.connection for event in its.record.of(ConnectionOpened)}) == 300
