"""Who listens on a port is named; who merely uses the number is not."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from faultproxy.kernel.holder import holder

LISTEN = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"


def myself() -> str:
    return f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listener(family: socket.AddressFamily, host: str) -> None:
    """The process that listens is named with its number, for IPv4 and IPv6."""
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]
        assert holder(port) == myself()
    assert holder(port) != myself()  # another process may have the port by now


def test_another_process() -> None:
    """So is another process."""
    child = subprocess.Popen([sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        found = holder(int(child.stdout.readline()))
        child.communicate("\n")
    assert found is not None
    assert found.endswith(f" (pid {child.pid})")


def test_no_listener() -> None:
    """A socket that is only bound, and the far end of a connection, hold no port."""
    with socket.socket() as bound, socket.create_server(("127.0.0.1", 0)) as listener:
        bound.bind(("127.0.0.1", 0))
        assert holder(bound.getsockname()[1]) is None
        with socket.create_connection(listener.getsockname()) as client:
            assert holder(client.getsockname()[1]) is None
