"""The poller serves every socket in its turn, and none that is not its own any more."""

import select
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import monotonic

import trio
import trio.testing

from faultproxy.relay import BUFFER_SIZE, Poller
from tests.peers import pattern
from tests.relay.relaying import (
    Late,
    Look,
    Relayed,
    is_quiet,
    past,
    polling,
    read_exactly,
    read_to_the_end,
    relay_on,
    reset,
    send_all,
    tcp_pair,
    until,
)


async def assert_works(it: Relayed) -> None:
    for sender, reader in ((it.client, it.server), (it.server, it.client)):
        await send_all(sender, b"12345")
        assert await read_exactly(reader, 5) == b"12345"
        assert is_quiet(reader)


async def test_many_relays() -> None:
    """Bytes of one relay never show up in another."""
    async with polling() as poller, trio.open_nursery() as nursery:
        relays = [relay_on(poller) for _ in range(50)]
        for number, it in enumerate(relays):
            it.relay.start()
            nursery.start_soon(send_all, it.client, pattern(50_000, number))
        for number, it in enumerate(relays):
            assert await read_exactly(it.server, 50_000) == pattern(50_000, number)
            it.close()


async def test_one_read_a_round() -> None:
    """A byte that waits beside a flood is passed on in the first round: one buffer of the flood goes before it at most."""
    before: list[int] = []
    async with polling() as poller:
        busy, shy = relay_on(poller), relay_on(poller)
        assert await busy.client.send(bytes(20 * BUFFER_SIZE)) > BUFFER_SIZE
        await send_all(shy.client, b"!")
        for sock in (busy.ours[0], shy.ours[0]):
            await trio.lowlevel.wait_readable(sock)
        shy.relay.upstream.set_matchers([Look(lambda _: before.append(busy.relay.upstream.bytes_read))])
        busy.relay.start()
        shy.relay.start()
        assert await read_exactly(shy.server, 1) == b"!"
        busy.close()
        shy.close()
    assert before[0] <= BUFFER_SIZE


async def test_a_flood_starves_nobody() -> None:
    """While one relay is never idle, a hundred questions on another are answered."""
    async with polling() as poller:
        busy, calm = relay_on(poller), relay_on(poller)
        busy.relay.start()
        calm.relay.start()

        async def flood() -> None:
            while True:
                await send_all(busy.client, bytes(BUFFER_SIZE))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            nursery.start_soon(read_to_the_end, busy.server)
            for _ in range(100):
                await assert_works(calm)
            assert busy.relay.upstream.bytes_written > 0
            nursery.cancel_scope.cancel()
        busy.close()
        calm.close()


async def test_timers_are_called_in_their_order() -> None:
    """Whichever was set first, what is due first leaves first, and nothing early."""
    async with polling() as poller:
        late, early = relay_on(poller), relay_on(poller)
        start = monotonic()
        for it, delay_s in ((late, 0.08), (early, 0.03)):
            it.relay.upstream.set_shaper(Late(delay_s))
            it.relay.start()
            await send_all(it.client, b"!")
        await until(lambda: late.relay.upstream.bytes_read == 1)
        assert await read_exactly(early.server, 1) == b"!"
        assert past(start, 0.03)
        assert late.relay.upstream.bytes_written == 0 or past(start, 0.08)
        assert await read_exactly(late.server, 1) == b"!"
        assert past(start, 0.08)
        late.close()
        early.close()


async def test_a_timer_that_outlives_its_relay() -> None:
    """It calls nobody: neither what was held nor anything else reaches a new relay with the old numbers."""
    async with polling() as poller:
        gone, other = relay_on(poller), relay_on(poller)
        gone.relay.upstream.set_shaper(Late(0.05))
        other.relay.upstream.set_shaper(Late(0.1))
        for it in (gone, other):
            it.relay.start()
            await send_all(it.client, b"held")
        await until(lambda: gone.relay.upstream.bytes_read == other.relay.upstream.bytes_read == 4)
        numbers = {sock.fileno() for sock in gone.ours}
        gone.close()
        delivered = gone.relay.upstream.bytes_written  # nothing, on a machine that was quick enough
        new = relay_on(poller)
        assert numbers & {sock.fileno() for sock in new.ours}, "descriptors are given out again"
        new.relay.start()
        assert await read_exactly(other.server, 4) == b"held"
        assert gone.relay.upstream.bytes_written == delivered
        assert is_quiet(new.server)
        await assert_works(new)
        new.close()
        other.close()


