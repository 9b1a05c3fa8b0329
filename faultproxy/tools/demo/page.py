"""The demo's scenes again and again, with the page to look at."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from faultproxy import daemon
from faultproxy.addresses import TcpAddress
from faultproxy.control.manager import Manager
from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.tools.demo import clients, scenes

_PAUSE_S = 1.0
_API = TcpAddress("127.0.0.1", 0)


async def run_page(announce: Callable[[str], object]) -> None:
    """Run every client against its fault until cancelled; ``announce`` is called with the page's address, once."""
    async with scenes.servers() as config:
        stats = Stats()
        manager = Manager(config, Bus(stats))
        listening = trio.Event()
        async with _never() as signals, trio.open_nursery() as running:
            start = partial(daemon.run, manager, stats, signals, api=_API, announce=announce, ready=listening.set)
            running.start_soon(start)
            await listening.wait()
            for name in manager.addresses:
                running.start_soon(_play_on, manager, name)


@asynccontextmanager
async def _never() -> AsyncIterator[trio.MemoryReceiveChannel[int]]:
    """Signals that do not come: who stops the demo cancels it."""
    send, receive = trio.open_memory_channel[int](0)
    async with send, receive:
        yield receive


async def _play_on(manager: Manager, proxy: str) -> None:
    """The client of a proxy, as long as there is that proxy. Where it meets no fault any more, rules count anew."""
    while isinstance(address := manager.addresses.get(proxy), TcpAddress):
        at = address.host, address.port
        seen = await trio.to_thread.run_sync(clients.play, proxy, at, abandon_on_cancel=True)
        if all(each.sees == "nothing" for each in seen) and proxy in manager.proxies:
            manager.proxies[proxy].reset_counts()
        await trio.sleep(_PAUSE_S)
