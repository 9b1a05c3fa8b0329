"""What a proxy is given is frozen, and says no more than its configuration."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from faultproxy.control.manager import proxy_settings
from faultproxy.proxy.settings import ProxySettings, Services
from tests.managing import at, managed

CUT = {"name": "cut", "reset": None}


async def test_what_a_file_says_reaches_the_proxy(server: str) -> None:
    """Each key of a proxy, in seconds where it is a time."""
    keys: dict[str, Any] = {
        "dial_timeout": "2s", "peek_timeout": "3ms", "keepalive": "4s", "max_connections": 5, "enabled": False,
    }  # fmt: skip
    async with managed({"seed": 6, "proxies": {"p": at(server, CUT, **keys), "q": at("unix:/q.sock")}}) as its:
        p, q = (proxy_settings(its.manager.config.proxies[name], its.manager.seed) for name in "pq")
    assert (p.dial_timeout_s, p.peek_timeout_s, p.keepalive_s, p.max_connections) == (2.0, 0.003, 4.0, 5)
    assert (p.is_enabled, p.seed, [rule.name for rule in p.rules]) == (False, 6, ["cut"])
    assert (str(p.upstream), p.upstream.keepalive_s) == (server, 4.0)
    assert (str(q.upstream), q.keepalive_s, q.max_connections, q.is_enabled) == ("unix:/q.sock", 60.0, None, True)


@pytest.mark.parametrize("kind", [ProxySettings, Services])
def test_it_is_frozen(kind: Any) -> None:
    """A proxy that is given new settings is given all of them."""
    its = kind(**dict.fromkeys(field.name for field in fields(kind)))
    with pytest.raises(FrozenInstanceError):
        setattr(its, fields(kind)[0].name, 1)