async def test_a_number_that_is_another_connections_now() -> None:
    """To stop a relay again, when its sockets' numbers have been given out, leaves the new ones alone."""
    async with polling() as poller:
        old = relay_on(poller)
        old.relay.start()
        await assert_works(old)
        numbers = {sock.fileno() for sock in old.ours}
        old.close()
        new = relay_on(poller)
        assert numbers & {sock.fileno() for sock in new.ours}, "descriptors are given out again"
        new.relay.start()
        await assert_works(new)
        old.relay.stop()
        await assert_works(new)
        new.close()


async def test_sockets_that_are_closed_late() -> None:
    """A stopped relay whose sockets stay open for a while, with bytes and ends coming in, disturbs nobody."""
    async with polling() as poller:
        lingering, it = relay_on(poller), relay_on(poller)
        lingering.relay.start()
        it.relay.start()
        await assert_works(lingering)
        lingering.relay.stop()
        await send_all(lingering.client, b"too late")
        reset(lingering.server)
        for _ in range(3):
            await assert_works(it)
        assert lingering.ours[0].recv(10) == b"too late"
        lingering.close()
        it.close()


async def wait(poller: Poller, sock: socket.socket, events: int, woken: list[int]) -> None:
    await poller.wait(sock, events)
    woken.append(sock.fileno())


async def test_waiting_for_its_own_event() -> None:
    """Of two that wait, the one whose socket can be read is woken, and it alone."""
    async with polling() as poller:
        (one, ours), (other, theirs) = tcp_pair(), tcp_pair()
        woken: list[int] = []
        with one, ours, other, theirs:
            async with trio.open_nursery() as nursery:
                for sock in (ours, theirs):
                    nursery.start_soon(wait, poller, sock, select.EPOLLIN, woken)
                await trio.testing.wait_all_tasks_blocked()
                other.send(b"!")
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert woken == [theirs.fileno()]
                nursery.cancel_scope.cancel()


async def test_waiting_and_an_end() -> None:
    """EOF, and a reset, wake whoever waits to read or to write."""
    for end in (lambda peer: peer.shutdown(socket.SHUT_WR), reset):
        async with polling() as poller:
            peer, ours = tcp_pair()
            with peer, ours:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(poller.wait, ours, select.EPOLLIN)
                    await trio.testing.wait_all_tasks_blocked()
                    end(peer)


async def test_waiting_and_a_refused_connect() -> None:
    """Who waits for a connect to succeed is woken when it fails."""
    async with polling() as poller:
        with socket.socket() as nobody, socket.socket() as client:
            nobody.bind(("127.0.0.1", 0))
            client.setblocking(False)
            client.connect_ex(nobody.getsockname())
            await poller.wait(client, select.EPOLLOUT)


async def test_giving_up_waiting() -> None:
    """A wait that was cancelled is forgotten: the next one at the same socket is woken as usual."""
    async with polling() as poller:
        peer, ours = tcp_pair()
        with peer, ours:
            for _ in range(3):
                with trio.move_on_after(0.001) as patience:
                    await poller.wait(ours, select.EPOLLIN)
                assert patience.cancelled_caught
            peer.send(b"!")
            await poller.wait(ours, select.EPOLLIN)
            assert ours.recv(1) == b"!"


async def test_woken_and_cancelled_at_once() -> None:
    """When the event and the cancellation come together, neither is an error."""
    async with polling() as poller:
        peer, ours = tcp_pair()
        with peer, ours:
            for _ in range(50):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(poller.wait, ours, select.EPOLLIN)
                        await trio.lowlevel.checkpoint()
                        peer.send(b"!")
                        await trio.lowlevel.checkpoint()
                        scope.cancel()
            await poller.wait(ours, select.EPOLLIN)
            assert ours.recv(1) == b"!"


