"""Changes to what runs, as values: each function returns an edit for Manager.apply().

An edit lays its change over the base, whole or not at all. Values are what a file has in mappings and lists, or trees
of what was read from YAML. They are validated as a file is, and their errors (ConfigError) name paths, of trees the
places too: ``body:LINE:COLUMN``. Rules that keep their name keep their counts.
"""

from collections.abc import Callable
from functools import reduce
from typing import Literal

from faultproxy.config.loader import build_proxy
from faultproxy.config.schema import Config, ProxyConfig
from faultproxy.config.yaml_tree import Node, plant
from faultproxy.control.layers import Layers
from faultproxy.units import quote

NAME = "body"
"""What errors call the text that a tree was read from."""

Edit = Callable[[Layers], Layers]


class NotFound(Exception):
    """An edit is about a proxy or a rule that there is not."""

    def __init__(self, kind: Literal["proxy", "rule"], name: str) -> None:
        super().__init__(f"there is no {kind} {quote(name)}")
        self.kind = kind


def rebase(config: Config) -> Edit:
    """Another base under the same overlay: a file was saved."""
    return lambda layers: layers.rebased(config)


def drop_overlay() -> Edit:
    """Back to the base."""
    return lambda layers: Layers.of(layers.base)


def put_proxy(name: str, value: object) -> Edit:
    """Make a proxy, or make one what ``value`` says."""
    return lambda layers: _with(layers, name, value)


def patch_proxy(name: str, value: object) -> Edit:
    """Give a proxy the keys of ``value``, and leave it the others; None gives a key its default. Raises NotFound."""

    def edit(layers: Layers) -> Layers:
        current, given = plant(_proxy(layers, name).dump()), plant(value)
        if isinstance(current.value, dict) and isinstance(given.value, dict):
            keys = ProxyConfig.model_fields
            merged = {
                key: child
                for key, child in (current.value | given.value).items()
                if child.value is not None or key not in keys
            }
            given = Node(given.place, merged, keys={**current.keys, **given.keys})
        return _with(layers, name, given)

    return edit


def delete_proxy(name: str) -> Edit:
    """Remove a proxy, whoever made it. Raises NotFound."""

    def edit(layers: Layers) -> Layers:
        _proxy(layers, name)
        return layers.with_proxies({key: proxy for key, proxy in layers.config.proxies.items() if key != name})

    return edit


def put_rule(proxy: str, rule: object, before: str | None = None) -> Edit:
    """Give a proxy a rule, or another one of the same name. A new one stands first, another in the same place.

    With ``before``, it stands before that rule, new or not. Raises NotFound, also for ``before``.
    """

    def edit(layers: Layers) -> Layers:
        value = _proxy(layers, proxy).dump()
        named = plant(rule).child("name")
        rules, name = value["rules"], named.value if named is not None else None
        names = [each["name"] for each in rules]
        at = names.index(name) if name in names else 0
        rest = [each for each in rules if each["name"] != name]
        if before is not None and before != name:
            if before not in names:
                raise NotFound("rule", before)
            at = next(number for number, each in enumerate(rest) if each["name"] == before)
        return _with(layers, proxy, {**value, "rules": [*rest[:at], rule, *rest[at:]]})

    return edit


def delete_rule(proxy: str, rule: str) -> Edit:
    """Take a rule from a proxy. Raises NotFound."""

    def edit(layers: Layers) -> Layers:
        running = _proxy(layers, proxy)
        rest = tuple(each for each in running.rules if each.name != rule)
        if len(rest) == len(running.rules):
            raise NotFound("rule", rule)
        return layers.with_proxies({**layers.config.proxies, proxy: running.model_copy(update={"rules": rest})})

    return edit


def all_of(*edits: Edit) -> Edit:
    """One after the other, as one edit: if one raises, none takes effect."""
    return lambda layers: reduce(lambda result, edit: edit(result), edits, layers)


def _proxy(layers: Layers, name: str) -> ProxyConfig:
    if name not in layers.config.proxies:
        raise NotFound("proxy", name)
    return layers.config.proxies[name]


def _with(layers: Layers, name: str, value: object) -> Layers:
    return layers.with_proxies({**layers.config.proxies, name: build_proxy(name, value, name=NAME)})
