"""A pipe carries every byte, in order, as far as its limit, its shaper and its sink allow."""

import math
import socket
from time import monotonic
from typing import Any
from unittest.mock import Mock

import pytest
import trio
import trio.lowlevel
import trio.testing

from faultproxy.relay import BUFFER_SIZE, UNLIMITED, Poller, Relay
from tests.peers import PATIENCE_S, pattern
from tests.relay.relaying import (
    Late,
    Look,
    Relayed,
    Stalled,
    is_quiet,
    past,
    polling,
    read_exactly,
    read_to_the_end,
    relay_on,
    relaying,
    reset,
    send_all,
    until,
)

SMALL = 8192
FAR_S = 3600.0


async def test_every_byte_both_ways() -> None:
    """Megabytes cross each way at once, whole and in order, and are counted."""
    there, back = pattern(3_000_000, 1), pattern(3_000_000, 2)
    async with relaying() as it, trio.open_nursery() as nursery:
        nursery.start_soon(send_all, it.client, there)
        nursery.start_soon(send_all, it.server, back)
        assert await read_exactly(it.server, len(there)) == there
        assert await read_exactly(it.client, len(back)) == back
        assert (it.relay.upstream.bytes_read, it.relay.upstream.bytes_written) == (len(there), len(there))
        assert (it.relay.downstream.bytes_read, it.relay.downstream.bytes_written) == (len(back), len(back))


async def test_nothing_flows_before_the_start() -> None:
    """What comes before the relay is started waits in the kernel."""
    async with relaying(start=False) as it:
        await send_all(it.client, b"early")
        assert it.relay.upstream.bytes_read == 0
        it.relay.start()
        assert await read_exactly(it.server, 5) == b"early"


async def test_a_slow_reader_holds_its_sender_back() -> None:
    """While nobody reads, at most one buffer is kept; when somebody does, all of it arrives."""
    data = pattern(20_000_000)
    async with relaying(receive_buffer=SMALL) as it, trio.open_nursery() as nursery:
        nursery.start_soon(send_all, it.client, data)
        pipe = it.relay.upstream
        await until(lambda: not pipe.has_room())
        assert 0 < pipe.bytes_read - pipe.bytes_written <= BUFFER_SIZE
        assert await read_exactly(it.server, len(data)) == data


async def test_fin_follows_the_data() -> None:
    """EOF arrives behind what the sink had not taken yet; the other direction goes on."""
    data = pattern(5_000_000)
    async with relaying(receive_buffer=SMALL) as it, trio.open_nursery() as nursery:

        async def send_and_end() -> None:
            await send_all(it.client, data)
            it.client.shutdown(socket.SHUT_WR)

        nursery.start_soon(send_and_end)
        await until(lambda: not it.relay.upstream.has_room())
        assert await read_to_the_end(it.server) == (data, "EOF")
        await send_all(it.server, b"still here")
        assert await read_exactly(it.client, 10) == b"still here"


async def test_a_reset_follows_the_data() -> None:
    """What had come before the reset is delivered first; then the owner learns who reset."""
    async with relaying(start=False) as it:
        await send_all(it.client, b"last words")
        reset(it.client)
        it.relay.start()
        await it.changed()
        assert it.relay.broken == "client"
        assert await read_exactly(it.server, 10) == b"last words"
        assert is_quiet(it.server)


async def test_what_a_broken_sink_had_sent_is_delivered() -> None:
    """A server that answers and resets is heard out, though the client's bytes find it gone."""
    async with relaying(start=False) as it:
        await send_all(it.server, b"go away")
        reset(it.server)
        await send_all(it.client, pattern(1_000_000)[:100_000])
        it.relay.start()
        await it.changed()
        assert it.relay.broken == "server"
        assert await read_exactly(it.client, 7) == b"go away"


@pytest.mark.parametrize("shaped", [False, True])
@pytest.mark.parametrize("limit", [1, 4096, 65_537, BUFFER_SIZE, 300_000])
async def test_a_limit_is_exact(limit: int, shaped: bool) -> None:
    """The owner is notified when so many bytes have been written, and no other byte has."""
    data = pattern(700_000)
    async with relaying(start=False) as it, trio.open_nursery() as nursery:
        pipe = it.relay.upstream
        pipe.set_limit(limit)
        if shaped:
            pipe.set_shaper(Late(size=1000))
        nursery.start_soon(send_all, it.client, data)
        it.relay.start()
        await it.changed()
        assert pipe.bytes_written == limit
        assert await read_exactly(it.server, limit) == data[:limit]
        assert is_quiet(it.server)
        pipe.set_limit(UNLIMITED)
        assert await read_exactly(it.server, len(data) - limit) == data[limit:]


