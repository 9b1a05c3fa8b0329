"""A client and a server that no rule touches and no edit changes: what they wait, everybody waits.

They are a process of their own, which measures nothing but the proxy. It asks one byte on an old connection and, less
often, on a new one.
"""

import json
import select
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Self

from tests.peers import PATIENCE_S, Address, Server, echo

_ROUND_TRIPS_PER_CONNECT = 10
_PAUSE_S = 0.01

Figures = dict[str, dict[str, float]]


class Bystander:
    """The process. ``upstream`` is its server, at a name."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            command = [sys.executable, "-m", "tests.soak.bystander"]
            self._process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(self._process.kill)
            assert self._process.stdout is not None
            self.upstream = f"localhost:{int(self._process.stdout.readline())}"
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, proxy: Address) -> None:
        """Go through this proxy from now on."""
        assert self._process.stdin is not None
        print(*proxy, file=self._process.stdin, flush=True)

    def end(self) -> Figures | None:
        """How long it took, in milliseconds; None if there was no answer, or a wrong one."""
        reported, _ = self._process.communicate(timeout=2 * PATIENCE_S)
        return None if self._process.returncode else json.loads(reported)


def main() -> None:
    """Until standard input ends; then print the figures."""
    round_trips, connects = [], []
    with Server(echo) as server:
        print(server.address.rpartition(":")[2], flush=True)
        host, port = sys.stdin.readline().split()
        address = host, int(port)
        with socket.create_connection(address, PATIENCE_S) as old:
            while not select.select([sys.stdin], [], [], _PAUSE_S)[0]:
                round_trips.append(_ask(old))
                if len(round_trips) % _ROUND_TRIPS_PER_CONNECT == 0:
                    began = time.monotonic()
                    with socket.create_connection(address, PATIENCE_S) as new:
                        _ask(new)
                        connects.append(time.monotonic() - began)
    print(json.dumps({"round trip": _figures(round_trips), "new connection": _figures(connects)}))


def _ask(sock: socket.socket) -> float:
    """How long it takes until the answer is here."""
    began = time.monotonic()
    sock.sendall(b"?")
    assert sock.recv(2) == b"?"
    return time.monotonic() - began


def _figures(times_s: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(times_s)
    shares = {"median": 0.5, "p99": 0.99, "slowest": 1.0}
    return {name: round(ordered[int((len(ordered) - 1) * share)] * 1000, 1) for name, share in shares.items()}


if __name__ == "__main__":
    main()
