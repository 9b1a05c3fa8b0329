"""A task that waits for a socket is woken once, by whatever happens there, and can give up."""

import select
import socket

import trio
import trio.testing

from faultproxy.relay import Switchboard
from tests.relay.wires import running, tcp_pair, until


async def wait(board: Switchboard, sock: socket.socket, events: int, woken: list[int]) -> None:
    await board.wait(sock, events)
    woken.append(sock.fileno())


async def test_it_rings_for_its_own_event() -> None:
    """Of two that wait, the one whose socket can be read is woken, and it alone."""
    async with running() as board:
        (one, ours), (other, theirs) = tcp_pair(), tcp_pair()
        woken: list[int] = []
        with one, ours, other, theirs:
            async with trio.open_nursery() as nursery:
                for sock in (ours, theirs):
                    nursery.start_soon(wait, board, sock, select.EPOLLIN, woken)
                await trio.testing.wait_all_tasks_blocked()
                other.send(b"!")
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert woken == [theirs.fileno()]
                nursery.cancel_scope.cancel()


async def test_it_rings_for_an_end() -> None:
    """EOF, and a reset, wake whoever waits to read or to write."""
    for end in (lambda peer: peer.shutdown(socket.SHUT_WR), reset):
        async with running() as board:
            peer, ours = tcp_pair()
            with peer, ours:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(board.wait, ours, select.EPOLLIN)
                    await trio.testing.wait_all_tasks_blocked()
                    end(peer)


async def test_it_rings_for_a_refused_connect() -> None:
    """Who waits for a connect to succeed is woken when it fails."""
    async with running() as board:
        with socket.socket() as nobody, socket.socket() as client:
            nobody.bind(("127.0.0.1", 0))
            client.setblocking(False)
            client.connect_ex(nobody.getsockname())
            await board.wait(client, select.EPOLLOUT)


async def test_giving_up() -> None:
    """A wait that was cancelled is forgotten: the next one at the same socket is woken as usual."""
    async with running() as board:
        peer, ours = tcp_pair()
        with peer, ours:
            for _ in range(3):
                with trio.move_on_after(0.001) as patience:
                    await board.wait(ours, select.EPOLLIN)
                assert patience.cancelled_caught
            peer.send(b"!")
            await board.wait(ours, select.EPOLLIN)
            assert ours.recv(1) == b"!"


async def test_woken_and_cancelled_at_once() -> None:
    """When the event and the cancellation come together, neither is an error."""
    async with running() as board:
        peer, ours = tcp_pair()
        with peer, ours:
            for _ in range(50):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(board.wait, ours, select.EPOLLIN)
                        await trio.lowlevel.checkpoint()
                        peer.send(b"!")
                        await trio.lowlevel.checkpoint()
                        scope.cancel()
            await board.wait(ours, select.EPOLLIN)
            assert ours.recv(1) == b"!"


async def test_a_socket_that_is_closed_while_waited_for() -> None:
    """Nothing tells of it; the wait can be cancelled, and a new socket of that number is waited for undisturbed."""
    async with running() as board:
        peer, ours = tcp_pair()
        number = ours.fileno()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(board.wait, ours, select.EPOLLIN)
                await trio.testing.wait_all_tasks_blocked()
                ours.close()
                new_peer, new = tcp_pair()
                assert number in (new.fileno(), new_peer.fileno())
                scope.cancel()
        with peer, new, new_peer:
            new_peer.send(b"!")
            await board.wait(new, select.EPOLLIN)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()


async def test_who_listens_is_called_each_time() -> None:
    """As often as there is something to read, in the switchboard's own task, until the bell is ignored."""
    async with running() as board:
        peer, ours = tcp_pair()
        heard: list[bytes] = []
        with peer, ours:
            bell = board.listen(ours, lambda: heard.append(ours.recv(1)))
            peer.send(b"12")
            await until(lambda: heard == [b"1", b"2"])
            board.ignore(bell)
            peer.send(b"3")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert heard == [b"1", b"2"]
