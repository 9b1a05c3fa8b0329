"""Nothing is left behind by connections that ended badly: no descriptor, no task, no memory."""

import gc
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

import faultproxy
from faultproxy.connection.connection import Connection
from faultproxy.relay import Pipe, Relay
from tests.peers import (
    PATIENCE_S,
    Background,
    Server,
    connect,
    connect_and_read,
    echo,
    pattern,
    read_exactly,
    read_to_the_end,
    reset,
)
from tests.running import Faultproxy, Settings, one

DOWNLOADS = 250
THREADS = 4
WARM_UP = 100
MIB = 2**20
DATA = pattern(MIB)


def leaves_nothing(folder: Path, *rules: Settings, aborts: bool) -> None:
    """1,000 downloads that end early, by the client's reset or by the rules, leave the process as it was."""
    with (
        Server(lambda sock: sock.sendall(DATA)) as server,
        Faultproxy(folder, one(server.address, *rules)) as proxy,
    ):
        address = proxy.address("p")

        def download(count: int) -> None:
            for _ in range(count):
                if aborts:
                    client = connect(address)
                    read_exactly(client, 1000)
                    reset(client)
                else:
                    assert connect_and_read(address) == (DATA[:5000], "ECONNRESET")

        proxy.wait_for("proxy.started")
        idle = proxy.descriptors()
        download(WARM_UP)
        proxy.wait_for("connection.closed", nth=WARM_UP)
        before = proxy.resident_bytes()
        with ExitStack() as stack:
            for _ in range(THREADS):
                stack.enter_context(Background(lambda: download(DOWNLOADS)))
        count = WARM_UP + THREADS * DOWNLOADS
        proxy.wait_for("connection.closed", nth=count)
        assert len(proxy.seen("connection.opened")) == count
        assert proxy.descriptors() == idle
        assert proxy.resident_bytes() - before < 2 * MIB
        assert proxy.stop() == 0
        assert proxy.wait_for("proxy.draining")["open"] == 0


def test_aborted_downloads_leave_nothing(tmp_path: Path) -> None:
    """1,000 clients that reset in the middle of a megabyte cost no descriptor, no task and no megabyte."""
    leaves_nothing(tmp_path, aborts=True)


def test_injected_resets_leave_nothing(tmp_path: Path) -> None:
    """1,000 downloads that a rule cuts off neither."""
    leaves_nothing(tmp_path, {"name": "cut", "reset": {"after": "5000B"}}, aborts=False)


def test_failed_dials_leave_nothing(tmp_path: Path) -> None:
    """Clients of an upstream that refuses are gone without a trace."""
    with Faultproxy(tmp_path, one(f"unix:{tmp_path}/none.sock")) as proxy:
        address = proxy.address("p")
        idle = proxy.descriptors()
        for _ in range(300):
            assert connect_and_read(address) == (b"", "ECONNRESET")
        proxy.wait_for("connection.closed", nth=300, ended_by="upstream_error")
        assert proxy.descriptors() == idle


def test_half_closed_connections_are_let_go(tmp_path: Path) -> None:
    """A connection of which both directions have ended takes no descriptor, whoever ended first."""
    with Server(lambda sock: sock.sendall(b"bye")) as server, Faultproxy(tmp_path, one(server.address)) as proxy:
        address = proxy.address("p")
        idle = proxy.descriptors()
        for _ in range(300):
            with connect(address) as client:
                assert read_to_the_end(client) == (b"bye", "EOF")
        proxy.wait_for("connection.closed", nth=300)
        assert proxy.descriptors() == idle


@pytest.mark.parametrize("ends_with", ["FIN", "RST"])
def test_connections_are_freed_without_a_search(ends_with: str) -> None:
    """What a connection was made of refers to itself nowhere once it is over: no garbage is left to be searched for.

    Of the last, something may remain until the poller calls the next.
    """

    def left() -> int:
        return sum(isinstance(one, Connection | Relay | Pipe) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        with Server(echo) as server, faultproxy.Proxy(server.address) as proxy:
            for _ in range(10):
                with connect((proxy.host, proxy.port)) as client:
                    client.sendall(b"hi")
                    assert read_exactly(client, 2) == b"hi"
                    if ends_with == "RST":
                        reset(client)
            give_up_at = monotonic() + PATIENCE_S
            while left() > 4 and monotonic() < give_up_at:
                sleep(0.01)
            assert left() <= 4
    finally:
        gc.enable()
