"""The toxics of proxies: the rules that a toxic could say, read and edited as Toxiproxy would."""

from collections.abc import Iterator, Sequence
from typing import Any

from faultproxy.config.schema import ProxyConfig
from faultproxy.control.edits import patch_proxy, put_rule
from faultproxy.control.http.toxiproxy import toxics
from faultproxy.control.http.toxiproxy.answers import Refused
from faultproxy.control.http.toxiproxy.applying import apply, find
from faultproxy.control.layers import Layers
from faultproxy.control.manager import Manager
from faultproxy.rules.rule import BaseRule


class ProxyToxics:
    """Each method raises Refused, and has done nothing then."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def show_all(self, proxy: str) -> list[dict[str, Any]]:
        """A proxy's toxics, in order."""
        return shown(find(self._manager.layers, proxy))

    def show(self, proxy: str, name: str) -> dict[str, Any]:
        """One of them."""
        return _toxic(find(self._manager.layers, proxy), name).json()

    async def add(self, proxy: str, body: object) -> dict[str, Any]:
        """A new toxic, behind those that there are."""
        toxic = toxics.parse(body)

        def edit(layers: Layers) -> Layers:
            rules: Sequence[BaseRule] = find(layers, proxy).rules
            if any(rule.name == toxic.name for rule in rules):
                raise Refused(409, "toxic already exists")
            behind = next((at for at, rule in enumerate(rules) if toxics.from_rule(rule) is None), len(rules))
            dumped = [rule.dump() for rule in rules]
            return patch_proxy(proxy, {"rules": [*dumped[:behind], toxics.to_rule(toxic), *dumped[behind:]]})(layers)

        await apply(self._manager, edit)
        return toxic.json()

    async def update(self, proxy: str, name: str, body: object) -> dict[str, Any]:
        """Change the attributes and the toxicity that are given."""
        changed: list[toxics.Toxic] = []

        def edit(layers: Layers) -> Layers:
            changed.append(toxics.merge(_toxic(find(layers, proxy), name), body))
            return put_rule(proxy, toxics.to_rule(changed[-1]))(layers)

        await apply(self._manager, edit)
        return changed[-1].json()

    async def remove(self, proxy: str, name: str) -> None:
        """Remove a toxic; open connections go on without it at once."""

        def edit(layers: Layers) -> Layers:
            config = find(layers, proxy)
            _toxic(config, name)
            rules: Sequence[BaseRule] = config.rules
            rest = tuple(rule for rule in rules if rule.name != name)
            return layers.with_proxies({**layers.config.proxies, proxy: config.model_copy(update={"rules": rest})})

        await apply(self._manager, edit)


def shown(config: ProxyConfig) -> list[dict[str, Any]]:
    """The toxics of a proxy: upstream first, then by age."""
    found = list(_toxics(config))
    return [toxic.json() for stream in toxics.STREAMS for toxic in found if toxic.direction == stream]


def without_toxics(config: ProxyConfig) -> ProxyConfig:
    """The proxy, enabled, with those of its rules that are no toxics."""
    rules: Sequence[BaseRule] = config.rules
    rest = tuple(rule for rule in rules if toxics.from_rule(rule) is None)
    return config.model_copy(update={"enabled": True, "rules": rest})


def to_rules(bodies: Sequence[object]) -> list[dict[str, Any]]:
    """The rules of a new proxy, from its toxics as they were sent. Raises Refused."""
    try:
        given = [toxics.parse(body) for body in bodies]
    except toxics.BadToxic as error:
        raise Refused(error.status, error.message) from None
    if len({toxic.name for toxic in given}) < len(given):
        raise Refused(409, "toxic already exists")
    return [toxics.to_rule(toxic) for toxic in given]


def _toxics(config: ProxyConfig) -> Iterator[toxics.Toxic]:
    return (toxic for rule in config.rules if (toxic := toxics.from_rule(rule)) is not None)


def _toxic(config: ProxyConfig, name: str) -> toxics.Toxic:
    toxic = next((toxic for toxic in _toxics(config) if toxic.name == name), None)
    if toxic is None:
        raise Refused(404, "toxic not found")
    return toxic
