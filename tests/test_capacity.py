"""As many connections as there are descriptors for, two each, and then a shortage that has a name."""

import os
import resource

import pytest

from faultproxy.capacity import Capacity, OutOfResources


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> int:
    """A process that may open a hundred descriptors beyond those that it has."""
    most = len(os.listdir("/proc/self/fd")) + 100
    monkeypatch.setattr(resource, "getrlimit", lambda _: (most, most))
    return most


@pytest.mark.usefixtures("limited")
def test_room() -> None:
    """There is room for what was asked for, or for what is left: two descriptors each, and some for the rest."""
    capacity = Capacity()
    most = capacity.room(1000)
    assert 30 < most <= 50
    assert capacity.room(1) == 1
    capacity.connections = most - 3
    assert (capacity.room(2), capacity.room(10)) == (2, 3)


@pytest.mark.usefixtures("limited")
def test_no_room() -> None:
    """When there is none it says EMFILE, until a connection is over."""
    capacity = Capacity()
    capacity.connections = capacity.room(1000)
    with pytest.raises(OutOfResources, match="EMFILE") as shortage:
        capacity.room(1)
    assert shortage.value.error == "EMFILE"
    capacity.connections -= 1
    assert capacity.room(10) == 1


@pytest.mark.usefixtures("limited")
def test_listeners_take_room() -> None:
    """What the listeners take, the connections cannot have, and get back when an edit closes some."""
    capacity = Capacity()
    alone = capacity.room(1000)
    capacity.listeners = 20
    assert capacity.room(1000) == alone - 10
    capacity.listeners = 1000
    assert capacity.room(1000) == 1
    capacity.listeners = 0
    assert capacity.room(1000) == alone


def test_the_smallest_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However low the limit, one connection is tried."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (3, 3))
    assert Capacity().room(10) == 1
