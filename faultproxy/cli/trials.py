"""demo and doctor: every fault, tried on this host."""

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar

import click
import trio
from rich.console import Console

from faultproxy.cli.output import COULD_NOT_RUN
from faultproxy.ctl.tables import console
from faultproxy.tools.demo.page import run_page
from faultproxy.tools.demo.table import run_demo
from faultproxy.tools.doctor import run_doctor

_WIDTH, _DEMO_WIDTH = 120, 110  # the demo is as wide as a screenshot

_T = TypeVar("_T")


@click.command
@click.option("--page", is_flag=True, help="Show them again and again, with a page to look at, until Ctrl-C.")
def demo(*, page: bool) -> None:
    """Show every fault once, with nothing to set up: for each a proxy, a real client, and what the client caught."""
    if page:
        _run(partial(run_page, lambda url: click.echo(f"{url} shows what happens. Ctrl-C ends it.")))
    else:
        _show(run_demo, console(_DEMO_WIDTH))


@click.command
def doctor() -> None:
    """Try every fault on this host: which are exact, which are degraded and why, and what would make them exact."""
    _show(run_doctor, console(_WIDTH))


def _show(play: Callable[[Console], Awaitable[bool]], output: Console) -> None:
    is_right = _run(partial(play, output))
    if is_right is None:
        click.echo("Aborted!", err=True)
    if not is_right:
        sys.exit(COULD_NOT_RUN)


def _run(play: Callable[[], Awaitable[_T]]) -> _T | None:
    """What it returns; None if SIGINT came before.

    SIGINT is waited for: a KeyboardInterrupt may be raised in a function that pydantic calls, and is lost there.
    """
    result: _T | None = None

    async def run() -> None:
        nonlocal result
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_at_signal, nursery.cancel_scope, signals)
                result = await play()
                nursery.cancel_scope.cancel()

    try:
        trio.run(run)
    except* KeyboardInterrupt:  # before anybody waited for it
        pass
    return result


async def _cancel_at_signal(scope: trio.CancelScope, signals: AsyncIterator[int]) -> None:
    await anext(signals)
    scope.cancel()
