"""Malformed requests at the API of one running faultproxy, judged by what it answers, logs and holds afterwards.

It stays up, no bug shows, whoever asks properly meanwhile is answered, and no descriptor and no memory is left behind.
The same seed gives the same requests.
"""

import argparse
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.peers import Address, Server, connect, echo, reset
from tests.running import Faultproxy
from tests.soak.malformed import Case, case

CLIENTS = 8
MOST_WAIT_S = 5.0  # the machine may be busy
MOST_GROWTH_KIB = 16 * 1024
READS_FOR_S = 0.2
LIVE = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
BACK = b"DELETE /v1/overlay HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Attack:
    """So many malformed requests from a seed; ``statuses`` are those of the first answers, ``wrong`` what is."""

    def __init__(self, api: Address, seed: int) -> None:
        self.api = api
        self.statuses: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest_s = 0.0
        self._random = random.Random(seed)
        self._stop = threading.Event()

    def send(self, count: int) -> None:
        """Send them, and ask meanwhile whether it lives."""
        seeds = [self._random.random() for _ in range(CLIENTS)]
        senders = [threading.Thread(target=self._send, args=(random.Random(seed), count // CLIENTS)) for seed in seeds]
        bystander = threading.Thread(target=self._stand_by)
        for thread in (*senders, bystander):
            thread.start()
        for thread in senders:
            thread.join()
        self._stop.set()
        bystander.join()

    def _send(self, r: random.Random, count: int) -> None:
        for _ in range(count):
            one = case(r)
            try:
                answer = play(self.api, one)
            except OSError as error:
                self.wrong.append(f"{error!r} to {one.pieces[0][:200]!r}")
                return
            status = answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.") else answer[:20].decode("latin-1")
            self.statuses[status or "none"] += 1
            if answer and (not answer.startswith(b"HTTP/1.1 ") or b"HTTP/1.1 500" in answer or b"Traceback" in answer):
                self.wrong.append(f"{answer[:2000]!r} to {one.pieces!r:.2000}")

    def _stand_by(self) -> None:
        while not self._stop.wait(0.05):
            began = time.monotonic()
            answer = b""
            with suppress(OSError):
                answer = ask(self.api, LIVE)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if not answer.endswith(b"live\n"):
                self.wrong.append(f"/live was answered with {answer!r} after {time.monotonic() - began:.1f} s")


def play(api: Address, one: Case) -> bytes:
    """Send a request as it says; the beginning of what comes back. Raises OSError if nobody listens."""
    got = b""
    with connect(api) as client:
        client.settimeout(READS_FOR_S if one.ending == "reads" else 10.0)
        with suppress(TimeoutError, ConnectionError):
            for piece in one.pieces:
                time.sleep(one.pause_s)
                client.sendall(piece)
            if one.ending == "resets":
                reset(client)
            if one.ending in {"resets", "closes"}:
                return got
            if one.ending == "half-closes":
                client.shutdown(socket.SHUT_WR)
            while len(got) < 2**20 and (data := client.recv(2**16)):
                got += data
                client.settimeout(READS_FOR_S)  # a stream of events has no end
    return got


def ask(api: Address, request: bytes) -> bytes:
    """The whole answer to a request that ends the connection."""
    got = b""
    with connect(api) as client:
        client.sendall(request)
        while data := client.recv(2**16):
            got += data
    return got


def wait_until(is_it: Callable[[], bool]) -> bool:
    """Whether it comes true within 20 s: clients that err are read for 5 s on."""
    ends_at = time.monotonic() + 20
    while not is_it() and time.monotonic() < ends_at:
        time.sleep(0.1)
    return is_it()


def run(folder: Path, count: int, seed: int) -> list[str]:
    """Attack one, and print what was; what is wrong."""
    with Server(echo) as server:
        config = {"proxies": {"p": {"listen": "127.0.0.1:0", "upstream": server.address}}}
        with Faultproxy(folder, config, "--api", "127.0.0.1:0", may_complain=True, level="info") as proxy:
            host, _, port = proxy.wait_for("api.started")["listen"].rpartition(":")
            api = host, int(port)
            attack = Attack(api, seed)
            attack.send(count // 10 + CLIENTS)  # what is made once
            ask(api, BACK)
            descriptors, resident = proxy.descriptors(), proxy.resident_bytes()
            began = time.monotonic()
            attack.send(count)
            took_s = time.monotonic() - began
            ask(api, BACK)
            wrong = attack.wrong
            if not wait_until(lambda: proxy.descriptors() <= descriptors):
                wrong.append(f"{proxy.descriptors()} descriptors, {descriptors} before")
            grown = (proxy.resident_bytes() - resident) // 1024
            if grown > MOST_GROWTH_KIB:
                wrong.append(f"{grown} KiB more than before")
            if attack.slowest_s > MOST_WAIT_S:
                wrong.append(f"/live once took {attack.slowest_s:.1f} s")
            wrong += [str(line) for event in ("api.crashed", "connection.crashed") for line in proxy.seen(event)]
            if proxy.stop() != 0:
                wrong.append(f"it ended with {proxy.process.returncode}: {proxy.errors[-2000:]}")
    print(f"seed {seed}: {count} requests in {took_s:.0f} s; answers {dict(attack.statuses.most_common())}")
    print(f"{grown} KiB more than before; /live took at most {attack.slowest_s * 1000:.0f} ms")
    return wrong


def main() -> None:
    """Run it as the command line says; exit code 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        "scripts/soak-api", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, help="what they are drawn from (default: drawn, and printed)")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory() as folder:
        wrong = run(Path(folder), options.requests, seed)
    for text in wrong[:10]:
        print(f"WRONG: {text}")
    print(f"{len(wrong)} things are wrong" if wrong else "all is well")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
