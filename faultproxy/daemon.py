"""The daemon: the tree of tasks, signals, and the end of it all."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from signal import SIGHUP, SIGUSR1

import trio

from faultproxy.addresses import Address
from faultproxy.control.file import WatchedFile
from faultproxy.control.http import api as http_api
from faultproxy.control.manager import Manager, memory_limit
from faultproxy.events.stats import Stats
from faultproxy.listener.limits import ConnectionLimit
from faultproxy.proxy.settings import Services
from faultproxy.relay import Poller
from faultproxy.upstream.circles import Circles


async def run(
    manager: Manager,
    stats: Stats,
    signals: AsyncIterator[int],
    *,
    file: Path | None = None,
    api: Address | None = None,
    ready: Callable[[], object] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; another one ends it at once.

    ``file`` is followed, if given; SIGHUP looks at it again. ``api`` is where the API listens, if it is asked for.
    SIGUSR1 reports how each proxy stands. ``ready`` is called once clients may come. Raises CannotListen at the start.
    """
    with Poller(memory_limit(manager.config)) as poller:
        limit = ConnectionLimit()
        await manager.listen(poller)
        api_listener = await http_api.listen(api) if api is not None else None
        async with trio.open_nursery() as background:
            async with trio.open_nursery() as connections:
                manager.start(Services(poller, manager.bus, stats, limit, connections, Circles()))
                background.start_soon(poller.run)
                try:
                    async with trio.open_nursery() as serving:
                        watched = WatchedFile(file, manager) if file is not None else None
                        background.start_soon(
                            _obey, signals, manager, watched, serving.cancel_scope, connections.cancel_scope
                        )
                        if watched is not None:
                            serving.start_soon(watched.watch)
                        if api_listener is not None:
                            serving.start_soon(http_api.run, manager, api_listener)
                        ready()
                        await trio.sleep_forever()
                finally:  # also when the second signal came right behind the first
                    connections.cancel_scope.deadline = trio.current_time() + manager.config.drain
                    manager.drain()
            background.cancel_scope.cancel()


async def _obey(
    signals: AsyncIterator[int], manager: Manager, watched: WatchedFile | None, *scopes: trio.CancelScope
) -> None:
    """SIGHUP looks at the file again, SIGUSR1 reports; any other signal cancels the first scope, a later the second."""
    waiting = iter(scopes)
    async for number in signals:
        if number == SIGHUP:
            if watched is not None:
                watched.look_now()
        elif number == SIGUSR1:
            manager.publish_status()
        else:
            next(waiting, scopes[-1]).cancel()
