"""A connection that has come back to its proxy is known by the address from which it was dialled."""

import errno
import gc
import socket

import pytest

from faultproxy.upstream.circles import Circles
from tests.peers import Upstream, connect


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_who_was_dialled_from_here(host: str) -> None:
    """The listener's client is the one that was dialled, as long as the dialler's socket is open."""
    circles = Circles()
    with Upstream(host) as listener, connect((host, listener.port)) as sock, listener.accept() as accepted:
        circles.ports = frozenset({listener.port})
        client = accepted.getpeername()[:2]
        assert circles.through(*client) == ()
        note = circles.enter("b", listener.port, ("a",))
        assert note is not None
        note(sock, (host, listener.port))
        assert circles.through(*client) == ("a", "b")
        assert circles.through(client[0], client[1] - 1) == ()
        sock.close()
        assert circles.through(*client) == ()


def test_who_was_dialled_by_a_mapped_address() -> None:
    """::ffff:127.0.0.1 is 127.0.0.1, to whoever accepts."""
    circles = Circles()
    with Upstream() as listener, socket.socket(socket.AF_INET6) as sock:
        sock.connect(("::ffff:127.0.0.1", listener.port))
        with listener.accept() as accepted:
            circles.ports = frozenset({listener.port})
            note = circles.enter("a", listener.port, ())
            assert note is not None
            note(sock, ("::ffff:127.0.0.1", listener.port))
            assert circles.through(*accepted.getpeername()) == ("a",)


def test_who_dialled_somebody_else() -> None:
    """A port where no proxy listens, and another host that uses the same, are not remembered."""
    circles = Circles()
    with Upstream() as listener, connect(("127.0.0.1", listener.port)) as sock:
        assert circles.enter("a", listener.port, ()) is None
        circles.ports = frozenset({listener.port})
        note = circles.enter("a", listener.port, ())
        assert note is not None
        note(sock, ("192.0.2.1", listener.port))
        assert circles.through(*sock.getsockname()) == ()


def test_what_a_firewall_may_lead_back() -> None:
    """It is remembered wherever it goes, as the address from which it was dialled stays."""
    circles = Circles()
    with Upstream() as listener, connect(("127.0.0.1", listener.port)) as sock:
        note = circles.enter("a", 5432, (), may_be_led_back=True)
        assert note is not None
        note(sock, ("192.0.2.1", 5432))
        assert circles.through(*sock.getsockname()) == ("a",)


def test_what_is_over_is_forgotten() -> None:
    """However many connections there were, no more are remembered than are open, and some."""
    circles = Circles()
    with Upstream() as listener:
        circles.ports = frozenset({listener.port})
        note = circles.enter("a", listener.port, ())
        assert note is not None
        for _ in range(3000):
            with connect(("127.0.0.1", listener.port)) as sock, listener.accept():
                note(sock, ("127.0.0.1", listener.port))
        gc.collect()
        assert len(circles._dialled) <= 1001


def test_the_error() -> None:
    """ELOOP, with the way that it took; a chain of proxies is none."""
    circles = Circles()
    circles.enter("c", 1, ("a", "b"))
    with pytest.raises(OSError, match="it dials itself: a -> b -> a") as circle:
        circles.enter("a", 1, ("a", "b"))
    assert circle.value.errno == errno.ELOOP
