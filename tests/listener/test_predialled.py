"""What upstreams that were dialled ahead count for, and what becomes of those for which no client comes."""

import socket
from collections.abc import Callable

import pytest

from faultproxy.listener import predialled
from faultproxy.listener.limits import ConnectionLimit, ProxyLimit
from faultproxy.listener.predialled import Predialled


class FakePoller:
    """Calls when it is told to."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []

    def call_at(self, _: float, callback: Callable[[], None]) -> None:
        self.timers.append(callback)


def made(poller: FakePoller) -> tuple[Predialled, ProxyLimit]:
    limit = ConnectionLimit().add(max_connections=100)
    return Predialled(poller, limit), limit  # type: ignore[arg-type]  # all that it needs of one


def test_one_that_is_dialled_is_a_connection() -> None:
    """From the dial on, until it has failed, or its client takes it; no client takes one twice."""
    dialled, limit = made(FakePoller())
    dialled.begin()
    dialled.begin()
    assert limit.connections == 2
    dialled.give_up()
    with socket.socket() as server:
        dialled.keep("client", server)
        assert limit.connections == 1
        assert dialled.take("client") is server
        assert dialled.take("client") is None
    assert limit.connections == 0


def test_those_for_which_no_client_comes_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds, each when it is due."""
    poller = FakePoller()
    dialled, limit = made(poller)
    now = 0.0
    monkeypatch.setattr(predialled, "monotonic", lambda: now)
    early, late = socket.socket(), socket.socket()
    for client, server in ((1, early), (2, late)):
        dialled.begin()
        dialled.keep(client, server)
        now += 2.0
    now = 3.5
    poller.timers.pop(0)()
    assert (early.fileno() < 0, late.fileno() < 0, limit.connections) == (True, False, 1)
    now = 5.5
    poller.timers.pop(0)()
    assert (late.fileno() < 0, limit.connections, poller.timers) == (True, 0, [])


def test_the_last_quarter_of_the_limit_is_left_to_clients() -> None:
    """None is dialled ahead then."""
    dialled, limit = made(FakePoller())
    for _ in range(74):
        limit.acquire()
    assert dialled.has_room()
    limit.acquire()
    assert not dialled.has_room()
