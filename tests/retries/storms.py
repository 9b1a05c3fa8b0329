"""Fifty real clients behind an outage of five seconds, without jitter and with it; draws docs/storm-*.svg."""

import json
import random
import select
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from faultproxy.report.log_reader import LogReader
from faultproxy.report.storms import Storm
from faultproxy.report.svg import timeline
from faultproxy.report.text import storm_sentences
from tests.peers import Server, echo

DOCS = Path(__file__).parent.parent.parent / "docs"
CLIENTS = 50
BEFORE_S, OUTAGE_S, AFTER_S = 5.0, 5.0, 7.0
_FIRST_S, _LONGEST_S = 0.1, 3.2
_LIFE_S, _ASKS_EVERY_S = 2.0, 0.2


def client(number: int, port: int, until_s: float, *, jitter: bool) -> None:
    """Use a connection for about two seconds, then another, from an address of its own; try again when one breaks."""
    draw = random.Random(number)
    sleep(draw.uniform(0, 2 * _LIFE_S))
    failures = 0
    while monotonic() < until_s:
        if works(number, port, draw.uniform(0.5, 1.5) * _LIFE_S):
            failures = 0
            continue
        wait_s = min(_LONGEST_S, _FIRST_S * 2**failures)
        failures += 1
        sleep(draw.uniform(0, wait_s) if jitter else wait_s)


def works(number: int, port: int, life_s: float) -> bool:
    """Whether a connection holds so long, with a request every fifth of a second; False once it has broken."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5, (f"127.0.1.{number + 1}", 0)) as sock:
        end_s = monotonic() + life_s
        while monotonic() < end_s:
            sock.sendall(b"?")
            if not sock.recv(1):
                return False
            select.select([sock], [], [], _ASKS_EVERY_S)  # a reset is noticed at once
        return True
    return False


def played(*, jitter: bool) -> Storm:
    """What the report says of the outage."""
    window = {"from": f"{BEFORE_S}s", "to": f"{BEFORE_S + OUTAGE_S}s"}
    # Reset, not refused: where the kernel refuses for a closed listener, nobody sees the attempts.
    rule = {"name": "down", "live": True, "when": {"window": window}, "reset": None}
    with Server(echo) as server, tempfile.TemporaryDirectory() as folder:
        proxies = {"shop": {"listen": "127.0.0.1:0", "upstream": server.address, "rules": [rule]}}
        file = Path(folder, "shop.yaml")
        file.write_text(json.dumps({"proxies": proxies}))
        command = [sys.executable, "-m", "faultproxy", "run", str(file), "--log-level", "debug"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            port = int(json.loads(first)["listen"].rpartition(":")[2])
            until_s = monotonic() + BEFORE_S + OUTAGE_S + AFTER_S
            threads = [
                threading.Thread(target=client, args=(number, port, until_s), kwargs={"jitter": jitter})
                for number in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            stop = threading.Timer(until_s + 4 - monotonic(), process.terminate)
            stop.start()
            reader = LogReader()
            reader.read([first])
            reader.read(process.stdout)
            for thread in threads:
                thread.join()
    (proxy,) = reader.report().proxies
    return max(proxy.storms, key=lambda storm: storm.attempts)


def main() -> None:
    """Play both, on one scale."""
    storms = {jitter: played(jitter=jitter) for jitter in (False, True)}
    top = max(rate for storm in storms.values() for rate in storm.rates)
    for jitter, storm in storms.items():
        name = "with" if jitter else "without"
        title = f"{CLIENTS} clients, an outage of {OUTAGE_S:g} s, exponential backoff {name} jitter"
        (DOCS / f"storm-{name}-jitter.svg").write_text(
            timeline(storm, title, top=top, from_s=BEFORE_S - 3, to_s=BEFORE_S + OUTAGE_S + 4) + "\n"
        )
        print(f"{name} jitter:", *storm_sentences(storm), sep="\n  ")


if __name__ == "__main__":
    main()
