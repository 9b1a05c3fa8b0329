"""Whom a listening socket gives, and when the poller is to report that clients wait."""

import errno
import socket
from collections.abc import Callable, Iterator

import pytest

from faultproxy.kernel import sockets
from faultproxy.listener.limits import OutOfResources
from faultproxy.listener.listening_socket import Accepted, ListeningSocket


class Plain(ListeningSocket):
    """Gives those who wait, of whom no SYN is known."""

    def clients(self, most: int) -> Iterator[Accepted]:
        return ((*client, None) for client in sockets.accept_waiting(self.sock, most))


class FakePoller:
    """Notes what it watches."""

    def __init__(self) -> None:
        self.watched: list[object] = []

    def listen(self, sock: socket.socket, _: Callable[[], None]) -> socket.socket:
        self.watched.append(sock)
        return sock

    def ignore(self, sock: object) -> None:
        self.watched.remove(sock)


@pytest.fixture
def listening() -> Iterator[Plain]:
    listening = Plain(sockets.bind("127.0.0.1", 0))
    listening.listen()
    yield listening
    listening.sock.close()


def test_the_poller(listening: Plain) -> None:
    """It watches while the socket is attached, listens, and is not paused."""
    poller = FakePoller()
    listening.attach(poller, lambda: None)  # type: ignore[arg-type]  # all that it needs of one
    assert len(poller.watched) == 1
    listening.pause()
    assert not poller.watched
    listening.stop_listening()
    listening.resume()
    assert not poller.watched
    listening.listen()
    assert len(poller.watched) == 1
    listening.detach()
    assert not poller.watched


def test_who_waited_comes_first(listening: Plain) -> None:
    """However few are asked for."""
    clients = [socket.create_connection(listening.sock.getsockname()) for _ in range(3)]
    listening.drain_queue(2)
    ports = []
    for most in (0, 1):
        for sock, _, port, _ in listening.accept(most):
            ports.append(port)
            sock.close()
    assert ports == [client.getsockname()[1] for client in clients]
    for client in clients:
        client.close()


def test_out_of_resources(listening: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot be accepted waits on, and is no error when the queue is drained."""

    def none_left(*_: object) -> Iterator[None]:
        raise OSError(errno.EMFILE, "none left")
        yield

    with socket.create_connection(listening.sock.getsockname()):
        with monkeypatch.context() as patch:
            patch.setattr(sockets, "accept_waiting", none_left)
            listening.drain_queue()
            with pytest.raises(OutOfResources, match="EMFILE"):
                list(listening.accept(10))
        ((sock, *_),) = listening.accept(10)
        sock.close()
