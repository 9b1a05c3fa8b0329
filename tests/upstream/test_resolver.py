"""A name is looked up in a thread of its own, which ends with the answer; no name keeps another from it."""

import socket
import threading
from collections.abc import Callable, Container

import pytest
import trio
import trio.testing

from faultproxy.upstream.resolver import lookups_over, resolve

LookUp = Callable[..., list[tuple[int, int, int, str, tuple[str, int]]]]


def threads() -> list[str]:
    """The threads that look something up."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("faultproxy resolves")]


def instead(look: LookUp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask this, and not the system's resolver."""
    monkeypatch.setattr(socket, "getaddrinfo", look)


class Hanging:
    """A resolver that answers once ``answer`` is set; at once, but for these names, if ``hangs`` names them."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, error: OSError | None = None, hangs: Container[str] | None = None
    ) -> None:
        self.asked: list[str] = []
        self.answer = threading.Event()
        self._error, self._hangs = error, hangs
        instead(self, monkeypatch)

    def __call__(self, host: str, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        self.asked.append(host)
        if self._hangs is None or host in self._hangs:
            assert self.answer.wait(10)
        if self._error is not None:
            raise self._error
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]


async def test_a_name() -> None:
    """The system's own answer, with the family of each address; the thread is gone with it."""
    assert (socket.AF_INET, ("127.0.0.1", 6379)) in await resolve("localhost", 6379)
    assert not threads()


async def test_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver raises comes out, and leaves no thread either."""

    def fail(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    instead(fail, monkeypatch)
    with pytest.raises(socket.gaierror, match="unknown"):
        await resolve("db", 1)
    assert not threads()


async def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more threads, the lookup fails as one that is to be tried again later."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(socket.gaierror) as failed:
            await resolve("db", 1)
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
            nursery.start_soon(resolve, "db", 1)
            while not asked.is_set():
                await trio.lowlevel.checkpoint()
            patience.cancel()
    assert threads() == ["faultproxy resolves db"]
    with trio.move_on_after(0.02) as wait:
        await lookups_over()
    assert wait.cancelled_caught
    answer.set()
    await lookups_over()
    assert not threads()


async def test_one_lookup_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose servers hang takes one thread, however many ask; the answer is everyone's, each with its port."""
    resolver = Hanging(monkeypatch)
    answers: list[object] = []

    async def ask(port: int) -> None:
        answers.extend(await resolve("db", port))

    async with trio.open_nursery() as nursery:
        for port in range(100):
            nursery.start_soon(ask, port)
        await trio.testing.wait_all_tasks_blocked()
        assert threads() == ["faultproxy resolves db"]
        resolver.answer.set()
    assert set(answers) == {(socket.AF_INET, ("127.0.0.1", port)) for port in range(100)}
    assert len(resolver.asked) == 1
    await resolve("db", 1)
    assert len(resolver.asked) == 2


async def test_an_error_is_everyones(monkeypatch: pytest.MonkeyPatch) -> None:
    """All who asked for a name that is not known get the error."""
    resolver = Hanging(monkeypatch, socket.gaierror(socket.EAI_NONAME, "unknown"))
    errors: list[OSError] = []

    async def ask() -> None:
        with pytest.raises(socket.gaierror, match="unknown") as error:
            await resolve("db", 1)
        errors.append(error.value)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        resolver.answer.set()
    assert [error.errno for error in errors] == [socket.EAI_NONAME] * 3
    assert len(set(map(id, errors))) == 3


async def test_a_name_that_hangs_keeps_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for another name is answered meanwhile, also when very many wait for the one that hangs."""
    resolver = Hanging(monkeypatch, hangs={"db"})
    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(resolve, "db", 1)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(5):
            assert await resolve("other", 7) == [(socket.AF_INET, ("127.0.0.1", 7))]
        resolver.answer.set()


async def test_only_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many names that hang so many are looked up at once, and the next when one is over; who gives up waits no more."""
    resolver = Hanging(monkeypatch)
    async with trio.open_nursery() as nursery:
        for number in range(120):
            nursery.start_soon(resolve, f"db{number}", 1)
        await trio.testing.wait_all_tasks_blocked()
        assert len(threads()) == 100
        with trio.move_on_after(0):
            await resolve("given-up", 1)
        resolver.answer.set()
    assert len(resolver.asked) == 120
    assert "given-up" not in resolver.asked
    assert not threads()


async def test_what_cannot_be_a_name() -> None:
    """A label that no name can have is no name, as the resolver says it of others."""
    with pytest.raises(socket.gaierror) as error:
        await resolve("a" * 64 + ".example", 1)
    assert error.value.errno == socket.EAI_NONAME
