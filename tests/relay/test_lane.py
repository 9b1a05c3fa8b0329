"""A lane carries every byte, in order, as far as its limit, its shaper and its sink allow."""

import socket
from time import monotonic

import pytest
import trio
import trio.testing

from faultproxy.relay import BUFFER_SIZE, UNLIMITED, Circuit, Switchboard
from tests.peers import pattern
from tests.relay.wires import (
    Late,
    is_quiet,
    past,
    read_exactly,
    read_to_the_end,
    reset,
    send_all,
    until,
    wired,
)

SMALL = 8192
FAR_S = 3600.0


async def test_every_byte_both_ways() -> None:
    """Megabytes cross each way at once, whole and in order, and are counted."""
    there, back = pattern(3_000_000, 1), pattern(3_000_000, 2)
    async with wired() as it, trio.open_nursery() as nursery:
        nursery.start_soon(send_all, it.client, there)
        nursery.start_soon(send_all, it.server, back)
        assert await read_exactly(it.server, len(there)) == there
        assert await read_exactly(it.client, len(back)) == back
        assert (it.circuit.upstream.taken, it.circuit.upstream.delivered) == (len(there), len(there))
        assert (it.circuit.downstream.taken, it.circuit.downstream.delivered) == (len(back), len(back))


async def test_nothing_flows_before_the_start() -> None:
    """What comes before the circuit is started waits in the kernel."""
    async with wired(start=False) as it:
        await send_all(it.client, b"early")
        assert it.circuit.upstream.taken == 0
        it.circuit.start()
        assert await read_exactly(it.server, 5) == b"early"


async def test_a_slow_reader_holds_its_sender_back() -> None:
    """While nobody reads, at most one buffer is kept; when somebody does, all of it arrives."""
    data = pattern(20_000_000)
    async with wired(receive_buffer=SMALL) as it, trio.open_nursery() as nursery:
        nursery.start_soon(send_all, it.client, data)
        lane = it.circuit.upstream
        await until(lambda: not lane.has_room())
        assert 0 < lane.taken - lane.delivered <= BUFFER_SIZE
        assert await read_exactly(it.server, len(data)) == data


async def test_fin_follows_the_data() -> None:
    """EOF arrives behind what the sink had not taken yet; the other direction goes on."""
    data = pattern(5_000_000)
    async with wired(receive_buffer=SMALL) as it, trio.open_nursery() as nursery:

        async def send_and_end() -> None:
            await send_all(it.client, data)
            it.client.shutdown(socket.SHUT_WR)

        nursery.start_soon(send_and_end)
        await until(lambda: not it.circuit.upstream.has_room())
        assert await read_to_the_end(it.server) == (data, "EOF")
        await send_all(it.server, b"still here")
        assert await read_exactly(it.client, 10) == b"still here"


async def test_a_reset_follows_the_data() -> None:
    """What had come before the reset is delivered first; then the owner is told who reset."""
    async with wired(start=False) as it:
        await send_all(it.client, b"last words")
        reset(it.client)
        it.circuit.start()
        await it.circuit.changed()
        assert it.circuit.broken is it.circuit.client
        assert await read_exactly(it.server, 10) == b"last words"
        assert is_quiet(it.server)


async def test_what_a_broken_sink_had_sent_is_delivered() -> None:
    """A server that answers and resets is heard out, though the client's bytes find it gone."""
    async with wired(start=False) as it:
        await send_all(it.server, b"go away")
        reset(it.server)
        await send_all(it.client, pattern(1_000_000)[:100_000])
        it.circuit.start()
        await it.circuit.changed()
        assert it.circuit.broken is it.circuit.server
        assert await read_exactly(it.client, 7) == b"go away"


@pytest.mark.parametrize("shaped", [False, True])
@pytest.mark.parametrize("limit", [1, 4096, 65_537, BUFFER_SIZE, 300_000])
async def test_a_limit_is_exact(limit: int, shaped: bool) -> None:
    """The owner is woken when so many bytes have been delivered, and no other byte has."""
    data = pattern(400_000)
    async with wired(start=False) as it, trio.open_nursery() as nursery:
        lane = it.circuit.upstream
        lane.set_limit(limit)
        if shaped:
            lane.set_shaper(Late(size=1000))
        nursery.start_soon(send_all, it.client, data)
        it.circuit.start()
        await it.circuit.changed()
        assert lane.delivered == limit
        assert await read_exactly(it.server, limit) == data[:limit]
        assert is_quiet(it.server)
        lane.set_limit(UNLIMITED)
        assert await read_exactly(it.server, len(data) - limit) == data[limit:]


async def test_a_limit_that_is_past() -> None:
    """A limit below what is delivered already wakes the owner at once, and lets no more through."""
    async with wired() as it:
        await send_all(it.client, b"12345")
        assert await read_exactly(it.server, 5) == b"12345"
        it.circuit.upstream.set_limit(3)
        await it.circuit.changed()
        await send_all(it.client, b"6")
        assert (it.circuit.upstream.limit, it.circuit.upstream.has_room()) == (5, False)


async def test_a_scan_sets_the_limit() -> None:
    """A scan is shown each byte once, and what it finds is delivered to its last byte, then nothing."""
    shown = bytearray()

    def scan(piece: bytes) -> int | None:
        shown.extend(piece)
        return shown.index(b"!") + 1 if b"!" in piece else None

    async with wired(start=False) as it:
        it.circuit.upstream.set_scans([scan])
        it.circuit.start()
        for data in (b"one ", b"two! three"):
            await send_all(it.client, data)
        await it.circuit.changed()
        assert await read_exactly(it.server, 8) == b"one two!"
        assert is_quiet(it.server)
    assert shown == b"one two! three"


