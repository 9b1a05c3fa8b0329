"""A circuit tells its owner what became of its two peers, and can be frozen and taken apart at any time."""

import socket

import trio
import trio.testing

from tests.relay.wires import Late, read_exactly, read_to_the_end, reset, send_all, until, wired


async def test_both_ended() -> None:
    """The owner is woken when both directions have ended, and learns who ended first."""
    async with wired() as it:
        it.server.shutdown(socket.SHUT_WR)
        assert await read_to_the_end(it.client) == (b"", "EOF")
        assert not it.circuit.finished
        it.client.shutdown(socket.SHUT_WR)
        await it.circuit.changed()
        assert it.circuit.finished
        assert it.circuit.first_ended is it.circuit.downstream
        assert it.circuit.broken is None


async def test_a_reset_after_fin() -> None:
    """A peer that has sent FIN may still reset: it broke, whatever it had ended."""
    async with wired() as it:
        it.client.shutdown(socket.SHUT_WR)
        assert await read_to_the_end(it.server) == (b"", "EOF")
        reset(it.client)
        await it.circuit.changed()
        assert it.circuit.broken is it.circuit.client
        assert not it.circuit.finished


async def test_the_first_reset_counts() -> None:
    """When both peers reset, the one that did so first broke it."""
    async with wired() as it:
        reset(it.server)
        await it.circuit.changed()
        reset(it.client)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert it.circuit.broken is it.circuit.server


async def test_news_wait() -> None:
    """What happens while nobody waits is told to who waits next, once."""
    async with wired(start=False) as it:
        it.circuit.upstream.set_limit(2)
        it.circuit.start()
        await send_all(it.client, b"12345")
        assert await read_exactly(it.server, 2) == b"12"
        await it.circuit.changed()
        with trio.move_on_after(0.01) as patience:
            await it.circuit.changed()
        assert patience.cancelled_caught
        it.circuit.upstream.set_limit(4)
        await it.circuit.changed()
        assert await read_exactly(it.server, 2) == b"34"


async def test_starting_twice() -> None:
    """To start what has been started changes nothing."""
    async with wired() as it:
        it.circuit.start()
        await send_all(it.client, b"once")
        assert await read_exactly(it.server, 4) == b"once"


async def test_frozen_for_ever_a_reset_is_noticed() -> None:
    """A circuit that hangs for ever moves nothing, and ends when its client resets."""
    async with wired() as it:
        it.circuit.freeze(for_ever=True)
        await send_all(it.client, b"into the void")
        reset(it.client)
        await it.circuit.changed()
        assert it.circuit.broken is it.circuit.client
        assert it.circuit.upstream.taken == 0


async def test_frozen_for_a_while_a_reset_waits() -> None:
    """One that hangs for a while tells of the reset when it goes on, behind the data that came before."""
    async with wired() as it:
        it.circuit.freeze(for_ever=False)
        await send_all(it.client, b"last words")
        reset(it.client)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert it.circuit.broken is None
        it.circuit.thaw()
        await it.circuit.changed()
        assert it.circuit.broken is it.circuit.client
        assert await read_exactly(it.server, 10) == b"last words"


async def test_a_disconnected_circuit_is_still() -> None:
    """Disconnected, it moves nothing, drops what it held, and leaves the sockets to their owner."""
    async with wired(start=False) as it:
        it.circuit.upstream.set_shaper(Late(0.01))
        it.circuit.start()
        await send_all(it.client, b"held")
        await until(lambda: it.circuit.upstream.taken == 4)
        it.circuit.disconnect()
        gone = it.circuit.upstream.delivered  # nothing, on a machine that was quick enough
        await send_all(it.client, b"more")
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert it.circuit.upstream.delivered == gone
        await trio.lowlevel.wait_readable(it.ours[0])
        assert it.ours[0].recv(10) == b"more"
        it.ours[1].send(b"by hand")
        assert await read_exactly(it.server, gone + 7) == b"held"[:gone] + b"by hand"