async def test_a_socket_that_is_closed_while_waited_for() -> None:
    """Nothing reports it; the wait can be cancelled, and a new socket of that number is waited for undisturbed."""
    async with polling() as poller:
        peer, ours = tcp_pair()
        number = ours.fileno()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poller.wait, ours, select.EPOLLIN)
                await trio.testing.wait_all_tasks_blocked()
                ours.close()
                new_peer, new = tcp_pair()
                assert number in (new.fileno(), new_peer.fileno())
                scope.cancel()
        with peer, new, new_peer:
            new_peer.send(b"!")
            await poller.wait(new, select.EPOLLIN)


async def test_who_listens_is_called_each_time() -> None:
    """As often as there is something to read, in the poller's own task, until the endpoint is ignored."""
    async with polling() as poller:
        peer, ours = tcp_pair()
        heard: list[bytes] = []
        with peer, ours:
            endpoint = poller.listen(ours, lambda: heard.append(ours.recv(1)))
            peer.send(b"12")
            await until(lambda: heard == [b"1", b"2"])
            poller.ignore(endpoint)
            peer.send(b"3")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert heard == [b"1", b"2"]


async def test_call_soon_within_a_batch() -> None:
    """What a batch asks for is called once the whole batch has been served, in its order, and what that asks for too."""
    async with polling() as poller:
        pairs = [tcp_pair() for _ in range(3)]
        called: list[str] = []

        def read(ours: socket.socket) -> None:
            called.append(ours.recv(1).decode())
            poller.call_soon(later)

        def later() -> None:
            called.append("later")
            if called.count("later") == 1:
                poller.call_soon(lambda: called.append("last"))

        for peer, ours in pairs:
            peer.send(b"!")
            await trio.lowlevel.wait_readable(ours)
        for _, ours in pairs:
            poller.listen(ours, partial(read, ours))
        await until(lambda: "last" in called)
        assert called == ["!"] * 3 + ["later"] * 3 + ["last"]
        for sock in (sock for pair in pairs for sock in pair):
            sock.close()


async def test_call_soon_from_a_task() -> None:
    """The poller wakes for it at once, whatever timers there are, and calls it in its own task."""
    async with polling() as poller:
        called: list[trio.lowlevel.Task] = []
        poller.call_at(monotonic() + 3600, lambda: None)
        poller.call_soon(lambda: called.append(trio.lowlevel.current_task()))
        poller.call_at(monotonic() + 1800, lambda: None)
        assert called == []
        start = monotonic()
        await until(lambda: bool(called))
        assert not past(start, 0.5)
        assert called[0] is not trio.lowlevel.current_task()


FORKS = """
import os, time
import trio
from faultproxy.kernel import sockets
from tests.relay.relaying import polling, read_exactly, read_to_the_end, relay_on, send_all

async def main():
    async with polling() as poller:
        it = relay_on(poller)
        it.relay.start()
        await send_all(it.client, b"before")
        copies = [sock.dup() for sock in it.ours]  # as a child has them that does not close them
        if not os.fork():
            os._exit(sum(sock.fileno() for sock in it.ours) != -2 or not poller._epoll.closed)
        assert os.wait()[1] == 0
        await send_all(it.client, b" and after")
        assert await read_exactly(it.server, 16) == b"before and after"
        it.relay.stop()
        for sock in it.ours:
            sockets.reset(sock)
        assert await read_to_the_end(it.client) == (b"", "ECONNRESET")
        began = time.process_time()
        await trio.sleep(0.2)
        assert time.process_time() - began < 0.1
        it.close()
        del copies

trio.run(main)
"""


def test_a_fork() -> None:
    """In the child the relayed sockets are closed; here they work on, and can be ended, whoever holds a copy."""
    subprocess.run([sys.executable, "-c", FORKS], check=True, cwd=Path(__file__).parents[2])


def test_an_interrupt_leaves_what_is_called_whole() -> None:
    """KeyboardInterrupt is raised in trio's main task, and not in a function that the poller calls just then."""
    called = []

    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        called.append("to its end")

    async def main() -> None:
        async with polling() as poller:
            poller.call_soon(interrupted)
            await trio.sleep_forever()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        called.append("raised")
    finally:
        signal.signal(signal.SIGINT, before)
    assert called == ["to its end", "raised"]


async def test_no_descriptor_is_left() -> None:
    """Its own descriptors go with it."""
    with Poller() as poller:
        epoll, timer = poller._epoll, poller._timer.fd
    assert epoll.closed
    with socket.socket() as probe:
        assert probe.fileno() <= timer
