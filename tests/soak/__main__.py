"""Random traffic, rules, edits and attacks against one running faultproxy, judged by its log and what clients saw.

Each client knows what it must receive. What it saw is compared with what the log says of its connection: a byte that is
wrong, missing or too many is reported, an error that no fault explains, a reset at the wrong byte, a connection that the
log does not know, opens or closes twice or never ends. Beside it: a bystander's round trips, memory, descriptors,
threads, tasks, and the end. All is on loopback. The same seed gives the same rules and edits.
"""

import argparse
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from tests.soak.attacks import ATTACKS
from tests.soak.bystander import Figures
from tests.soak.edits import EDITS
from tests.soak.running import Running, Usage
from tests.soak.traffic import Client, judge

CLIENTS = 12
USED = ["plain"] * 6 + ["named"] * 3 + ["unix"] * 3 + ["moves"] * 2 + ["intercepting", "full", "dead", "hangs-1"]
MOST_WAIT_MS = 5000.0  # generous: what once went wrong took 10 s and more, and the machine may be busy
MOST_LEFT = 2  # the last that was called is not collected yet
MOST_GROWTH_KIB = 64 * 1024


class Soak:
    """One run, from a seed, for so many seconds."""

    def __init__(self, running: Running, seed: int, seconds: float, attacks: Collection[str]) -> None:
        self.running = running
        self.seed = seed
        self.ends_at = time.monotonic() + seconds
        self.outcomes: Counter[str] = Counter()
        self.edits: Counter[str] = Counter()
        self.attacks = Counter(dict.fromkeys(attacks, 0))
        self.waits: Figures = {}

    def run(self) -> None:
        """Until it is over, or something is wrong."""
        running, r = self.running, random.Random(self.seed)
        time.sleep(1)  # its own start has left garbage
        before = running.usage()
        running.bystander.begin(running.address("bystander"))
        workers = [threading.Thread(target=self.use_proxies, args=(random.Random(r.random()),)) for _ in range(CLIENTS)]
        workers.append(threading.Thread(target=self.attack, args=(random.Random(r.random()),)))
        for worker in workers:
            worker.start()
        settled = self.edit(r)
        running.stop.set()
        for worker in workers:
            worker.join()
        self.judge_waits(running.bystander.end())
        if running.process.poll() is None:
            running.write(running.config(None))
            running.process.send_signal(signal.SIGHUP)
            self.compare(before, settled)
        running.end(*r.choice(((signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM))))
        print(f"at the start {before}\nat half time {settled}")

    def use_proxies(self, r: random.Random) -> None:
        """Use one proxy after the other."""
        running = self.running
        while not running.stop.is_set():
            name = r.choice(USED)
            if name not in running.log.addresses:
                continue
            client = Client(r)
            client.talk_to(running.address(name))
            self.outcomes[client.outcome] += 1
            wrong = judge(name, client, running.log)
            if wrong is not None:
                running.wrong.append(wrong)

    def attack(self, r: random.Random) -> None:
        """One attack after the other, in an order that changes."""
        while not self.running.stop.is_set():
            for name in r.sample(list(self.attacks), len(self.attacks)):
                try:
                    ATTACKS[name](self.running, r)
                except OSError as error:
                    self.running.wrong.append(f"{name}: {error!r}")
                self.attacks[name] += 1
                if self.running.stop.wait(r.random()):
                    return

    def edit(self, r: random.Random) -> Usage:
        """Edit the file until the time is over; what the process uses at half time."""
        running, settled = self.running, None
        half_time = (time.monotonic() + self.ends_at) / 2
        kinds = [edit for edit, weight in EDITS.items() for _ in range(weight)]
        coming = list(EDITS)  # each at least once
        while time.monotonic() < self.ends_at and running.process.poll() is None and not running.wrong:
            edit = coming.pop() if coming and r.random() < 0.3 else r.choice(kinds)
            edit(running, r)
            self.edits[edit.__name__] += 1
            if settled is None and time.monotonic() > half_time:
                settled = running.usage()
            time.sleep(r.choice((0.05, 0.3, 0.8)))
        return settled or running.usage()

    def judge_waits(self, waits: Figures | None) -> None:
        """What the bystander had to wait."""
        self.running.check(waits is not None, "the bystander did not get its answers")
        self.waits = waits or {}
        for what, times in self.waits.items():
            self.running.check(times["slowest"] < MOST_WAIT_MS, f"the bystander's {what} once took that long: {times}")

    def compare(self, before: Usage, settled: Usage) -> None:
        """With everybody gone and the first rules again, nothing is left of what was."""
        running, counts = self.running, self.running.log.counts

        def is_as_before() -> bool:
            now = running.usage()
            return all(now[what] <= before[what] + MOST_LEFT for what in before if what != "resident_kib")

        running.check(
            running.wait_until(lambda: counts["connection.opened"] == counts["connection.closed"]),
            f"{counts['connection.opened']} connections were opened, and {counts['connection.closed']} closed",
        )
        running.check(running.wait_until(is_as_before), f"something is left: {before}, and then {running.usage()}")
        grown = running.resident_kib() - settled["resident_kib"]
        running.check(grown < MOST_GROWTH_KIB, f"{grown} KiB more than at half time")

    def report(self) -> bool:
        """Print what was; whether all is well."""
        counts, wrong = self.running.log.counts, self.running.wrong + self.running.log.wrong
        print(f"seed {self.seed}: {counts['connection.opened']} connections")
        print(f"clients saw: {dict(self.outcomes.most_common())}")
        print(f"faults: { {key[6:]: count for key, count in sorted(counts.items()) if key.startswith('fault ')} }")
        print(f"edits: {dict(self.edits)}; {counts['config.loaded']} loaded, {counts['config.rejected']} rejected")
        print(f"attacks: {dict(self.attacks)}")
        for what, times in self.waits.items():
            print(f"the bystander's {what}, in ms: {times}")
        for text in wrong[:10]:
            print(f"WRONG: {text}")
        print(f"{len(wrong)} things are wrong" if wrong else "all is well")
        return not wrong


def main() -> None:
    """Run it as the command line says; exit code 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        "scripts/soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, help="what rules and edits are drawn from (default: drawn, and printed)")
    parser.add_argument("--attack", choices=ATTACKS, action="append", help="only this one (default: all)")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    with Running(Path(sys.executable)) as running:
        soak = Soak(running, seed, options.minutes * 60, options.attack or ATTACKS)
        soak.run()
        all_is_well = soak.report()
    raise SystemExit(not all_is_well)


if __name__ == "__main__":
    main()
