"""Measures every client, and writes docs/retries.md: what each does with its retries."""

import platform
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import faultproxy
from faultproxy.report.report import ClientReport
from faultproxy.report.text import sentence, waits
from tests import servers
from tests.retries.clients import RETRIERS, Retrier, undici_version
from tests.retries.measuring import http, measured

PAGE = Path(__file__).parent.parent.parent / "docs" / "retries.md"
_HEAD = """# What clients really do

Each client below asked a server through faultproxy, whose rule reset the first connections (`when: {{first: N}}, reset:`). The
table is what [the report](testing-your-retries.md) says of it: nothing is taken from a manual. "As it comes" means without a
setting. `scripts/measure-retries` measures it again and writes this page: {date}, faultproxy {version}, Python {python}, Linux.

| client | version | settings | attempts | waits before each retry, s | so it is | served in the end |
|---|---|---|---|---|---|---|
"""
_TAIL = """
- **attempts**: in the first episode, with the one that was served, if one was. Up to 20 connections were reset in an episode.
- **waits**: of the first episode. Where a client draws its waits, it had several episodes, and all of them are judged.
- **no retry** is what most clients do as they come: the first reset is the caller's. A wrapper such as tenacity, or a
  setting, changes that.
- **at once** is not a backoff. One client that comes back at once is fine when one connection breaks. Many of them, or one in
  a loop, are a load that a server that restarts does not need: see [the storm](testing-your-retries.md#many-clients).
- Waits are counted from when the proxy reset a connection until it accepted the next, so they hold what the client needed to
  notice and to connect: under a millisecond on loopback, some tens in a program that had to be started.
"""


def row(retrier: Retrier, client: ClientReport) -> str:
    """A line of the table."""
    first = client.episodes[0]
    version = (undici_version() or "—") if "undici" in retrier.settings else retrier.version.partition(" 20")[0]
    seen = waits(first.gaps_s) if first.gaps_s else "—"
    ends = {episode.end for episode in client.episodes}
    served = "yes" if ends == {"recovered"} else "no" if "recovered" not in ends else "not always"
    cells = (retrier.name, version, retrier.settings, first.attempts, seen, sentence(client.backoff), served)
    return f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in cells)} |"


def main() -> None:
    """Measure two at the same time: they mostly wait, and what comes back at once must not wait for others."""
    there = [retrier for retrier in RETRIERS if retrier.missing is None]
    for retrier in RETRIERS:
        if retrier.missing is not None:
            print(f"left out: {retrier.name}, {retrier.settings}: {retrier.missing}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {
            "http": stack.enter_context(http()),
            "redis": stack.enter_context(servers.redis(folder)),
            "postgresql": stack.enter_context(servers.postgresql()),
        }
        with ThreadPoolExecutor(2) as pool:
            clients = list(pool.map(lambda retrier: measured(retrier, ports), there))
    rows = [row(retrier, client) for retrier, client in zip(there, clients, strict=True)]
    date, python = f"{datetime.now(UTC):%Y-%m-%d}", platform.python_version()
    PAGE.write_text(
        _HEAD.format(date=date, version=faultproxy.__version__, python=python) + "\n".join(rows) + "\n" + _TAIL
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
