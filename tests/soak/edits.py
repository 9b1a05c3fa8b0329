"""What is done to the file, a function each. All take what runs, and a random source."""

import random
import signal
import time
from collections.abc import Callable

from tests.soak.running import Running

BAD_FILES = ("", "proxies: [", "proxies: {p: {listen: 5}}", "a: " + "[" * 5000, "\ufffe\x01", "proxies: {}\nsede: 3\n")
_RESTLESS_S, _RESTLESS_EVERY_S = 3.0, 0.1

Edit = Callable[[Running, random.Random], None]


def other_rules(running: Running, r: random.Random) -> None:
    """New rules, noticed by themselves or asked for."""
    running.write(running.config(r), in_place=r.random() < 0.5)
    if r.random() < 0.7:
        running.process.send_signal(signal.SIGHUP)


def bad_file(running: Running, r: random.Random) -> None:
    """Rejected; what runs goes on."""
    running.write(r.choice(BAD_FILES))


def taken_port(running: Running, r: random.Random) -> None:
    """A port that a stranger has, whose name is no UTF-8, and would clear the screen."""
    rejected = running.log.counts["config.rejected"]
    settings = running.config(r)
    settings["proxies"]["stranger"] = {"listen": running.taken, "upstream": running.upstreams["plain"]}
    running.write(settings)
    running.process.send_signal(signal.SIGHUP)
    running.check(running.log.wait_for("config.rejected", rejected), "a port was taken, and nobody said so")


def hanging_listen(running: Running, r: random.Random) -> None:
    """An address to listen at whose name hangs: the edit waits, and nobody else."""
    settings = running.config(r)
    settings["proxies"]["named so"] = {"listen": "listen.hang.test:0", "upstream": running.upstreams["plain"]}
    running.write(settings)


def many_at_once(running: Running, r: random.Random) -> None:
    """Several files and signals, faster than they can be obeyed."""
    for _ in range(5):
        running.write(running.config(r), in_place=r.random() < 0.5)
        for _ in range(r.choice((0, 1, 50))):
            running.process.send_signal(r.choice((signal.SIGHUP, signal.SIGUSR1)))


def restless(running: Running, r: random.Random) -> None:
    """A file that never comes to rest: it is loaded as it is."""
    loaded = running.log.counts["config.loaded"]
    until = time.monotonic() + _RESTLESS_S
    while time.monotonic() < until and not running.stop.is_set():
        running.write(running.config(r), in_place=False)
        time.sleep(_RESTLESS_EVERY_S)
    running.check(running.log.wait_for("config.loaded", loaded), "a file that changed all the time was not loaded")


EDITS: dict[Edit, int] = {
    other_rules: 20, bad_file: 3, many_at_once: 2, taken_port: 1, hanging_listen: 1, restless: 1
}  # fmt: skip
"""How often each is drawn, beside the others."""
