"""The file is followed: what it says takes effect once it has come to rest, or a second later, and nothing ends that."""

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest
import trio
import yaml

from faultproxy.config import loader
from faultproxy.config.schema import Config
from faultproxy.control import file as file_module
from faultproxy.control.changes import Difference
from faultproxy.events.types import ConfigLoaded, ConfigRejected
from tests.managing import CUT, Managed, ask, at, managed
from tests.peers import nobody


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "faultproxy.yaml"


def write(file: Path, **proxies: Any) -> None:
    file.write_text(yaml.safe_dump({"seed": 0, "drain": "0s", "proxies": proxies}))


@asynccontextmanager
async def watched(file: Path, **proxies: Any) -> AsyncIterator[Managed]:
    """A manager that follows the file."""
    write(file, **proxies)
    async with managed({"proxies": proxies}, file=file) as its:
        yield its


async def test_a_file_that_never_rests_is_loaded_as_it_is(server: str, file: Path) -> None:
    """One that changes at every look takes effect within a second or so, again and again."""
    async with watched(file, p=at(server)) as its, trio.open_nursery() as nursery:

        async def keep_writing() -> None:
            number = 0
            while True:
                number += 1
                rule = {"name": f"{number:06}", "reset": {"to": "client"}}
                other = file.with_suffix(".new")
                write(other, p=at(server, rule))
                other.replace(file)
                await trio.sleep(0.05)

        nursery.start_soon(keep_writing)
        began = trio.current_time()
        for nth in (1, 2):
            await its.record.wait_for(ConfigLoaded, nth)
            assert nth * 0.9 < trio.current_time() - began < nth * 10
        assert await ask(its.address("p")) == "ECONNRESET"
        nursery.cancel_scope.cancel()


async def test_an_edit_that_waits_for_a_port_takes_effect_when_it_is_free(server: str, file: Path) -> None:
    """It is tried each second, and reported once; what ran runs meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        async with watched(file, p=at(server)) as its:
            write(file, p=at(server), q=at(server, CUT, listen=taken))
            rejected = await its.record.wait_for(ConfigRejected)
            assert "EADDRINUSE" in rejected.errors[0]
            await trio.sleep(2.5)
            assert len(its.record.of(ConfigRejected)) == 1
            assert await ask(its.address("p")) == b"hi"
            began = trio.current_time()
            holder.close()
            loaded = await its.record.wait_for(ConfigLoaded)
            assert trio.current_time() - began < 10
            assert loaded.changes == ("proxy q added",)
            assert await ask(its.address("q")) == "ECONNRESET"


async def test_an_edit_that_waits_gives_way_to_the_next(server: str, file: Path) -> None:
    """A file that has changed is no longer tried as it was."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        async with watched(file, p=at(server)) as its:
            write(file, q=at(server, listen=taken))
            await its.record.wait_for(ConfigRejected)
            write(file, p=at(server, CUT))
            await its.record.wait_for(ConfigLoaded)
            holder.close()
            await trio.sleep(1.5)
            assert len(its.record.of(ConfigLoaded)) == len(its.record.of(ConfigRejected)) == 1
            assert list(its.manager.proxies) == ["p"]


