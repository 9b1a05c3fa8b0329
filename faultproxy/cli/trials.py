"""demo and doctor: every fault, tried on this host."""

import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import click
import trio
from rich.console import Console

from faultproxy.cli.output import COULD_NOT_RUN
from faultproxy.ctl.tables import console
from faultproxy.tools.demo.page import run_page
from faultproxy.tools.demo.table import run_demo
from faultproxy.tools.doctor import run_doctor

_WIDTH, _DEMO_WIDTH = 120, 110  # the demo is as wide as a screenshot


@click.command
@click.option("--page", is_flag=True, help="Show them again and again, with a page to look at, until Ctrl-C.")
def demo(*, page: bool) -> None:
    """Show every fault once, with nothing to set up: for each a proxy, a real client, and what the client caught."""
    if not page:
        _show(run_demo, console(_DEMO_WIDTH))
        return
    try:
        show = partial(run_page, lambda url: click.echo(f"{url} shows what happens. Ctrl-C ends it."))
        trio.run(_until_interrupted, show)
    except* KeyboardInterrupt:  # before anybody waited for it, or once more
        pass


@click.command
def doctor() -> None:
    """Try every fault on this host: which are exact, which are degraded and why, and what would make them exact."""
    _show(run_doctor, console(_WIDTH))


async def _until_interrupted(play: Callable[[], Awaitable[object]]) -> None:
    """Run it until SIGINT, waited for here: as KeyboardInterrupt it would be raised wherever it meets the program."""
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play)
            await anext(signals)
            nursery.cancel_scope.cancel()


def _show(play: Callable[[Console], Awaitable[bool]], output: Console) -> None:
    is_right = False
    try:
        is_right = trio.run(play, output)
    except* KeyboardInterrupt:
        click.echo("Aborted!", err=True)
    if not is_right:
        sys.exit(COULD_NOT_RUN)
