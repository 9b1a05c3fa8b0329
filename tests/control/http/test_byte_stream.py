"""Bytes go both ways over real sockets, and a client that does not take them has so much time and no more."""

import socket
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock

from faultproxy.control.http.byte_stream import ByteStream, Gone, TooSlow
from tests.peers import reset

MUCH = bytes(2**24)


@pytest.fixture
def pair() -> Iterator[tuple[ByteStream, socket.socket]]:
    """A stream, and the client's end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
    sock.setblocking(False)
    with client, sock:
        yield ByteStream(sock), client


class TestByteStream:
    """A socket of the API."""

    async def test_what_there_is_room_for_is_sent_at_once(self, pair: tuple[ByteStream, socket.socket]) -> None:
        """Without a turn of the loop, and so it is not cancelled."""
        stream, client = pair
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.send(b"hello")
        assert not stream.is_torn
        assert client.recv(10) == b"hello"

    async def test_what_there_is_no_room_for_waits(self, pair: tuple[ByteStream, socket.socket]) -> None:
        """And arrives whole; meanwhile the stream is torn."""
        stream, client = pair
        got = bytearray()

        async def read() -> None:
            assert stream.is_torn
            while data := await trio.to_thread.run_sync(client.recv, 2**20):
                got.extend(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await stream.send(MUCH)
            assert not stream.is_torn
            stream.send_fin()
        assert got == MUCH

    @pytest.mark.parametrize(("is_hurried", "limit_s"), [(False, 30), (True, 1)])
    async def test_a_client_that_takes_nothing(
        self, pair: tuple[ByteStream, socket.socket], autojump_clock: MockClock, *, is_hurried: bool, limit_s: float
    ) -> None:
        """Has 30 s, and at the drain one; the stream is torn then."""
        del autojump_clock
        stream, _ = pair
        began = trio.current_time()
        if is_hurried:
            stream.hurry()
        with pytest.raises(TooSlow):
            await stream.send(MUCH)
        assert trio.current_time() - began == pytest.approx(limit_s, abs=0.1)
        assert stream.is_torn

    async def test_the_end_is_nothing(self, pair: tuple[ByteStream, socket.socket]) -> None:
        """After all that came before."""
        stream, client = pair
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert await stream.receive() == b"hello"
        assert await stream.receive() == b""
        await stream.wait_until_gone()

    async def test_who_resets_is_gone(self, pair: tuple[ByteStream, socket.socket]) -> None:
        """However it is noticed."""
        stream, client = pair
        reset(client)
        with pytest.raises(Gone):
            await stream.receive()
        with pytest.raises(Gone):
            await stream.send(b"hello")
        with pytest.raises(Gone):
            stream.send_fin()
