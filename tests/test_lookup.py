"""A name is looked up in a thread of its own, which ends with the answer."""

import socket
import threading
from collections.abc import Callable

import pytest
import trio
import trio.testing

from faultproxy.lookup import look_up, lookups_over

LookUp = Callable[..., list[tuple[int, int, int, str, tuple[str, int]]]]


def threads() -> list[str]:
    """The threads that look something up."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("faultproxy looks up")]


def instead(look: LookUp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask this, and not the system's resolver."""
    monkeypatch.setattr(socket, "getaddrinfo", look)


async def test_a_name() -> None:
    """The system's own answer, with the family of each address; the thread is gone with it."""
    assert (socket.AF_INET, ("127.0.0.1", 6379)) in await look_up("localhost", 6379)
    assert not threads()


async def test_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver raises comes out, and leaves no thread either."""

    def fail(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    instead(fail, monkeypatch)
    with pytest.raises(socket.gaierror, match="unknown"):
        await look_up("db", 1)
    assert not threads()


async def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more threads, the lookup fails as one that is to be tried again later."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(socket.gaierror) as failed:
            await look_up("db", 1)
    assert failed.value.errno == socket.EAI_AGAIN
    await lookups_over()


async def test_a_lookup_that_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who asked goes on at once; the thread is waited for where none may be left."""
    asked, answer = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.set()
        answer.wait()
        return []

    instead(hang, monkeypatch)
    with trio.CancelScope() as patience:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look_up, "db", 1)
            while not asked.is_set():
                await trio.lowlevel.checkpoint()
            patience.cancel()
    assert threads() == ["faultproxy looks up db"]
    with trio.move_on_after(0.02) as wait:
        await lookups_over()
    assert wait.cancelled_caught
    answer.set()
    await lookups_over()
    assert not threads()


async def test_only_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that hangs does not cost a thread for every client that comes meanwhile."""
    answer, most = threading.Event(), []

    def hang(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        most.append(len(threads()))
        answer.wait()
        return []

    instead(hang, monkeypatch)
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(look_up, "db", 1)
        while len(most) < 40:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert len(threads()) == 40
        answer.set()
    assert len(most) == 100
    assert not threads()
