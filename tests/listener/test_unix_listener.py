"""A listener at a path, and the file there: who made it, who may connect, and when it goes."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from faultproxy.addresses import UnixAddress
from faultproxy.faults.base import ListenerMode
from faultproxy.listener.unix_listener import UnixListener
from faultproxy.rules.facts import NO_ADDRESS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p.sock"


@pytest.fixture
def listener(path: Path) -> Iterator[UnixListener]:
    listener = UnixListener(UnixAddress(str(path)))
    listener.set_mode(ListenerMode.OPEN)
    yield listener
    for sock, *_ in listener.accept(10):
        sock.close()
    listener.close()


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        raise
    return client


def is_refused(path: Path) -> bool:
    try:
        connect(path).close()
    except ConnectionRefusedError:
        return True
    return False


def test_accept(listener: UnixListener, path: Path) -> None:
    """A client is known by its process; it has no address."""
    with connect(path):
        ((accepted, *client),) = listener.accept(10)
        with accepted as sock:
            assert client == [NO_ADDRESS, os.getpid(), None]
            assert not sock.getblocking()


@pytest.mark.parametrize("umask", [0, 0o777])
def test_only_the_group_may_connect(path: Path, umask: int) -> None:
    """The file's mode is 0660, whatever the umask."""
    old = os.umask(umask)
    try:
        listener = UnixListener(UnixAddress(str(path)))
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    listener.close()


def test_modes(listener: UnixListener, path: Path) -> None:
    """While it is closed the kernel refuses, and whom it has accepted by then is not lost; silence it has none."""
    with connect(path):
        listener.set_mode(ListenerMode.CLOSED)
        assert is_refused(path)
        ((sock, *_),) = listener.accept(10)
        sock.close()
    for mode in (ListenerMode.OPEN, ListenerMode.SILENT, ListenerMode.INTERCEPTING):
        listener.set_mode(mode)
        assert listener.mode is ListenerMode.OPEN
        assert not is_refused(path)
    assert listener.why_not_intercepting == "a Unix socket has no SYNs"


def test_a_file_that_was_left_behind(path: Path) -> None:
    """It is replaced, as its socket is gone."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    listener = UnixListener(UnixAddress(str(path)))
    listener.set_mode(ListenerMode.OPEN)
    assert not is_refused(path)
    for sock, *_ in listener.accept(10):
        sock.close()
    listener.close()
    assert not path.exists()


def test_somebody_elses(path: Path) -> None:
    """A socket that somebody listens at is left alone, whatever waits in its queue; so is what is no socket."""
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        clients = []
        with suppress(BlockingIOError):
            while True:
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].setblocking(False)
                clients[-1].connect(str(path))
        assert refusal(path) == errno.EADDRINUSE
        for client in clients:
            client.close()
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(path))
        assert refusal(path) == errno.EADDRINUSE
    path.unlink()
    path.write_text("precious")
    assert refusal(path) == errno.EEXIST
    assert path.read_text() == "precious"
    assert refusal(path.parent / "none" / "p.sock") == errno.ENOENT


def refusal(path: Path) -> int | None:
    try:
        UnixListener(UnixAddress(str(path)))
    except OSError as error:
        return error.errno
    return None


def test_a_path_that_was_taken_meanwhile(listener: UnixListener, path: Path) -> None:
    """What another process put in its place is neither replaced while it lives, nor removed."""
    listener.set_mode(ListenerMode.CLOSED)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(OSError, match="Address already in use"):
            listener.set_mode(ListenerMode.OPEN)
        assert listener.mode is ListenerMode.CLOSED
        listener.close()
        assert path.exists()


def test_close(path: Path) -> None:
    """The file goes with the listener; who waited is still to be taken."""
    listener = UnixListener(UnixAddress(str(path)))
    assert is_refused(path)
    listener.set_mode(ListenerMode.OPEN)
    with connect(path):
        listener.close()
        assert not path.exists()
        ((sock, *_),) = listener.accept(10)
        sock.close()
