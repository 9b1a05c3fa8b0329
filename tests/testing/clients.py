"""What a client of a proxy in a test gets, rules for it, and what is left behind."""

import os
import threading
from time import monotonic, sleep
from typing import Any

import faultproxy
from tests.peers import PATIENCE_S, connect, read_exactly

Rule = dict[str, Any]

RESET: Rule = {"name": "cut", "reset": None}
REFUSE: Rule = {"name": "down", "refuse": None}


def ask(proxy: faultproxy.Proxy | faultproxy.AsyncProxy, data: bytes = b"hi") -> str | bytes:
    """What a client gets that sends and reads as much: the bytes, or how that failed."""
    try:
        with connect((proxy.host, proxy.port)) as client:
            client.sendall(data)
            return read_exactly(client, len(data))
    except OSError as error:
        return type(error).__name__


def left_behind() -> tuple[int, set[threading.Thread]]:
    """How many descriptors are open, and which threads run, once the echo server has seen its last client go."""
    deadline = monotonic() + PATIENCE_S
    while any("_serve" in thread.name for thread in threading.enumerate()) and monotonic() < deadline:
        sleep(0.001)
    return len(os.listdir("/proc/self/fd")), set(threading.enumerate())


def assert_nothing_left(before: tuple[int, set[threading.Thread]]) -> None:
    """No thread or descriptor but those of before; no thread of the proxy even at this moment."""
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("faultproxy")]
    assert left_behind() == before
