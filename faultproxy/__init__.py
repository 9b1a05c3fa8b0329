"""A TCP proxy that injects faults: between a client and a server, by rule, told in the log.

For tests there are ``faultproxy.Proxy`` and, for trio, ``faultproxy.AsyncProxy``; docs/testing.md shows both.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultproxy.testing import (
        AsyncProxy,
        CannotListen,
        ConfigError,
        Connection,
        ExpectationUnmet,
        Fault,
        FaultNotSeen,
        Proxy,
    )

__version__ = "0.1.0"
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

    def __getattr__(name):
        # Looked up when first asked for: pytest loads the plugin in every run, also where no test wants a proxy.
        if name in __all__:
            from faultproxy import testing  # noqa: PLC0415

            return getattr(testing, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
