"""The demo's scenes again and again, with the page to look at."""

from collections.abc import Callable

import trio

from faultproxy.addresses import TcpAddress
from faultproxy.control.manager import Manager
from faultproxy.tools.demo import clients, scenes

_PAUSE_S = 1.0
_API = TcpAddress("127.0.0.1", 0)


async def run_page(announce: Callable[[str], object]) -> None:
    """Run every client against its fault until cancelled; ``announce`` is called with the page's address, once."""
    async with scenes.servers() as config:
        running = scenes.running(config, api=_API, announce=announce)
        async with running as manager, trio.open_nursery() as playing:
            for name in manager.addresses:
                playing.start_soon(_play_on, manager, name)
            await trio.sleep_forever()


async def _play_on(manager: Manager, proxy: str) -> None:
    """The client of a proxy, as long as there is that proxy. Where it meets no fault any more, rules count anew."""
    while isinstance(address := manager.addresses.get(proxy), TcpAddress):
        at = address.host, address.port
        seen = await trio.to_thread.run_sync(clients.play, proxy, at, abandon_on_cancel=True)
        if all(each.sees == "nothing" for each in seen) and proxy in manager.proxies:
            manager.proxies[proxy].reset_counts()
        await trio.sleep(_PAUSE_S)