async def test_no_descriptor_to_read_it(server: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be opened for want of descriptors is tried again each second, though it does not change."""
    async with watched(file, p=at(server)) as its:
        await trio.sleep(0.6)  # it has been read after the start

        def fail(_: Path) -> bytes:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(loader, "_read", fail)
        write(file, p=at(server, CUT))
        rejected = await its.record.wait_for(ConfigRejected)
        assert "Too many open files" in rejected.errors[0]
        await trio.sleep(1.5)
        assert len(its.record.of(ConfigRejected)) == 1
        monkeypatch.undo()
        await its.record.wait_for(ConfigLoaded)
        assert await ask(its.address("p")) == "ECONNRESET"


async def test_an_error_in_the_file_is_not_tried_again(
    server: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what may pass is: a file that is wrong stays wrong."""
    loads = []

    def count(path: Path, *, has_api: bool) -> Config:
        loads.append(path)
        return loader.load(path, has_api=has_api)

    monkeypatch.setattr(file_module, "load", count)
    async with watched(file, p=at(server)) as its:
        write(file, p={})
        await its.record.wait_for(ConfigRejected)
        before = len(loads)
        await trio.sleep(1.5)
        assert len(loads) == before
        assert len(its.record.of(ConfigRejected)) == 1


async def test_it_is_followed_without_threads(server: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started any more, it is looked at and read all the same."""

    async def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async with watched(file, p=at(server)) as its:
        monkeypatch.setattr(trio.to_thread, "run_sync", fail)
        write(file, p=at(server, CUT))
        await its.record.wait_for(ConfigLoaded)
        monkeypatch.undo()
        assert await ask(its.address("p")) == "ECONNRESET"


async def test_a_hangup_has_it_looked_at(server: str, file: Path) -> None:
    """At once, and reported though nothing has changed."""
    async with watched(file, p=at(server)) as its:
        its.signal.send_nowait(SIGHUP)
        loaded = await its.record.wait_for(ConfigLoaded)
        assert (loaded.source, loaded.file, loaded.changes) == ("file", str(file), ())


async def test_what_runs_already_is_not_reported(server: str, file: Path) -> None:
    """Right after the start the file is read once more, as it may have changed meanwhile: in silence if it has not."""
    async with watched(file, p=at(server)) as its:
        await trio.sleep(1)
        assert not its.record.of(ConfigLoaded)
        assert not its.record.of(ConfigRejected)


@pytest.mark.parametrize(("where", "what"), [(Difference, "between"), (file_module, "load")])
async def test_a_bug_is_logged_and_ends_nothing(
    server: str, file: Path, monkeypatch: pytest.MonkeyPatch, where: object, what: str
) -> None:
    """With its traceback; the next edit takes effect."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    async with watched(file, p=at(server)) as its:
        await trio.sleep(0.6)
        monkeypatch.setattr(where, what, fail)
        write(file, p=at(server, CUT))
        rejected = await its.record.wait_for(ConfigRejected)
        assert rejected.errors[0].startswith("a bug in faultproxy, please report it: Traceback")
        assert "ZeroDivisionError: oh" in rejected.errors[0]
        monkeypatch.undo()
        assert await ask(its.address("p")) == b"hi"
        write(file, p=at(server, {**CUT, "name": "other"}))
        await its.record.wait_for(ConfigLoaded)
        assert await ask(its.address("p")) == "ECONNRESET"


def remove(file: Path) -> None:
    file.unlink()


def replace(file: Path, **proxies: Any) -> None:
    other = file.with_suffix(".new")
    write(other, **proxies)
    other.replace(file)


@pytest.mark.parametrize("save", [write, replace])
async def test_however_it_is_saved(server: str, file: Path, save: Callable[..., None]) -> None:
    """Written in place or put in the place of the old one, it takes effect within a second; a file that is gone none."""
    async with watched(file, p=at(server)) as its:
        began = trio.current_time()
        save(file, p=at(server, CUT))
        await its.record.wait_for(ConfigLoaded)
        assert trio.current_time() - began < 10
        remove(file)
        rejected = await its.record.wait_for(ConfigRejected)
        assert "does not exist" in rejected.errors[0]
        assert await ask(its.address("p")) == "ECONNRESET"
        save(file, p=at(server))
        await its.record.wait_for(ConfigLoaded, 2)
        assert await ask(its.address("p")) == b"hi"


async def test_a_port_that_is_taken_at_the_start() -> None:
    """Nothing is followed: the start fails."""
    with nobody() as taken, pytest.RaisesGroup(pytest.RaisesExc(Exception, match="cannot listen")):
        async with managed({"proxies": {"p": at("127.0.0.1:9", listen=taken)}}):
            pass
