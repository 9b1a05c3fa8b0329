"""What a proxy in a test is made of: one proxy's mapping of a configuration file, and the rules that it ever had."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from typing import Any, TypedDict

from faultproxy.config.loader import ConfigError, build
from faultproxy.config.schema import Config
from faultproxy.events.types import DISABLED
from faultproxy.faults import CATALOGUE
from faultproxy.rules.rule import BaseRule

Rules = Sequence[Mapping[str, Any]]


class _Keys(TypedDict, total=False):
    """The keys of a proxy that it may be given, and that may change, as a file writes them."""

    dial_timeout: str
    peek_timeout: str
    max_connections: int
    keepalive: str
    accept_proxy: bool
    send_proxy: str
    enabled: bool


class Options(_Keys, total=False):
    """The keys of a proxy in a file, but for ``upstream`` and ``rules``."""

    listen: str


class Changes(_Keys, total=False):
    """What an update may change, as a file writes it."""

    upstream: str
    rules: Rules


class Overrides(Changes, total=False):
    """What stands above a file: any key of the proxy, and the seed."""

    listen: str
    seed: int


class Settings:
    """A proxy's mapping, as it stands in a file. ``rules`` holds each rule that it has, or had, by its name."""

    def __init__(self, name: str, seed: int, mapping: Mapping[str, object]) -> None:
        self.rules: dict[str, BaseRule] = {}
        self._name = name
        self._seed = seed
        self._mapping = mapping

    def __getitem__(self, key: str) -> object:
        return self._mapping[key]

    def config(self, changes: Mapping[str, object]) -> Config:
        """The configuration with these changes. Raises ConfigError, with places inside the proxy's mapping."""
        __tracebackhide__ = True
        proxies = {self._name: {**self._mapping, **changes}}
        try:
            return build({"seed": self._seed, "drain": "0s", "proxies": proxies})
        except ConfigError as error:
            above = f"proxies.{self._name}."
            raise ConfigError(tuple(line.removeprefix(above) for line in error.errors)) from None

    def adopt(self, config: Config, changes: Mapping[str, object]) -> None:
        """The configuration that these changes gave is in force."""
        # A copy: what the caller does to its rules afterwards must not come into force with the next update.
        self._mapping = deepcopy({**self._mapping, **changes})
        self.rules |= {rule.name: rule for rule in config.proxies[self._name].rules}

    def check_rule(self, rule: str | None) -> None:
        """Raise ValueError for a rule that never was."""
        if rule is not None and rule not in self.rules:
            there_are = f"write one of {', '.join(map(repr, self.rules))}" if self.rules else "there are no rules"
            raise ValueError(f"no rule is called {rule!r}; {there_are}")

    def check_awaited(self, fault: str | None, rule: str | None, count: int) -> None:
        """Raise ValueError for what can never come."""
        keys = [*(kind.key for kind in CATALOGUE), DISABLED]
        if fault is not None and fault not in keys:
            near = get_close_matches(fault, keys, 1) or [", ".join(keys)]
            raise ValueError(f"no fault is called {fault!r}; write {near[0]}")
        self.check_rule(rule)
        if count < 1:
            raise ValueError(f"a fault cannot be waited for {count} times; write a count of 1 or more")