async def test_a_limit_that_is_past() -> None:
    """A limit below what is written already notifies the owner at once, and lets no more through."""
    async with relaying() as it:
        await send_all(it.client, b"12345")
        assert await read_exactly(it.server, 5) == b"12345"
        it.relay.upstream.set_limit(3)
        await it.changed()
        await send_all(it.client, b"6")
        assert (it.relay.upstream.limit, it.relay.upstream.has_room()) == (5, False)


async def test_a_matcher_sets_the_limit() -> None:
    """A matcher is shown each byte once, and what it finds is delivered to its last byte, then nothing."""
    shown = bytearray()

    def match(piece: bytes) -> int | None:
        shown.extend(piece)
        return shown.index(b"!") + 1 if b"!" in piece else None

    async with relaying(start=False) as it:
        it.relay.upstream.set_matchers([Look(match)])
        it.relay.start()
        for data in (b"one ", b"two! three"):
            await send_all(it.client, data)
        await it.changed()
        assert await read_exactly(it.server, 8) == b"one two!"
        assert is_quiet(it.server)
    assert shown == b"one two! three"


async def test_a_matcher_bounds_what_is_read_at_once() -> None:
    """What costs much for each byte takes few of them, so that others have their turn; the tightest bound counts."""
    sizes: list[int] = []
    async with relaying(start=False) as it:
        it.relay.upstream.set_matchers([Look(lambda _: None), Look(lambda data: sizes.append(len(data)), 100)])
        it.relay.start()
        await send_all(it.client, bytes(1000))
        assert await read_exactly(it.server, 1000) == bytes(1000)
    assert (max(sizes), sum(sizes)) == (100, 1000)


async def test_a_shaper_delays_data_and_fin() -> None:
    """Nothing arrives before it is due, FIN neither; it arrives in the order in which it was sent."""
    async with relaying(start=False) as it:
        it.relay.upstream.set_shaper(Late(0.05, 3))
        it.relay.start()
        start = monotonic()
        await send_all(it.client, b"0123456789")
        it.client.shutdown(socket.SHUT_WR)
        assert await read_exactly(it.server, 10) == b"0123456789"
        assert past(start, 0.05)
        assert await read_to_the_end(it.server) == (b"", "EOF")


async def test_pieces_in_segments_of_their_own() -> None:
    """A piece that asks for it leaves in a segment of its own, also to a reader that comes late."""
    async with relaying(start=False) as it:
        it.relay.upstream.set_shaper(Late(size=7, own_segment=True))
        it.relay.start()
        await send_all(it.client, bytes(700))
        assert await read_exactly(it.server, 700) == bytes(700)
        segments = it.ours[1].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[136:140]
        assert int.from_bytes(segments, "little") >= 100  # tcpi_segs_out (linux/tcp.h)


async def test_a_shaper_bounds_what_is_held() -> None:
    """While nothing is due the pipe keeps what its shaper may hold, and one read; its sender is held back."""
    shaper = Late(FAR_S)
    async with relaying(start=False) as it, trio.open_nursery() as nursery:
        pipe = it.relay.upstream
        pipe.set_shaper(shaper)
        it.relay.start()
        nursery.start_soon(send_all, it.client, bytes(20_000_000))
        await until(lambda: not pipe.has_room())
        assert shaper.max_buffered <= pipe.bytes_read - pipe.bytes_written < shaper.max_buffered + shaper.max_read
        nursery.cancel_scope.cancel()


async def test_changing_shapers_loses_nothing() -> None:
    """Shapers that come and go while bytes flow lose none, repeat none, and keep their order."""
    data = pattern(4_000_000)
    async with relaying(receive_buffer=SMALL) as it, trio.open_nursery() as nursery:
        nursery.start_soon(send_all, it.client, data)
        got = b""
        for number in range(100):
            shaper = (None, Late(), Late(0.001, 999), Late(0.002))[number % 4]
            it.relay.upstream.set_shaper(shaper)
            got += await read_exactly(it.server, 20_000)
        it.relay.upstream.set_shaper(None)
        assert got + await read_exactly(it.server, len(data) - len(got)) == data


async def test_what_is_held_keeps_its_time() -> None:
    """Bytes that a shaper holds leave when they are due, though it was taken away; later ones stay behind them."""
    async with relaying(start=False) as it:
        pipe = it.relay.upstream
        pipe.set_shaper(Late(0.05))
        it.relay.start()
        start = monotonic()
        await send_all(it.client, b"first")
        await until(lambda: pipe.bytes_read == 5)
        pipe.set_shaper(None)
        await send_all(it.client, b"second")
        assert await read_exactly(it.server, 11) == b"firstsecond"
        assert past(start, 0.05)


