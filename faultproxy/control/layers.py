"""What runs: a base, which is a file as a rule, with what the API has changed laid over it.

The overlay is what differs between the two, and nothing else. So what is changed back to what the file says, or saved
into the file, follows the file again.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from faultproxy.config.loader import ConfigError, build_proxy, check_together
from faultproxy.config.schema import Config, ProxyConfig
from faultproxy.rules.rule import BaseRule

_WITH_OVERLAY = "with what the API has changed, the file is not valid; change that, or drop it (DELETE /v1/overlay)"


@dataclass(frozen=True, slots=True)
class Layers:
    """``base`` without the overlay, ``config`` with it: the sum, which is what runs. Both are valid."""

    base: Config
    config: Config

    @classmethod
    def of(cls, base: Config) -> "Layers":
        """No overlay."""
        return cls(base, base)

    @property
    def has_overlay(self) -> bool:
        """Whether anything is laid over the base."""
        return self.config is not self.base and self.config != self.base

    def edited(self, config: Config) -> "Layers":
        """The same base, and an overlay that makes this configuration of it.

        Proxies that do not change stay the objects that they were, so that what compares them has little to do.
        """
        now = self.config.proxies
        proxies = {
            name: before if (before := now.get(name)) is not proxy and before == proxy else proxy
            for name, proxy in config.proxies.items()
        }
        return replace(self, config=config.model_copy(update={"proxies": proxies}))

    def with_proxies(self, proxies: Mapping[str, ProxyConfig]) -> "Layers":
        """The same base, and an overlay that makes these its proxies."""
        return self.edited(self.config.model_copy(update={"proxies": proxies}))

    def rebased(self, base: Config) -> "Layers":
        """The same overlay on another base.

        Of each key and each rule of a proxy that differed from the old base, the overlay's stands; of the others the
        new base's. A proxy that the overlay removed stays removed as long as the base has it; one that the new base has
        no more is gone, and what the overlay had of it. Raises ConfigError, which may pass, if that is not valid.
        """
        if not self.has_overlay:
            return Layers.of(base)
        old, now = self.base.proxies, self.config.proxies
        proxies = {
            name: _merged(name, old.get(name), now[name], theirs) if name in now else theirs
            for name, theirs in base.proxies.items()
            if name in now or name not in old
        }
        proxies |= {name: proxy for name, proxy in now.items() if name not in old and name not in base.proxies}
        config = base.model_copy(update={**_changed(self.base, self.config, "proxies"), "proxies": proxies})
        try:
            check_together(config)
        except ConfigError as error:
            raise _because_of_overlay(error) from None
        return Layers(base, config)


def _changed(old: BaseModel, new: BaseModel, *but: str) -> dict[str, Any]:
    keys = [key for key in type(new).model_fields if key not in but]
    return {key: getattr(new, key) for key in keys if getattr(new, key) != getattr(old, key)}


def _merged(name: str, old: ProxyConfig | None, ours: ProxyConfig, theirs: ProxyConfig) -> ProxyConfig:
    """What a proxy is after the file has changed from ``old`` to ``theirs``, where ``ours`` ran. Raises ConfigError."""
    if old is None or theirs in (old, ours):
        return ours
    if ours == old:
        return theirs
    rules = _merged_rules(old.rules, ours.rules, theirs.rules) if ours.rules != old.rules else theirs.rules
    merged = theirs.model_copy(update={**_changed(old, ours, "rules"), "rules": rules})
    try:
        return build_proxy(name, merged.dump())
    except ConfigError as error:
        raise _because_of_overlay(error) from None


def _because_of_overlay(error: ConfigError) -> ConfigError:
    """The error, which passes when the overlay does."""
    explained = ConfigError((*error.errors, _WITH_OVERLAY))
    explained.may_pass = True
    return explained


def _merged_rules(
    old: Sequence[BaseRule], ours: Sequence[BaseRule], theirs: Sequence[BaseRule]
) -> tuple[BaseRule, ...]:
    """The rules of ``theirs``, with what ``ours`` had changed in ``old``.

    One that was changed stands where the base has it; one that was added or moved, before the rule that followed it, or
    the first of those that the base still has. What the base has dropped is gone.
    """
    old_rules, their_names = {rule.name: rule for rule in old}, {rule.name for rule in theirs}
    removed = old_rules.keys() - {rule.name for rule in ours}
    kept = [rule for rule in ours if rule.name not in old_rules or rule.name in their_names]
    in_place = _in_order([rule.name for rule in kept], list(old_rules))
    placed: dict[str, list[BaseRule]] = {}
    waiting: list[BaseRule] = []
    for rule in kept:
        if rule.name not in in_place or rule != old_rules[rule.name]:
            waiting.append(rule)
        if rule.name in in_place:
            placed[rule.name], waiting = waiting, []
    overlaid = {rule.name for rules in (*placed.values(), waiting) for rule in rules}
    merged: list[BaseRule] = []
    for rule in theirs:
        merged += placed.get(rule.name, [])
        merged += [] if rule.name in overlaid | removed else [rule]
    return (*merged, *waiting)


def _in_order(names: Sequence[str], others: Sequence[str]) -> set[str]:
    """The most of these names that stand in the same order among the others: the rest was added, or moved."""
    index = {name: number for number, name in enumerate(others)}
    known = [name for name in names if name in index]
    tails: list[int] = []
    before: dict[str, str | None] = {}
    last: list[str] = []
    for name in known:
        at = bisect_left(tails, index[name])
        before[name] = last[at - 1] if at else None
        tails[at : at + 1], last[at : at + 1] = [index[name]], [name]
    chain: set[str] = set()
    name_or_none = last[-1] if last else None
    while name_or_none is not None:
        chain.add(name_or_none)
        name_or_none = before[name_or_none]
    return chain
