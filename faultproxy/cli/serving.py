"""The daemon as a command: its log, the signals, and what ends it."""

import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from faultproxy import daemon
from faultproxy.addresses import Address
from faultproxy.cli.output import BAD_CONFIG, COULD_NOT_RUN, complain, fail
from faultproxy.config.loader import ConfigError
from faultproxy.config.schema import Config
from faultproxy.control.http.metrics import Scraping
from faultproxy.control.http.security import Access
from faultproxy.control.manager import CommandLine, Manager
from faultproxy.events.bus import Bus
from faultproxy.events.log import Log, LogWriter
from faultproxy.events.stats import Stats
from faultproxy.failures import CannotListen
from faultproxy.report.recorder import Recorder

ALLOWED_HOSTS = "FAULTPROXY_ALLOWED_HOSTS"  # of a container whose command is another's to choose; apart by spaces
_FLUSH_S = 1.0
_ECHO_S = 0.1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_GARBAGE = 10_000  # containers made and not given up, before those are searched for cycles; Python's own is 700


def serve(
    config: Config,
    overrides: CommandLine,
    *,
    api: Address | None,
    access: Access,
    file: Path | None = None,
    announce: Callable[[str], object] = lambda _: None,
    recorder: Recorder | None = None,
    prepare: Callable[[Manager], Awaitable[None]] | None = None,
    extra_metrics: frozenset[str] = frozenset(),
) -> Manager:
    """Run the daemon until it is told to end; returns what has run. ``daemon.run`` says what the options mean."""
    writer = LogWriter(complain=complain)
    options, stats = overrides.log(config.log), Stats()
    log = Log(writer, stats, options.format, options.level)
    bus = Bus(stats, log, recorder) if recorder is not None else Bus(stats, log)
    manager = Manager(config, bus, overrides, lambda options: log.configure(options.format, options.level))
    # What is loaded by now stays: it need not be searched for garbage while bytes wait.
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    try:
        scraping = Scraping(lambda: writer.dropped, extra_metrics)
        prepared = partial(prepare, manager) if prepare is not None else None
        how = {"access": access, "announce": announce, "prepare": prepared, "scraping": scraping}
        trio.run(partial(_run, manager, stats, file=file, api=api, **how))
    except CannotListen as error:
        fail(str(error), COULD_NOT_RUN)
    except ConfigError as error:
        fail("\n".join(error.errors), BAD_CONFIG)
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the log's last lines are still to be written
        writer.close(_FLUSH_S)
    return manager


async def _run(manager: Manager, stats: Stats, **options: Any) -> None:
    early: list[int] = []  # until somebody listens; and what comes when nobody listens any more changes nothing
    for number in _SIGNALS:
        signal.signal(number, lambda came, _: early.append(came))
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        for came in tuple(early):
            signal.raise_signal(came)
        await daemon.run(manager, stats, _without_echoes(signals), **options)


async def _without_echoes(signals: AsyncIterator[int]) -> AsyncIterator[int]:
    """All SIGHUPs and SIGUSR1s, and of the signals that end it those that come 100 ms or more after the one before.

    Who presses Ctrl-C once may send two: the terminal's, and the one that a wrapper forwards.
    """
    meant_at = float("-inf")
    async for number in signals:
        now = trio.current_time()
        if number in {signal.SIGHUP, signal.SIGUSR1}:
            yield number
        elif now >= meant_at + _ECHO_S:
            meant_at = now
            yield number
