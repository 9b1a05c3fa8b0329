"""Who listens on a port is named; who merely uses the number is not."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from faultproxy.kernel.port_owner import find_port_owner

LISTEN = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"


def owner_of(port: int) -> str | None:
    """Whoever is found, after however many steps."""
    return next(filter(None, find_port_owner(port)), None)


def myself() -> str:
    return f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listener(family: socket.AddressFamily, host: str) -> None:
    """The process that listens is named with its number, for IPv4 and IPv6."""
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]
        assert owner_of(port) == myself()
    assert owner_of(port) != myself()  # another process may have the port by now


def test_another_process() -> None:
    """So is another process."""
    child = subprocess.Popen([sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        found = owner_of(int(child.stdout.readline()))
        child.communicate("\n")
    assert found is not None
    assert found.endswith(f" (pid {child.pid})")


def test_no_listener() -> None:
    """A socket that is only bound, and the far end of a connection, hold no port."""
    with socket.socket() as bound, socket.create_server(("127.0.0.1", 0)) as listener:
        bound.bind(("127.0.0.1", 0))
        assert owner_of(bound.getsockname()[1]) is None
        with socket.create_connection(listener.getsockname()) as client:
            assert owner_of(client.getsockname()[1]) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"\xff\xfe", r"\xff\xfe"),
        ("näm".encode(), "näm"),
        ("aaaaaaaaaaaaaaä".encode(), r"aaaaaaaaaaaaaa\xc3"),  # cut within the character
        (b"\x1b[31mred\n", r"\x1b[31mred\n"),
        ("\u202ereversed".encode(), r"\u202erevers" + "ed"),
    ],
)
def test_a_name_is_what_a_stranger_chose(name: bytes, shown: str) -> None:
    """Bytes that are no text, and what would move a terminal's cursor, are shown escaped."""
    program = f"open('/proc/self/comm', 'wb').write({name!r}); {LISTEN}"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        found = owner_of(int(child.stdout.readline()))
        child.communicate("\n")
    assert found == f"{shown} (pid {child.pid})"


def test_the_search_can_be_given_up() -> None:
    """However many descriptors the processes of this host have, it goes on in steps; the caller decides how many."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        for _ in range(1500):
            stack.enter_context(socket.socket())
        found = list(find_port_owner(listener.getsockname()[1]))
    assert found[-1] == myself()
    assert len(found) > 2
    assert set(found[:-1]) == {None}
