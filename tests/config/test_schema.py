"""What a configuration holds, and how it is written."""

from typing import Any

import pytest

from faultproxy.config.schema import Config, ProxyConfig


def proxy(**settings: Any) -> ProxyConfig:
    return ProxyConfig.model_validate({"listen": ":1", "upstream": "redis:6379", **settings})


def test_defaults() -> None:
    """What a file need not say."""
    config = Config.model_validate({"proxies": {"redis": {"listen": ":1", "upstream": "redis:6379"}}})
    redis = config.proxies["redis"]
    assert (config.seed, config.drain, config.memory, config.log.format, config.log.level) == (
        None,
        5.0,
        None,
        None,
        "info",
    )
    assert (redis.dial_timeout, redis.peek_timeout, redis.enabled, redis.rules) == (5.0, 1.0, True, ())
    assert (redis.max_connections, redis.keepalive) == (None, 60.0)


@pytest.mark.parametrize(("text", "idle_s"), [("1s", 1.0), ("2m", 120.0), ("9h", 32400.0), ("off", None)])
def test_keepalive(text: str, idle_s: float | None) -> None:
    """Seconds of silence after which a peer is asked whether it is there; off is never."""
    assert proxy(keepalive=text).keepalive == idle_s


@pytest.mark.parametrize("settings", [{}, {"keepalive": "off", "max_connections": 3, "enabled": False}])
def test_a_proxy_is_written_as_it_is_read(settings: dict[str, Any]) -> None:
    """With its own defaults, and without those of its rules; what has no value is left out."""
    rules = [
        {
            "name": "cut",
            "when": {"first": 3, "client": ["10.0.0.0/8"]},
            "limit": 2,
            "reset": {"after": {"bytes": "4KiB"}},
        }
    ]
    whole = proxy(**settings, rules=rules)
    dumped = whole.dump()
    assert dumped["rules"] == rules
    assert dumped["keepalive"] == settings.get("keepalive", "1m")
    assert ("max_connections" in dumped) == ("max_connections" in settings)
    assert ProxyConfig.model_validate(dumped) == whole
