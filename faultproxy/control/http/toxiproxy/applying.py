"""How Toxiproxy's calls change what runs, and what each error of that is in its words."""

import errno
import os
from collections.abc import Collection, Sequence

from faultproxy.config.loader import ConfigError
from faultproxy.config.schema import ProxyConfig
from faultproxy.control.edits import Edit, NotFound
from faultproxy.control.http.toxiproxy.answers import Refused
from faultproxy.control.layers import Layers
from faultproxy.control.manager import Draining, Manager, Source
from faultproxy.failures import CannotListen
from faultproxy.proxy.proxy import RunningProxy


def find(layers: Layers, name: str) -> ProxyConfig:
    """A proxy of these layers. Raises Refused."""
    if name not in layers.config.proxies:
        raise Refused(404, "proxy not found")
    return layers.config.proxies[name]


def cannot_bind(place: str, error: OSError | None = None) -> Refused:
    """The address cannot be had, in Go's words: it is taken, unless the error says otherwise."""
    reason = (error.strerror if error is not None else None) or os.strerror(errno.EADDRINUSE)
    return Refused(500, f"listen tcp {place}: bind: {reason[:1].lower()}{reason[1:]}")


async def apply(
    manager: Manager,
    edit: Edit,
    restarted: Sequence[RunningProxy] = (),
    moving: Collection[str] = (),
    source: Source = "api",
    file: str | None = None,
    place: str = "",
) -> None:
    """Have the manager apply an edit; then the connections of ``restarted``, which it may fill, are dropped.

    ``moving`` is for the manager. Raises Refused; then nothing has changed. It says of ``place`` why it cannot be had;
    the log says what to do about it.
    """
    try:
        await manager.apply(edit, source, file, moving=moving)
    except NotFound as error:
        raise Refused(404, f"{error.kind} not found") from None
    except CannotListen as error:
        cause = error.__cause__
        raise cannot_bind(place, cause) if isinstance(cause, OSError) else Refused(500, str(error)) from None
    except ConfigError as error:
        if all(".listen: " in line for line in error.errors):
            raise cannot_bind(place) from None
        raise Refused(400, f"bad request body: {'; '.join(error.errors)}") from None
    except Draining:
        raise Refused(503, "the proxies are being stopped") from None
    for proxy in restarted:
        proxy.reset_connections()
