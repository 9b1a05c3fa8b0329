"""A TCP proxy that injects faults between a client and a server, by rule, and logs each one.

For tests there are ``faultproxy.Proxy`` and, for asyncio, trio and anyio, ``faultproxy.AsyncProxy``; docs/testing.md
shows both.
"""

from faultproxy.version import __version__ as __version__

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay the moment from which signals are minded

if TYPE_CHECKING:
    from faultproxy.config.loader import ConfigError
    from faultproxy.events.types import ConnectionClosed as Connection
    from faultproxy.failures import CannotListen
    from faultproxy.testing.async_proxy import AsyncProxy
    from faultproxy.testing.base import ExpectationUnmet, FaultNotSeen
    from faultproxy.testing.history import Fault
    from faultproxy.testing.threaded import Proxy


__all__ = [
    "AsyncProxy",
    "CannotListen",
    "ConfigError",
    "Connection",
    "ExpectationUnmet",
    "Fault",
    "FaultNotSeen",
    "Proxy",
]

if not TYPE_CHECKING:
    _MODULES = {
        "AsyncProxy": "testing.async_proxy",
        "CannotListen": "failures",
        "ConfigError": "config.loader",
        "Connection": "events.types",
        "ExpectationUnmet": "testing.base",
        "Fault": "testing.history",
        "FaultNotSeen": "testing.base",
        "Proxy": "testing.threaded",
    }

    def __getattr__(name):
        # Looked up when first asked for: pytest loads the plugin in every run, also where no test wants a proxy.
        if name in _MODULES:
            from importlib import import_module  # noqa: PLC0415

            module = import_module(f"faultproxy.{_MODULES[name]}")
            return getattr(module, "ConnectionClosed" if name == "Connection" else name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
