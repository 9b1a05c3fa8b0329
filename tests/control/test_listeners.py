"""An edit keeps the listeners whose addresses stay, makes the others, and leaves all as it was if one cannot be had."""

import errno
import os

import pytest

from faultproxy.control import listeners
from faultproxy.control.listeners import make_listeners
from faultproxy.failures import CannotListen
from faultproxy.kernel import sockets
from faultproxy.listener.listener import Listener
from faultproxy.listener.syn_intercept import SynSockets
from faultproxy.relay import Poller
from tests.managing import CUT, ask, at, configuration, managed
from tests.peers import PATIENCE_S, Upstream, nobody


@pytest.fixture
def port() -> int:
    with nobody() as address:
        return int(address.rpartition(":")[2])


async def test_one_address_becomes_all_of_them_and_back(server: str, port: int) -> None:
    """127.0.0.1:PORT becomes :PORT, though both cannot listen at once; open connections stay."""
    one, every = (at(server, listen=f"{host}:{port}") for host in ("127.0.0.1", ""))
    async with managed({"proxies": {"p": one}}) as its, await its.connect("p") as client:
        for _ in range(3):
            await its.edit(p=every)
            assert [await ask((host, port)) for host in ("127.0.0.1", "127.0.0.2", "::1")] == [b"hi"] * 3
            await its.edit(p=one)
            assert [await ask((host, port)) for host in ("127.0.0.1", "127.0.0.2")] == [b"hi", "ECONNREFUSED"]
        await client.send_all(b"still here")
        assert await client.receive_some() == b"still here"


async def test_port_0_keeps_its_number(server: str) -> None:
    """Whatever else an edit changes; another proxy at port 0 has another."""
    async with managed({"proxies": {"p": at(server)}}) as its:
        address = its.address("p")
        await its.edit(other=at(server), p=at(server, CUT))
        assert its.address("p") == address != its.address("other")
        assert await ask(address) == "ECONNRESET"
        await its.edit(p=at(server, listen="localhost:0"))
        assert its.address("p") != address


@pytest.mark.parametrize("second", ["taken", "unknown name", "no descriptor", "a bug"])
async def test_if_the_second_cannot_be_had_all_is_as_it_was(
    server: str, port: int, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a rule nor a listener has changed, and the one that was in the way of a new one listens again at once."""
    before = {"p": at(server, listen=f"127.0.0.1:{port}"), "q": at(server)}
    async with managed({"proxies": before}) as its:
        addresses = its.manager.addresses
        config = its.manager.config
        listen = {"taken": server, "unknown name": "nobody.invalid:1"}.get(second, "127.0.0.2:0")
        made: list[Listener] = []
        make = Listener.__init__

        def fail(self: Listener, *args: object) -> None:
            if made and second == "no descriptor":
                raise OSError(errno.EMFILE, "Too many open files")
            if made and second == "a bug":
                raise ZeroDivisionError
            make(self, *args)  # type: ignore[arg-type]
            made.append(self)

        monkeypatch.setattr(Listener, "__init__", fail)
        with pytest.raises((CannotListen, ZeroDivisionError)) as failure:
            await its.edit(p=at(server, CUT, listen=f":{port}"), q=at(server, CUT), r=at("127.0.0.1:9", listen=listen))
        if isinstance(failure.value, CannotListen):
            assert failure.value.may_pass is (second != "unknown name")
            assert str(failure.value).startswith("proxies.r.listen: cannot listen on ")
        assert len(made) == (0 if second == "unknown name" else 1)
        assert [await ask(its.address(name)) for name in before] == [b"hi", b"hi"]
        assert await ask(("127.0.0.2", port)) == "ECONNREFUSED"
        assert (its.manager.addresses, its.manager.config) == (addresses, config)
        assert not any(listener._socket.sock.fileno() >= 0 for listener in made)
        monkeypatch.undo()
        await its.edit(p=at(server, CUT, listen=f":{port}"))
        assert await ask(("127.0.0.2", port)) == "ECONNRESET"


@pytest.mark.parametrize(
    ("listen", "number", "cure"),
    [
        ("127.0.0.1:80", errno.EACCES, "take CAP_NET_BIND_SERVICE: choose a higher port, or grant it"),
        ("127.0.0.1:80", errno.EMFILE, "raise the limit of open files with ulimit -n"),
        ("10.0.0.1:80", errno.EADDRNOTAVAIL, "this host has no such address: write one that it has, or :80 for all"),
        ("unix:/run/x/p", errno.ENOENT, "there is no folder /run/x: make it"),
        ("unix:/run/x/p", errno.EEXIST, "the file there is no socket: remove it, or choose another path"),
        ("unix:/run/x/p", errno.EACCES, "it takes the permission to write in /run/x, and in a socket that is there"),
        ("unix:/run/x/p", errno.EMFILE, "raise the limit of open files with ulimit -n"),
    ],
)
async def test_what_cannot_be_had_is_reported_with_its_cure(
    listen: str, number: int, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address, the reason, and what to do about it."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sockets, "bind", refuse)
    monkeypatch.setattr(sockets, "bind_unix", refuse)
    config = configuration({"proxies": {"p": at("a:1", listen=listen)}})
    with Poller(1) as poller, pytest.raises(CannotListen) as error:
        await make_listeners(config.proxies, {}, SynSockets(poller))
    text = f"proxies.p.listen: cannot listen on {listen}: {os.strerror(number)} ({errno.errorcode[number]}); "
    assert str(error.value).startswith(text)
    assert cure in str(error.value)


async def test_who_holds_a_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its process, if that is found in time; else it is another process."""
    with Upstream() as taken, Poller(1) as poller:
        config = configuration({"proxies": {"p": at("a:1", listen=taken.address)}})
        for within_s, holder in ((PATIENCE_S, rf".+ \(pid {os.getpid()}\)"), (0.0, "another process")):
            monkeypatch.setattr(listeners, "_FIND_OWNER_WITHIN_S", within_s)
            with pytest.raises(CannotListen, match=rf"\(EADDRINUSE\); {holder} holds it: stop that, or choose another"):
                await make_listeners(config.proxies, {}, SynSockets(poller))
