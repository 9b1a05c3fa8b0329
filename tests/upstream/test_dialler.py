"""What a proxy's clients dial with: it counts how long dials take, and does not go round in a circle."""

import errno
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trio

from faultproxy.upstream.circles import Circles
from faultproxy.upstream.dial import Target
from faultproxy.upstream.dialler import Dial, Dialler
from faultproxy.upstream.durations import Durations
from tests.peers import SilentUpstream, Upstream, nobody
from tests.relay.relaying import polling


@pytest.fixture
async def dialler() -> AsyncIterator[Dialler]:
    with Upstream() as upstream:
        async with polling() as poller:
            yield Dialler("p", Target.tcp("127.0.0.1", upstream.port), 5.0, poller, Circles(), Durations())


def count(dialler: Dialler) -> int:
    assert dialler.dials is not None
    return sum(dialler.dials.counts)


def connected(dialler: Dialler, *through: str) -> socket.socket:
    """The server of a dial that is over at once."""
    server = dialler.begin(through)
    assert isinstance(server, socket.socket)
    return server


async def test_what_is_over_at_once(dialler: Dialler) -> None:
    """The server is there as the dial begins; it is counted once."""
    server = connected(dialler)
    assert server.getpeername() == ("127.0.0.1", dialler.target.port)
    assert count(dialler) == 1
    server.close()
    await trio.lowlevel.checkpoint()


async def test_what_takes_time(dialler: Dialler) -> None:
    """It is counted once the server is reached; one that is given up is closed, and not counted."""
    with SilentUpstream() as upstream:
        silent = replace(dialler, target=Target.tcp("127.0.0.1", int(upstream.address.rpartition(":")[2])))
        dial, unwanted = silent.begin(()), silent.begin(())
        assert isinstance(dial, Dial)
        assert isinstance(unwanted, Dial)
        unwanted.give_up()
        assert unwanted.sock is not None
        assert unwanted.sock.fileno() == -1
        assert count(dialler) == 0
        upstream.speak()
        (await dial.finish()).close()
        assert count(dialler) == 1


async def test_what_fails(dialler: Dialler) -> None:
    """The error is raised by whoever finishes the dial, and nothing is counted."""
    with nobody() as address:
        dial = replace(dialler, target=Target.tcp("127.0.0.1", int(address.rpartition(":")[2]))).begin(())
        assert isinstance(dial, Dial)
        with pytest.raises(ConnectionRefusedError):
            await dial.finish()
    assert count(dialler) == 0


async def test_a_circle(dialler: Dialler) -> None:
    """A client that has come through this proxy before is not dialled for; where the dial leads back, it is known."""
    with pytest.raises(OSError, match="it dials itself: p -> q -> p") as circle:
        dialler.begin(("p", "q"))
    assert circle.value.errno == errno.ELOOP
    dialler.circles.ports = frozenset({dialler.target.port})
    server = connected(dialler, "q")
    assert dialler.circles.through(*server.getsockname()) == ("q", "p")
    server.close()


async def test_where_each_client_wanted_to_go(dialler: Dialler) -> None:
    """It is dialled if the upstream is the original one, and remembered, as a firewall may lead it back."""
    assert dialler.towards("127.0.0.9", 1) is dialler
    original = replace(dialler, target=Target.original(), may_be_led_back=True)
    server = connected(original.towards("127.0.0.1", dialler.target.port))
    assert server.getpeername() == ("127.0.0.1", dialler.target.port)
    assert dialler.circles.through(*server.getsockname()) == ("p",)
    server.close()


async def test_small_packets(dialler: Dialler) -> None:
    """Where packets are to be lost, the server puts no more into each than on Ethernet."""
    server = dialler.begin((), in_small_packets=True)
    assert isinstance(server, socket.socket)
    assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1460
    server.close()
    await trio.lowlevel.checkpoint()
