"""The switchboard serves every socket in its turn, and none that is not its own any more."""

import select
import socket
from time import monotonic

import trio
import trio.testing

from faultproxy.relay import BUFFER_SIZE, Switchboard
from tests.peers import pattern
from tests.relay.wires import (
    Late,
    Wire,
    is_quiet,
    past,
    read_exactly,
    read_to_the_end,
    reset,
    running,
    send_all,
    tcp_pair,
    until,
    wire,
)


async def assert_works(it: Wire) -> None:
    for sender, reader in ((it.client, it.server), (it.server, it.client)):
        await send_all(sender, b"12345")
        assert await read_exactly(reader, 5) == b"12345"
        assert is_quiet(reader)


async def test_many_circuits() -> None:
    """Bytes of one circuit never show up in another."""
    async with running() as board, trio.open_nursery() as nursery:
        wires = [wire(board) for _ in range(50)]
        for number, it in enumerate(wires):
            it.circuit.start()
            nursery.start_soon(send_all, it.client, pattern(50_000, number))
        for number, it in enumerate(wires):
            assert await read_exactly(it.server, 50_000) == pattern(50_000, number)
            it.close()


async def test_one_read_a_round() -> None:
    """A byte that waits beside a flood is passed on in the first round: one buffer of the flood goes before it at most."""
    before: list[int] = []
    async with running() as board:
        busy, shy = wire(board), wire(board)
        assert await busy.client.send(bytes(20 * BUFFER_SIZE)) > BUFFER_SIZE
        await send_all(shy.client, b"!")
        for sock in (busy.ours[0], shy.ours[0]):
            await trio.lowlevel.wait_readable(sock)
        shy.circuit.upstream.set_scans([lambda _: before.append(busy.circuit.upstream.taken)])
        busy.circuit.start()
        shy.circuit.start()
        assert await read_exactly(shy.server, 1) == b"!"
        busy.close()
        shy.close()
    assert before[0] <= BUFFER_SIZE


async def test_a_flood_starves_nobody() -> None:
    """While one circuit is never idle, a hundred questions on another are answered."""
    async with running() as board:
        busy, calm = wire(board), wire(board)
        busy.circuit.start()
        calm.circuit.start()

        async def flood() -> None:
            while True:
                await send_all(busy.client, bytes(BUFFER_SIZE))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            nursery.start_soon(read_to_the_end, busy.server)
            for _ in range(100):
                await assert_works(calm)
            assert busy.circuit.upstream.delivered > 0
            nursery.cancel_scope.cancel()
        busy.close()
        calm.close()


async def test_alarms_ring_in_their_order() -> None:
    """Whichever was set first, what is due first leaves first, and nothing early."""
    async with running() as board:
        late, early = wire(board), wire(board)
        start = monotonic()
        for it, delay_s in ((late, 0.08), (early, 0.03)):
            it.circuit.upstream.set_shaper(Late(delay_s))
            it.circuit.start()
            await send_all(it.client, b"!")
        await until(lambda: late.circuit.upstream.taken == 1)
        assert await read_exactly(early.server, 1) == b"!"
        assert past(start, 0.03)
        assert late.circuit.upstream.delivered == 0 or past(start, 0.08)
        assert await read_exactly(late.server, 1) == b"!"
        assert past(start, 0.08)
        late.close()
        early.close()


async def test_an_alarm_that_outlives_its_circuit() -> None:
    """It rings for nobody: neither what was held nor anything else reaches a new circuit with the old numbers."""
    async with running() as board:
        gone, other = wire(board), wire(board)
        gone.circuit.upstream.set_shaper(Late(0.05))
        other.circuit.upstream.set_shaper(Late(0.1))
        for it in (gone, other):
            it.circuit.start()
            await send_all(it.client, b"held")
        await until(lambda: gone.circuit.upstream.taken == other.circuit.upstream.taken == 4)
        numbers = {sock.fileno() for sock in gone.ours}
        gone.close()
        delivered = gone.circuit.upstream.delivered  # nothing, on a machine that was quick enough
        new = wire(board)
        assert numbers & {sock.fileno() for sock in new.ours}, "descriptors are given out again"
        new.circuit.start()
        assert await read_exactly(other.server, 4) == b"held"
        assert gone.circuit.upstream.delivered == delivered
        assert is_quiet(new.server)
        await assert_works(new)
        new.close()
        other.close()


async def test_a_number_that_is_another_connections_now() -> None:
    """To disconnect a circuit again, when its sockets' numbers have been given out, leaves the new ones alone."""
    async with running() as board:
        old = wire(board)
        old.circuit.start()
        await assert_works(old)
        numbers = {sock.fileno() for sock in old.ours}
        old.close()
        new = wire(board)
        assert numbers & {sock.fileno() for sock in new.ours}, "descriptors are given out again"
        new.circuit.start()
        await assert_works(new)
        old.circuit.disconnect()
        await assert_works(new)
        new.close()


async def test_sockets_that_are_closed_late() -> None:
    """A disconnected circuit whose sockets stay open for a while, with bytes and ends coming in, disturbs nobody."""
    async with running() as board:
        lingering, it = wire(board), wire(board)
        lingering.circuit.start()
        it.circuit.start()
        await assert_works(lingering)
        lingering.circuit.disconnect()
        await send_all(lingering.client, b"too late")
        reset(lingering.server)
        for _ in range(3):
            await assert_works(it)
        assert lingering.ours[0].recv(10) == b"too late"
        lingering.close()
        it.close()


async def test_waiting_for_a_socket_of_no_circuit() -> None:
    """A task may wait until there is something to read, or room to write, while circuits are served."""
    async with running() as board:
        peer, ours = tcp_pair()
        with peer, ours:
            await board.wait(ours, select.EPOLLOUT)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(board.wait, ours, select.EPOLLIN)
                await trio.testing.wait_all_tasks_blocked()
                assert len(nursery.child_tasks) == 1
                peer.send(b"!")
            assert ours.recv(1) == b"!"


async def test_no_descriptor_is_left() -> None:
    """Its own descriptors go with it."""
    with Switchboard() as board:
        epoll, timer = board._epoll, board._timer.fd
    assert epoll.closed
    with socket.socket() as probe:
        assert probe.fileno() <= timer
