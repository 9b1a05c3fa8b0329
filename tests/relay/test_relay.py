"""A relay reports to its owner what became of its two peers, and can be frozen and stopped at any time."""

import socket

import trio
import trio.testing

from faultproxy.relay import Relay
from tests.relay.relaying import (
    Late,
    Relayed,
    polling,
    read_exactly,
    read_to_the_end,
    relay_on,
    relaying,
    reset,
    send_all,
    tcp_pair,
    until,
)


async def test_both_ended() -> None:
    """The owner is notified when both directions have ended, and learns who ended first."""
    async with relaying() as it:
        it.server.shutdown(socket.SHUT_WR)
        assert await read_to_the_end(it.client) == (b"", "EOF")
        assert not it.relay.is_finished
        it.client.shutdown(socket.SHUT_WR)
        await it.changed()
        assert it.relay.is_finished
        assert it.relay.first_ended is it.relay.downstream
        assert it.relay.broken is None


async def test_a_reset_after_fin() -> None:
    """A peer that has sent FIN may still reset: it broke, whatever it had ended."""
    async with relaying() as it:
        it.client.shutdown(socket.SHUT_WR)
        assert await read_to_the_end(it.server) == (b"", "EOF")
        reset(it.client)
        await it.changed()
        assert it.relay.broken == "client"
        assert not it.relay.is_finished


async def test_the_first_reset_counts() -> None:
    """When both peers reset, the one that did so first broke it."""
    async with relaying() as it:
        reset(it.server)
        await it.changed()
        reset(it.client)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert it.relay.broken == "server"


async def test_news_wait() -> None:
    """What happens while nobody waits is reported to the next who waits, once."""
    async with relaying(start=False) as it:
        it.relay.upstream.set_limit(2)
        it.relay.start()
        await send_all(it.client, b"12345")
        assert await read_exactly(it.server, 2) == b"12"
        await it.changed()
        with trio.move_on_after(0.01) as patience:
            await it.changed()
        assert patience.cancelled_caught
        it.relay.upstream.set_limit(4)
        await it.changed()
        assert await read_exactly(it.server, 2) == b"34"


async def test_starting_twice() -> None:
    """To start what has been started changes nothing."""
    async with relaying() as it:
        it.relay.start()
        await send_all(it.client, b"once")
        assert await read_exactly(it.server, 4) == b"once"


async def test_frozen_for_ever_a_reset_is_noticed() -> None:
    """A relay that hangs for ever moves nothing, and ends when its client resets."""
    async with relaying() as it:
        it.relay.freeze(for_ever=True)
        await send_all(it.client, b"into the void")
        reset(it.client)
        await it.changed()
        assert it.relay.broken == "client"
        assert it.relay.upstream.bytes_read == 0


async def test_frozen_for_a_while_a_reset_waits() -> None:
    """One that hangs for a while reports the reset when it goes on, behind the data that came before."""
    async with relaying() as it:
        it.relay.freeze(for_ever=False)
        await send_all(it.client, b"last words")
        reset(it.client)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert it.relay.broken is None
        it.relay.thaw()
        await it.changed()
        assert it.relay.broken == "client"
        assert await read_exactly(it.server, 10) == b"last words"


async def test_a_stopped_relay_is_still() -> None:
    """Stopped, it moves nothing, drops what it held, and leaves the sockets to their owner."""
    async with relaying(start=False) as it:
        it.relay.upstream.set_shaper(Late(0.01))
        it.relay.start()
        await send_all(it.client, b"held")
        await until(lambda: it.relay.upstream.bytes_read == 4)
        it.relay.stop()
        gone = it.relay.upstream.bytes_written  # nothing, on a machine that was quick enough
        await send_all(it.client, b"more")
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert it.relay.upstream.bytes_written == gone
        await trio.lowlevel.wait_readable(it.ours[0])
        assert it.ours[0].recv(10) == b"more"
        it.ours[1].send(b"by hand")
        assert await read_exactly(it.server, gone + 7) == b"held"[:gone] + b"by hand"


async def test_the_owner_may_end_it_when_notified() -> None:
    """Told, the owner closes both sockets in the poller's task; others get their numbers, and no event of theirs."""
    async with polling() as poller:
        news: list[str | None] = []
        others: list[Relayed] = []
        (client, ours), (server, theirs) = tcp_pair(), tcp_pair()

        def end() -> None:
            news.append(relay.broken)
            relay.stop()
            ours.close()
            theirs.close()
            others.append(relay_on(poller))
            others[0].relay.start()

        relay = Relay(poller, ours, theirs, end)
        for sock in (client, server):  # both in one batch
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            sock.close()
        numbers = {ours.fileno(), theirs.fileno()}
        relay.start()
        await until(lambda: bool(others))
        assert numbers & {sock.fileno() for sock in others[0].ours}, "descriptors are given out again"
        await send_all(others[0].client, b"new")
        assert await read_exactly(others[0].server, 3) == b"new"
        assert len(news) == 1
        others[0].close()


async def test_a_stopped_relay_reports_nothing() -> None:
    """A change that was not reported before the owner stopped the relay is reported no more."""
    async with polling() as poller:
        it = relay_on(poller)
        it.relay.start()
        await send_all(it.client, b"12")
        assert await read_exactly(it.server, 2) == b"12"
        it.relay.upstream.set_limit(1)
        it.relay.stop()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not it.news[0].is_set()
        it.close()
