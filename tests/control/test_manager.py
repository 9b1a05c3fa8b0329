"""apply() is the only way to change what runs: whole or not at all, one edit after the other, and nobody is lost."""

import socket
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import trio

from faultproxy.config.schema import LogOptions
from faultproxy.control import manager as manager_module
from faultproxy.control.changes import Difference
from faultproxy.control.edits import rebase
from faultproxy.control.layers import Layers
from faultproxy.control.manager import CommandLine, Draining, memory_limit
from faultproxy.events.types import ConfigLoaded, ConnectionOpened, FaultInjected, ProxyStarted, ProxyStopped
from faultproxy.kernel import memory
from faultproxy.rules.rule_set import RuleSet
from tests.managing import CUT, ask, at, configuration, managed
from tests.peers import Server, connect, nobody, read_exactly

NOBODY = {"name": "nobody", "when": {"connection": 10**9}, "reset": None}


def says(word: bytes) -> Callable[[socket.socket], None]:
    def say(sock: socket.socket) -> None:
        sock.sendall(word)
        sock.recv(1)

    return say


async def test_edits_wait_for_one_another(server: str) -> None:
    """However a whole new file and a change to what runs meet, they end as if one had come after the other."""
    start = configuration({"proxies": {"p": at(server), "old": at(server)}})
    # A listener at a name is resolved in a thread, so that the other edit has its chance in the middle of this one.
    file = configuration({"proxies": {"p": at(server, NOBODY), "file": at(server, listen="localhost:0")}})
    addition = configuration({"proxies": {"python": at(server, CUT, listen="localhost:0")}}).proxies

    from_file = rebase(file)

    def from_python(layers: Layers) -> Layers:
        return layers.with_proxies({**layers.config.proxies, **addition})

    seen = set()
    async with managed({"proxies": {"p": at(server)}}) as its:
        for number in range(60):
            random = Random(number)
            await its.manager.apply(lambda _: Layers.of(start), "python")
            before = len(its.record.events)

            async def apply(source: Any, edit: Any, turns: int) -> None:
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                await its.manager.apply(edit, source)

            async with trio.open_nursery() as nursery:
                for source, edit in (("file", from_file), ("api", from_python)):
                    nursery.start_soon(apply, source, edit, random.randrange(12))
            loaded = [event for event in its.record.events[before:] if isinstance(event, ConfigLoaded)]
            order = tuple(event.source for event in loaded)
            seen.add(order)
            expected = from_python(Layers.of(file))  # in either order
            assert its.manager.layers == expected
            assert its.manager.proxies.keys() == expected.config.proxies.keys()
            assert its.manager.matched("p") == ({"nobody": 0})
            assert [await ask(its.address(name)) for name in ("p", "file")] == [b"hi"] * 2
            assert await ask(its.address("python")) == "ECONNRESET"
    assert seen == {("file", "api"), ("api", "file")}


async def test_a_proxy_that_comes_back_goes_on_numbering(server: str) -> None:
    """No connection of a run has the number of another, whatever became of its proxy; its faults are counted on."""
    async with managed({"proxies": {"p": at(server, CUT), "q": at(server)}}) as its:
        async with await its.connect("q") as stays:
            for _ in range(3):
                await its.edit(p=at(server, CUT), q=at(server))
                assert await ask(its.address("p")) == "ECONNRESET"
                await its.edit(q=at(server))
                await its.edit(p=at(server, CUT), q=at(server))
                assert await ask(its.address("p")) == "ECONNRESET"
            await stays.send_all(b"hi")
            assert await stays.receive_some() == b"hi"
        opened = [event.connection for event in its.record.of(ConnectionOpened, proxy="p")]
        assert opened == [f"p#{number}" for number in range(1, 7)]
        assert its.stats.injected("p") == {"cut": 6}


async def test_a_moving_proxy_gets_another_port(server: str) -> None:
    """If it listens at port 0; the old port is free, the edit is logged and has a number of its own."""
    async with managed({"proxies": {"p": at(server), "q": at(server)}}) as its:
        p, q, revision = its.address("p"), its.address("q"), its.manager.revision
        loaded = await its.manager.apply(lambda layers: layers, "api", moving=["p", "nobody"])
        assert its.address("p") != p
        assert its.address("q") == q
        assert loaded.changes == (f"proxy p: now at {its.manager.addresses['p']}",)
        assert its.manager.revision == revision + 1
        assert await ask(its.address("p")) == b"hi"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(p)


