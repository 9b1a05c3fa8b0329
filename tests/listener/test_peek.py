"""The first bytes are looked at until they are enough, no more come, or the time is up; and they stay where they are."""

import socket
from collections.abc import Callable

import pytest
import trio

from faultproxy.listener.peek import FirstBytes, peek
from faultproxy.rules.facts import MOST_FIRST_BYTES
from tests.relay.relaying import polling, reset, tcp_pair


async def look(
    play: Callable[[socket.socket], object], enough: int = 10**9, within_s: float = 10.0
) -> tuple[FirstBytes, list[FirstBytes], bytes]:
    """What is said of a client that plays this, what was asked about on the way, and what can be read afterwards."""
    client, ours = tcp_pair()
    asked = []

    def decides(said: FirstBytes) -> bool:
        asked.append(said)
        return len(said.data) >= enough

    with client, ours:
        async with polling() as poller, trio.open_nursery() as nursery:
            until = trio.current_time() + within_s

            async def begin() -> None:
                await trio.sleep(0.02)
                play(client)

            nursery.start_soon(begin)
            said = await peek(ours, poller, until, decides)
        try:
            left = ours.recv(10**6)
        except OSError:
            left = b""
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    return said, asked, left


async def test_what_is_enough_is_not_waited_beyond() -> None:
    """The first question is asked before there are any bytes; nothing is taken."""
    said, asked, left = await look(lambda client: client.send(b"GET /"), enough=3)
    assert said == FirstBytes(b"GET /", heard_all=False, was_reset=False)
    assert [each.data for each in asked] == [b"", b"GET /"]
    assert left == b"GET /"


async def test_enough_before_anything() -> None:
    """Who is decided already is not waited for at all."""
    said, asked, _ = await look(lambda _: None, enough=0)
    assert (said.data, said.heard_all, len(asked)) == (b"", False, 1)


def say_and_end(client: socket.socket) -> None:
    client.send(b"GE")
    client.shutdown(socket.SHUT_WR)


async def test_an_end() -> None:
    """EOF is all that will be heard."""
    said, _, left = await look(say_and_end)
    assert said == FirstBytes(b"GE", heard_all=True, was_reset=False)
    assert left == b"GE"


async def test_a_reset() -> None:
    """It is reported, as the kernel reports it once. One behind bytes is still to be reported by the kernel."""
    said, _, _ = await look(reset)
    assert (said.heard_all, said.was_reset) == (True, True)


async def test_time_is_up() -> None:
    """What has come by then is all that counts."""
    began = trio.current_time()
    said, _, left = await look(lambda client: client.send(b"GE"), within_s=0.2)
    assert 0.2 <= trio.current_time() - began < 5
    assert (said, left) == (FirstBytes(b"GE", heard_all=True, was_reset=False, timed_out=True), b"GE")


async def test_no_more_is_looked_at_than_counts() -> None:
    """A client that says very much has said enough."""
    data = bytes(range(256)) * 256
    said, _, left = await look(lambda client: client.send(data))
    assert said == FirstBytes(data[:MOST_FIRST_BYTES], heard_all=True, was_reset=False)
    assert data.startswith(left)
    assert len(left) >= MOST_FIRST_BYTES


@pytest.mark.parametrize("size", [1, 7])
async def test_each_piece_is_asked_about_once(size: int) -> None:
    """A client that says little by little costs one question a piece, and none in between."""
    client, ours = tcp_pair()
    pieces = [bytes([number]) * size for number in range(5)]
    asked: list[bytes] = []
    heard = trio.Event()

    def decides(said: FirstBytes) -> bool:
        nonlocal heard
        asked.append(said.data)
        heard.set()
        return len(said.data) == 5 * size

    async with polling() as poller, trio.open_nursery() as nursery:
        nursery.start_soon(peek, ours, poller, trio.current_time() + 10, decides)
        for piece in pieces:
            await heard.wait()
            heard = trio.Event()
            await trio.sleep(0.02)  # in which nobody asks again about what is there
            client.send(piece)
    assert asked == [b"".join(pieces[:count]) for count in range(6)]
    client.close()
    ours.close()
