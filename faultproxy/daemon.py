"""The daemon: the tree of tasks, signals, and the end of it all."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from signal import SIGHUP, SIGUSR1
from typing import TYPE_CHECKING

import trio

from faultproxy.addresses import Address
from faultproxy.control.file import WatchedFile
from faultproxy.control.http.metrics import OUR_OWN, Scraping
from faultproxy.control.http.security import ANYBODY, Access
from faultproxy.control.manager import Manager, memory_limit
from faultproxy.events.stats import Stats
from faultproxy.listener.limits import ConnectionLimit
from faultproxy.proxy.settings import Services
from faultproxy.relay import Poller
from faultproxy.upstream.circles import Circles

if TYPE_CHECKING:
    from faultproxy.control.http.api import Api


async def run(
    manager: Manager,
    stats: Stats,
    signals: AsyncIterator[int],
    *,
    file: Path | None = None,
    api: Address | None = None,
    access: Access = ANYBODY,
    announce: Callable[[str], object] = lambda _: None,
    prepare: Callable[[], Awaitable[object]] | None = None,
    ready: Callable[[], object] = lambda: None,
    scraping: Scraping = OUR_OWN,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; another one ends it at once.

    ``file`` is followed, if given; SIGHUP looks at it again. ``api`` is where the API listens, if it is asked for,
    and ``access`` is who may use it; ``announce`` is called with its URL. SIGUSR1 reports how each proxy stands.
    ``prepare`` is awaited before the API answers; ``ready`` is called once clients may come; ``scraping`` is what else
    metrics tell. Raises CannotListen at the start, and ConfigError for a proxy that dials the API.
    """
    manager.file = file
    with Poller(memory_limit(manager.config)) as poller, ExitStack() as stack:
        served = await _listen(api) if api is not None else None
        if served is not None:
            stack.callback(served.close)
            manager.note_api(served.address)
        limit = ConnectionLimit(served.descriptors if served is not None else 0)
        circles = Circles(served.port if served is not None else None)
        await manager.listen(poller)
        async with trio.open_nursery() as background:
            async with trio.open_nursery() as connections:
                registry = served.observe(manager.bus, stats, scraping) if served is not None else None
                manager.start(Services(poller, manager.bus, stats, limit, connections, circles, registry))
                background.start_soon(poller.run)
                try:
                    async with trio.open_nursery() as serving:
                        watched = WatchedFile(file, manager) if file is not None else None
                        background.start_soon(
                            _obey, signals, manager, watched, serving.cancel_scope, connections.cancel_scope
                        )
                        if watched is not None:
                            serving.start_soon(watched.watch)
                        if prepare is not None:
                            await prepare()
                        if served is not None:
                            serving.start_soon(served.run, manager, access, circles, connections)
                            announce(served.url)
                        ready()
                        await trio.sleep_forever()
                finally:  # also when the second signal came right behind the first
                    connections.cancel_scope.deadline = trio.current_time() + manager.config.drain
                    manager.drain()
            background.cancel_scope.cancel()


async def _listen(api: Address) -> "Api":
    from faultproxy.control.http.api import listen  # noqa: PLC0415  # who has no API does not pay for it

    return await listen(api)


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
            for proxy in manager.proxies.values():
                manager.bus.publish(proxy.status())
        else:
            next(waiting, scopes[-1]).cancel()