async def test_two_proxies_swap_their_listeners_while_clients_wait() -> None:
    """Whoever waits in a queue belongs to the proxy to whose address it came, and to it alone; so do those who follow."""
    with nobody() as x, nobody() as y:
        pass
    with Server(says(b"a")) as first, Server(says(b"b")) as second:

        def edition(of_a: str, of_b: str) -> dict[str, Any]:
            return {"proxies": {"a": at(first.address, listen=of_a), "b": at(second.address, listen=of_b)}}

        async with managed(edition(x, y)) as its:
            places = [("127.0.0.1", int(address.rpartition(":")[2])) for address in (x, y)]
            waiting: list[socket.socket] = []
            expected = []
            for turn in range(10):
                owners = "ab" if turn % 2 == 0 else "ba"

                def edit(_: Layers, turn: int = turn) -> Layers:
                    # From here to the swap there is no checkpoint: who connects now waits in the queue.
                    waiting.extend(connect(place) for place in places * 3)
                    return Layers.of(configuration(edition(*((y, x) if turn % 2 == 0 else (x, y)))))

                await its.manager.apply(edit, "python")
                expected += list(owners * 3)
            said = [await trio.to_thread.run_sync(read_exactly, client, 1) for client in waiting]
            assert [word.decode() for word in said] == expected
            opened = [event.connection for event in its.record.of(ConnectionOpened)]
            assert len(opened) == len(set(opened)) == len(waiting)
            for client in waiting:
                client.close()


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (Difference, "between"),
        (RuleSet, "edited"),
        (manager_module, "RunningProxy"),
        (manager_module, "proxy_settings"),
        (manager_module, "make_listeners"),
    ],
)
async def test_a_bug_in_an_edit_ends_nothing(
    server: str, monkeypatch: pytest.MonkeyPatch, where: object, what: str
) -> None:
    """It is the caller's to tell; clients are served as before, and the next edit takes effect."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with managed({"proxies": {"p": at(server), "q": at(server)}}) as its:
        for _ in range(2):
            monkeypatch.setattr(where, what, fail)
            with pytest.raises(ZeroDivisionError):
                await its.edit(p=at(server, CUT), q=at(server, NOBODY), new=at(server))
            monkeypatch.undo()
            assert not its.record.of(ConfigLoaded)
            assert await ask(its.address("q")) == b"hi"
            assert await ask(its.address("p")) in {b"hi", "ECONNRESET"}
        await its.edit(p=at(server, CUT), q=at(server))
        assert [await ask(its.address(name)) for name in "pq"] == ["ECONNRESET", b"hi"]


async def test_a_bug_while_listeners_change_hands(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each proxy goes on at its own."""
    with nobody() as x, nobody() as y:
        pass
    async with managed({"proxies": {"p": at(server, listen=x), "q": at(server, listen=y)}}) as its:
        with monkeypatch.context() as patch:
            patch.delattr(RuleSet, "edited")
            with pytest.raises(AttributeError):
                await its.edit(p=at(server, listen=y), q=at(server, listen=x))
        assert [await ask(its.address(name)) for name in "pq"] == [b"hi", b"hi"]
        await its.edit(p=at(server, CUT, listen=y), q=at(server, listen=x))
        assert [await ask(its.address(name)) for name in "pq"] == ["ECONNRESET", b"hi"]


async def test_an_edit_that_the_end_overtakes_opens_nothing(server: str) -> None:
    """Its new listeners are closed again, and it is reported why; so is an edit that comes later."""
    async with managed({"proxies": {"p": at(server)}}) as its:
        with nobody() as free:
            listen = f"localhost:{free.rpartition(':')[2]}"

        async def edit() -> None:
            with pytest.raises(Draining):
                await its.edit(p=at(server, CUT), q=at(server, listen=listen))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(edit)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            its.manager.drain()
        await edit()
        assert await ask(("127.0.0.1", int(free.rpartition(":")[2]))) == "ECONNREFUSED"
        assert not its.record.of(ProxyStarted, proxy="q")
        assert not its.record.of(ConfigLoaded)
        assert len(its.record.of(ProxyStopped, proxy="p")) == 1


async def test_what_is_logged_of_an_edit(server: str) -> None:
    """Who asked, what has changed, and the whole mapping of each proxy that has; a new port that the kernel chose."""
    async with managed({"proxies": {"p": at(server, listen="localhost:0"), "q": at(server)}}) as its:
        await its.manager.apply(
            rebase(configuration({"proxies": {"p": at(server, CUT), "q": at(server)}})), "file", "f.yaml"
        )
        (loaded,) = its.record.of(ConfigLoaded)
        assert (loaded.source, loaded.file, list(loaded.config)) == ("file", "f.yaml", ["p"])
        host, port = its.address("p")
        assert loaded.changes == ("proxy p: listen, rules changed", f"proxy p: now at {host}:{port}")
        assert await ask((host, port)) == "ECONNRESET"
        await its.record.wait_for(FaultInjected, connection="p#1")


async def test_the_limit_on_memory_follows_the_file(server: str) -> None:
    """A share of what there is, unless the file says how much; an edit changes it."""
    share = memory.available() // 4
    assert memory_limit(configuration({"proxies": {"p": at(server)}})) == share
    async with managed({"memory": "1MiB", "proxies": {"p": at(server)}}) as its:
        its_memory = its.manager._services.poller.memory
        assert its_memory.limit == 2**20
        await its.apply({"memory": "3MiB", "proxies": {"p": at(server)}})
        assert its_memory.limit == 3 * 2**20
        await its.edit(p=at(server))
        assert its_memory.limit == share


def test_the_command_line_stands_above_the_file() -> None:
    """For the seed, and for each option of the log by itself."""
    file = configuration({"seed": 7, "proxies": {"p": at("127.0.0.1:9")}})
    no_seed = file.model_copy(update={"seed": None})
    assert [CommandLine().seed_of(config, drawn=1) for config in (file, no_seed)] == [7, 1]
    assert [CommandLine(seed=0).seed_of(config, drawn=1) for config in (file, no_seed)] == [0, 0]
    options = LogOptions(format="console", level="error")
    assert CommandLine().log(options) == options
    assert CommandLine(log_level="debug").log(options) == LogOptions(format="console", level="debug")