async def test_what_is_held_is_hurried() -> None:
    """Bytes and FIN that a shaper holds leave so much earlier, or at once; then later ones as they are shaped."""
    async with relaying(start=False) as it:
        pipe = it.relay.upstream
        pipe.set_shaper(Late(FAR_S))
        it.relay.start()
        start = monotonic()
        await send_all(it.client, b"held")
        await until(lambda: pipe.bytes_read == 4)
        pipe.hurry(FAR_S - 0.05)
        assert await read_exactly(it.server, 4) == b"held"
        assert past(start, 0.05)
        await send_all(it.client, b"held too")
        it.client.shutdown(socket.SHUT_WR)
        await until(lambda: pipe.has_ended)
        pipe.hurry(math.inf)
        assert await read_to_the_end(it.server) == (b"held too", "EOF")


async def test_what_is_hurried_stays_in_order() -> None:
    """A slow reader, thousands of pieces, none of which was due before the others."""
    data = pattern(2_000_000)
    async with relaying(receive_buffer=SMALL, start=False) as it, trio.open_nursery() as nursery:
        pipe = it.relay.upstream
        pipe.set_shaper(Late(FAR_S, 999))
        it.relay.start()
        nursery.start_soon(send_all, it.client, data)
        await until(lambda: pipe.bytes_read >= 1 << 20)
        pipe.set_shaper(None)
        pipe.hurry(math.inf)
        assert await read_exactly(it.server, len(data)) == data


async def test_a_shaper_that_stalls() -> None:
    """Nothing is read from when it comes until it goes, FIN neither; what is held already leaves; a reset is reported."""
    async with relaying(start=False) as it:
        pipe = it.relay.upstream
        pipe.set_shaper(Late(0.02))
        it.relay.start()
        await send_all(it.client, b"first")
        await until(lambda: pipe.bytes_read == 5)
        pipe.set_shaper(Stalled())
        assert await read_exactly(it.server, 5) == b"first"
        await send_all(it.client, b"second")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert pipe.bytes_read == 5
        pipe.set_shaper(None)
        assert await read_exactly(it.server, 6) == b"second"
        pipe.set_shaper(Stalled())
        reset(it.client)
        await it.changed()
        assert it.relay.broken == "client"


async def test_bytes_that_are_discarded() -> None:
    """What is held and what comes is thrown away and not counted, and its sender never waits; FIN comes when it is due."""
    async with relaying(start=False) as it:
        pipe = it.relay.upstream
        pipe.set_shaper(Late(0.05))
        it.relay.start()
        await send_all(it.client, b"held")
        await until(lambda: pipe.bytes_read == 4)
        start = monotonic()
        pipe.discard()
        await send_all(it.client, bytes(20_000_000))
        await until(lambda: pipe.written_at_s >= start)
        it.client.shutdown(socket.SHUT_WR)
        assert await read_to_the_end(it.server) == (b"", "EOF")
        assert (pipe.bytes_read, pipe.bytes_written) == (0, 0)


async def test_the_end_outlives_what_is_discarded() -> None:
    """FIN that was held behind the bytes is not thrown away with them."""
    async with relaying(start=False) as it:
        pipe = it.relay.upstream
        pipe.set_shaper(Late(0.05))
        it.relay.start()
        await send_all(it.client, b"held")
        it.client.shutdown(socket.SHUT_WR)
        await until(lambda: pipe.has_ended)
        pipe.discard()
        assert await read_to_the_end(it.server) == (b"", "EOF")


async def test_freeze_and_thaw() -> None:
    """A frozen relay moves nothing, data nor FIN; thawed, it goes on where it was."""
    async with relaying() as it:
        it.relay.freeze(for_ever=False)
        await send_all(it.client, b"held")
        it.client.shutdown(socket.SHUT_WR)
        await send_all(it.server, b"held too")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (it.relay.upstream.bytes_read, it.relay.downstream.bytes_read) == (0, 0)
        it.relay.thaw()
        assert await read_to_the_end(it.server) == (b"held", "EOF")
        assert await read_exactly(it.client, 8) == b"held too"


async def test_thaw_sends_what_was_due_meanwhile() -> None:
    """What was held back by a shape when the relay froze leaves when it thaws, if its time is past."""
    async with relaying(start=False) as it:
        pipe = it.relay.upstream
        pipe.set_shaper(Late(0.02))
        it.relay.start()
        start = monotonic()
        await send_all(it.client, b"held")
        await until(lambda: pipe.bytes_read == 4)
        it.relay.freeze(for_ever=False)
        delivered = pipe.bytes_written  # nothing, on a machine that was quick enough
        await until(lambda: past(start, 0.05))
        assert pipe.bytes_written == delivered
        it.relay.thaw()
        assert await read_exactly(it.server, 4) == b"held"


