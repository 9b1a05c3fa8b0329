"""The toxics of proxies: the rules that a toxic could say, read and edited as Toxiproxy would."""

from collections.abc import Iterator, Sequence
from typing import Any

from faultproxy.config.schema import ProxyConfig
from faultproxy.control.edits import Edit, delete_rule, patch_proxy, put_rule
from faultproxy.control.http.toxiproxy import toxics
from faultproxy.control.http.toxiproxy.answers import Refused
from faultproxy.control.http.toxiproxy.applying import apply, find
from faultproxy.control.http.toxiproxy.notes import Notes
from faultproxy.control.layers import Layers
from faultproxy.control.manager import Manager


class ProxyToxics:
    """Each method raises Refused, and has done nothing then."""

    def __init__(self, manager: Manager, notes: Notes) -> None:
        self._manager = manager
        self._notes = notes

    def show_all(self, proxy: str) -> list[dict[str, Any]]:
        """A proxy's toxics: upstream first, then by age."""
        config = find(self._manager.layers, proxy)
        found = list(self._toxics(proxy, config))
        return [toxic.json() for stream in toxics.STREAMS for toxic in found if toxic.direction == stream]

    def show(self, proxy: str, name: str) -> dict[str, Any]:
        """One of them."""
        return self._toxic(proxy, find(self._manager.layers, proxy), name).json()

    async def add(self, proxy: str, body: object) -> dict[str, Any]:
        """A new toxic, behind those that there are."""
        toxic = toxics.parse(body)

        def edit(layers: Layers) -> Layers:
            rules = find(layers, proxy).rules
            if any(rule.name == toxic.name for rule in rules):
                raise Refused(409, "toxic already exists")
            behind = next((at for at, rule in enumerate(rules) if toxics.from_rule(rule) is None), len(rules))
            dumped = [rule.dump() for rule in rules]
            return patch_proxy(proxy, {"rules": [*dumped[:behind], toxics.to_rule(toxic), *dumped[behind:]]})(layers)

        await self._apply(edit)
        self._notes.note_toxics(proxy, [toxic])
        return toxic.json()

    async def update(self, proxy: str, name: str, body: object) -> dict[str, Any]:
        """Change the attributes and the toxicity that are given."""
        changed: list[toxics.Toxic] = []

        def edit(layers: Layers) -> Layers:
            changed.append(toxics.merge(self._toxic(proxy, find(layers, proxy), name), body))
            return put_rule(proxy, toxics.to_rule(changed[-1]))(layers)

        await self._apply(edit)
        self._notes.note_toxics(proxy, changed)
        return changed[-1].json()

    async def remove(self, proxy: str, name: str) -> None:
        """Remove a toxic; open connections go on without it at once."""

        def edit(layers: Layers) -> Layers:
            self._toxic(proxy, find(layers, proxy), name)
            return delete_rule(proxy, name)(layers)

        await self._apply(edit)

    async def _apply(self, edit: Edit) -> None:
        await apply(self._manager, edit)
        self._notes.forget()

    def _toxics(self, proxy: str, config: ProxyConfig) -> Iterator[toxics.Toxic]:
        for rule in config.rules:
            toxic = toxics.from_rule(rule)
            if toxic is not None:
                yield self._notes.toxic(proxy, rule) or toxic

    def _toxic(self, proxy: str, config: ProxyConfig, name: str) -> toxics.Toxic:
        toxic = next((toxic for toxic in self._toxics(proxy, config) if toxic.name == name), None)
        if toxic is None:
            raise Refused(404, "toxic not found")
        return toxic


def without_toxics(config: ProxyConfig) -> ProxyConfig:
    """The proxy, enabled, with those of its rules that are no toxics."""
    rest = tuple(rule for rule in config.rules if toxics.from_rule(rule) is None)
    return config.model_copy(update={"enabled": True, "rules": rest})


def read(bodies: Sequence[object]) -> list[toxics.Toxic]:
    """The toxics of a new proxy, as they were sent. Raises Refused."""
    given = [toxics.parse(body) for body in bodies]
    if len({toxic.name for toxic in given}) < len(given):
        raise Refused(409, "toxic already exists")
    return given
