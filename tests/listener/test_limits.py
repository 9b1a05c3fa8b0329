"""As many connections as there are descriptors for, two each, shared by the proxies; then a shortage that has a name."""

import os
import resource

import pytest

from faultproxy.listener.limits import ConnectionLimit, OutOfResources, ProxyLimit


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> int:
    """A process that may open a hundred descriptors beyond those that it has."""
    most = len(os.listdir("/proc/self/fd")) + 100
    monkeypatch.setattr(resource, "getrlimit", lambda _: (most, most))
    return most


def fill(proxy: ProxyLimit) -> int:
    """Take all the room that a proxy has; how much that was."""
    count = proxy.room(1000)
    for _ in range(count):
        proxy.acquire()
    return count


@pytest.mark.usefixtures("limited")
def test_a_single_proxy_has_all_the_room() -> None:
    """There is room for what was asked for, or for what is left: two descriptors each, and some for the rest."""
    proxy = ConnectionLimit().add()
    most = proxy.room(1000)
    assert 30 < most <= 50
    assert proxy.room(1) == 1
    for _ in range(most - 3):
        proxy.acquire()
    assert (proxy.room(2), proxy.room(10)) == (2, 3)


@pytest.mark.usefixtures("limited")
def test_no_room() -> None:
    """When there is none it says EMFILE, until a connection is over."""
    proxy = ConnectionLimit().add()
    fill(proxy)
    with pytest.raises(OutOfResources, match="EMFILE") as shortage:
        proxy.room(1)
    assert shortage.value.error == "EMFILE"
    proxy.release()
    assert proxy.room(10) == 1


@pytest.mark.usefixtures("limited")
def test_a_proxy_that_takes_all_it_can_leaves_the_others_room() -> None:
    """As a proxy that dials itself does: each other keeps its part of one half, whoever has the other half."""
    process = ConnectionLimit()
    greedy, modest, late = process.add(), process.add(), process.add()
    total = 3 * process.guaranteed + process.shared
    assert fill(greedy) == total - 2 * process.guaranteed
    assert process.guaranteed == total // 6
    assert fill(modest) == fill(late) == process.guaranteed
    for proxy in (greedy, modest, late):
        with pytest.raises(OutOfResources, match="EMFILE"):
            proxy.room(1)
    greedy.release()
    assert modest.room(10) == 1
    modest.release()
    assert modest.room(10) == 2


@pytest.mark.usefixtures("limited")
def test_a_removed_proxy_is_guaranteed_nothing() -> None:
    """Its connections go on being counted until they are over; the others share what it leaves."""
    process = ConnectionLimit()
    stays, leaves = process.add(), process.add()
    total = stays.room(1000) + process.guaranteed
    for _ in range(5):
        leaves.acquire()
    process.remove(leaves)
    assert stays.room(1000) == total - 5
    for _ in range(5):
        leaves.release()
    assert stays.room(1000) == total


@pytest.mark.usefixtures("limited")
def test_what_is_taken_already_cannot_be_guaranteed() -> None:
    """A proxy that comes late has its part once connections of the first, which had all, are over."""
    process = ConnectionLimit()
    first = process.add()
    total = fill(first)
    late = process.add()
    with pytest.raises(OutOfResources, match="EMFILE"):
        late.room(1)
    for _ in range(total // 2):
        first.release()
    assert late.room(1000) == total // 2
    first.acquire()
    assert late.room(1000) == total // 2 - 1


@pytest.mark.usefixtures("limited")
def test_max_connections() -> None:
    """The most that a proxy may have is reached before the descriptors are; the shortage says which it was."""
    proxy = ConnectionLimit().add(max_connections=3)
    assert fill(proxy) == 3
    with pytest.raises(OutOfResources, match="max_connections"):
        proxy.room(1)
    proxy.max_connections = None
    assert proxy.room(1000) > 30


@pytest.mark.usefixtures("limited")
def test_it_is_tight_when_less_than_a_quarter_is_left() -> None:
    """So that upstreams that no client may come for do not take the last room."""
    proxy = ConnectionLimit().add(max_connections=20)
    for _ in range(14):
        proxy.acquire()
    assert not proxy.is_tight()
    proxy.acquire()
    assert proxy.is_tight()
    fill(proxy)
    assert proxy.is_tight()


@pytest.mark.usefixtures("limited")
def test_listeners_take_room() -> None:
    """What the listeners take, the connections cannot have, and get back when an edit closes some."""
    process = ConnectionLimit()
    proxy = process.add()
    alone = proxy.room(1000)
    process.set_listeners(20)
    assert proxy.room(1000) == alone - 10
    process.set_listeners(1000)
    assert proxy.room(1000) == 1
    process.set_listeners(0)
    assert proxy.room(1000) == alone


def test_the_smallest_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However low the limit, one connection is tried."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (3, 3))
    assert ConnectionLimit().add().room(10) == 1