async def test_shut_down() -> None:
    """The sink gets FIN at once; what was held is dropped, what still comes is thrown away, also without an end."""
    async with relaying(start=False) as it, trio.open_nursery() as nursery:
        pipe = it.relay.upstream
        pipe.set_shaper(Late(FAR_S))
        it.relay.start()
        await send_all(it.client, b"held")
        await until(lambda: pipe.bytes_read == 4)
        pipe.shut_down()
        assert await read_to_the_end(it.server) == (b"", "EOF")
        nursery.start_soon(send_all, it.client, bytes(20_000_000))
        await send_all(it.server, b"still here")
        assert await read_exactly(it.client, 10) == b"still here"


async def test_memory_is_bounded_for_all_together() -> None:
    """With little memory twenty delayed pipes hold no more than its limit, and each gets every byte through, in order."""
    limit, count = 1 << 20, 20
    with trio.fail_after(PATIENCE_S), Poller(limit) as poller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            them = [relay_on(poller) for _ in range(count)]
            most = [0]

            async def carry(number: int, it: Relayed) -> None:
                it.relay.upstream.set_shaper(Late(0.05))
                it.relay.start()
                data = pattern(500_000, number)
                async with trio.open_nursery() as pair:
                    pair.start_soon(send_all, it.client, data)
                    assert await read_exactly(it.server, len(data)) == data
                    most[0] = max(most[0], poller.memory.held)

            async def look() -> None:
                while True:
                    most[0] = max(most[0], poller.memory.held)
                    await trio.lowlevel.checkpoint()

            nursery.start_soon(look)
            async with trio.open_nursery() as pairs:
                for number, it in enumerate(them):
                    pairs.start_soon(carry, number, it)
            assert 0.5 * limit < most[0] < limit + BUFFER_SIZE + count * 16 * 1024
            assert poller.memory.held == 0
            for it in them:
                it.close()
            nursery.cancel_scope.cancel()


async def test_a_full_memory_stops_nobody_who_holds_nothing() -> None:
    """While others hold all that may be held, a pipe without a shaper, and one with, go on; what is stopped lets go."""
    with trio.fail_after(PATIENCE_S), Poller(1 << 20) as poller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            greedy, plain, late = (relay_on(poller) for _ in range(3))
            greedy.relay.upstream.set_shaper(Late(FAR_S))
            late.relay.upstream.set_shaper(Late(0.001))
            for it in (greedy, plain, late):
                it.relay.start()
            nursery.start_soon(send_all, greedy.client, bytes(20_000_000))
            await until(lambda: poller.memory.is_full and not greedy.relay.upstream.has_room())
            for it in (plain, late):
                data = pattern(300_000)
                nursery.start_soon(send_all, it.client, data)
                assert await read_exactly(it.server, len(data)) == data
            greedy.relay.stop()
            assert poller.memory.held == 0
            nursery.cancel_scope.cancel()
            for it in (greedy, plain, late):
                it.close()


@pytest.mark.parametrize("shaped", [False, True])
async def test_no_memory_costs_one_connection(shaped: bool) -> None:
    """Its owner is notified, and nothing is held for it any more; the poller, and others, go on."""
    fail: Any = Mock(side_effect=MemoryError)
    async with polling() as poller:
        it, other = relay_on(poller), relay_on(poller)
        if shaped:
            shaper = Late()
            shaper.shape = fail  # type: ignore[method-assign]
            it.relay.upstream.set_shaper(shaper)
        else:
            it.relay.upstream._recv_into = fail
        it.relay.start()
        other.relay.start()
        await send_all(it.client, b"too much")
        await it.changed()
        assert isinstance(it.relay.error, MemoryError)
        await send_all(other.client, b"enough")
        assert await read_exactly(other.server, 6) == b"enough"
        it.close()
        other.close()


async def test_unix_sockets() -> None:
    """A relay may join sockets of any family."""
    (client, ours), (server, theirs) = socket.socketpair(), socket.socketpair()
    with client, ours, server, theirs:
        for sock in (client, ours, server, theirs):
            sock.setblocking(False)
        with Poller() as poller:
            relay = Relay(poller, ours, theirs, lambda: None)
            relay.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poller.run)
                client.send(b"hello")
                await trio.lowlevel.wait_readable(server)
                assert server.recv(10) == b"hello"
                nursery.cancel_scope.cancel()
            relay.stop()