async def test_a_shaper_delays_data_and_fin() -> None:
    """Nothing arrives before it is due, FIN neither; it arrives in the order in which it was sent."""
    async with wired(start=False) as it:
        it.circuit.upstream.set_shaper(Late(0.05, 3))
        it.circuit.start()
        start = monotonic()
        await send_all(it.client, b"0123456789")
        it.client.shutdown(socket.SHUT_WR)
        assert await read_exactly(it.server, 10) == b"0123456789"
        assert past(start, 0.05)
        assert await read_to_the_end(it.server) == (b"", "EOF")


async def test_pieces_alone() -> None:
    """A piece that is to be alone leaves in a segment of its own, also to a reader that comes late."""
    async with wired(start=False) as it:
        it.circuit.upstream.set_shaper(Late(size=7, alone=True))
        it.circuit.start()
        await send_all(it.client, bytes(700))
        assert await read_exactly(it.server, 700) == bytes(700)
        segments = it.ours[1].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[136:140]
        assert int.from_bytes(segments, "little") >= 100  # tcpi_segs_out (linux/tcp.h)


async def test_a_shaper_bounds_what_is_held() -> None:
    """While nothing is due the lane keeps what its shaper may hold, and a bite; its sender is held back."""
    shaper = Late(FAR_S)
    async with wired(start=False) as it, trio.open_nursery() as nursery:
        lane = it.circuit.upstream
        lane.set_shaper(shaper)
        it.circuit.start()
        nursery.start_soon(send_all, it.client, bytes(20_000_000))
        await until(lambda: not lane.has_room())
        assert shaper.hold <= lane.taken - lane.delivered < shaper.hold + shaper.bite
        nursery.cancel_scope.cancel()


async def test_changing_shapers_loses_nothing() -> None:
    """Shapers that come and go while bytes flow lose none, repeat none, and keep their order."""
    data = pattern(4_000_000)
    async with wired(receive_buffer=SMALL) as it, trio.open_nursery() as nursery:
        nursery.start_soon(send_all, it.client, data)
        got = b""
        for number in range(100):
            shaper = (None, Late(), Late(0.001, 999), Late(0.002))[number % 4]
            it.circuit.upstream.set_shaper(shaper)
            got += await read_exactly(it.server, 20_000)
        it.circuit.upstream.set_shaper(None)
        assert got + await read_exactly(it.server, len(data) - len(got)) == data


async def test_what_is_held_keeps_its_time() -> None:
    """Bytes that a shaper holds leave when they are due, though it was taken away; later ones stay behind them."""
    async with wired(start=False) as it:
        lane = it.circuit.upstream
        lane.set_shaper(Late(0.05))
        it.circuit.start()
        start = monotonic()
        await send_all(it.client, b"first")
        await until(lambda: lane.taken == 5)
        lane.set_shaper(None)
        await send_all(it.client, b"second")
        assert await read_exactly(it.server, 11) == b"firstsecond"
        assert past(start, 0.05)


async def test_freeze_and_thaw() -> None:
    """A frozen circuit moves nothing, data nor FIN; thawed, it goes on where it was."""
    async with wired() as it:
        it.circuit.freeze(for_ever=False)
        await send_all(it.client, b"held")
        it.client.shutdown(socket.SHUT_WR)
        await send_all(it.server, b"held too")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (it.circuit.upstream.taken, it.circuit.downstream.taken) == (0, 0)
        it.circuit.thaw()
        assert await read_to_the_end(it.server) == (b"held", "EOF")
        assert await read_exactly(it.client, 8) == b"held too"


async def test_thaw_sends_what_was_due_meanwhile() -> None:
    """What was held back by a shape when the circuit froze leaves when it thaws, if its time is past."""
    async with wired(start=False) as it:
        lane = it.circuit.upstream
        lane.set_shaper(Late(0.02))
        it.circuit.start()
        start = monotonic()
        await send_all(it.client, b"held")
        await until(lambda: lane.taken == 4)
        it.circuit.freeze(for_ever=False)
        delivered = lane.delivered  # nothing, on a machine that was quick enough
        await until(lambda: past(start, 0.05))
        assert lane.delivered == delivered
        it.circuit.thaw()
        assert await read_exactly(it.server, 4) == b"held"


async def test_shut_down() -> None:
    """The sink gets FIN at once; what was held is dropped, what still comes is thrown away, also without an end."""
    async with wired(start=False) as it, trio.open_nursery() as nursery:
        lane = it.circuit.upstream
        lane.set_shaper(Late(FAR_S))
        it.circuit.start()
        await send_all(it.client, b"held")
        await until(lambda: lane.taken == 4)
        lane.shut_down()
        assert await read_to_the_end(it.server) == (b"", "EOF")
        nursery.start_soon(send_all, it.client, bytes(20_000_000))
        await send_all(it.server, b"still here")
        assert await read_exactly(it.client, 10) == b"still here"


async def test_unix_sockets() -> None:
    """A circuit may join sockets of any family."""
    (client, ours), (server, theirs) = socket.socketpair(), socket.socketpair()
    with client, ours, server, theirs:
        for sock in (client, ours, server, theirs):
            sock.setblocking(False)
        with Switchboard() as board:
            circuit: Circuit = board.connect(ours, theirs)
            circuit.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(board.run)
                client.send(b"hello")
                await trio.lowlevel.wait_readable(server)
                assert server.recv(10) == b"hello"
                nursery.cancel_scope.cancel()
            circuit.disconnect()
