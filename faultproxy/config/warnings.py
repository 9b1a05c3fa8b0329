"""What is valid in a configuration, but can hardly be meant."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from faultproxy.addresses import TcpAddress
from faultproxy.config.schema import Config, ProxyConfig
from faultproxy.config.yaml_tree import Node, Path, Problem
from faultproxy.rules.conditions import PEEKED
from faultproxy.rules.conditions.base import Condition
from faultproxy.rules.conditions.chance import Probability
from faultproxy.rules.conditions.ordinals import Every
from faultproxy.rules.rule import BaseRule
from faultproxy.units import format_duration, quote

_SPEAKS_FIRST: Mapping[int, str] = MappingProxyType(
    {21: "FTP", 22: "SSH", 25: "SMTP", 110: "POP3", 143: "IMAP", 587: "SMTP", 3306: "MySQL", 5900: "VNC", 6667: "IRC"}
)
"""Protocols whose server speaks first, by their ports."""


def warnings(config: Config, root: Node) -> Iterator[Problem]:
    """What to warn of, each at its place in the tree that the configuration was read from."""
    for name, proxy in config.proxies.items():
        path = ("proxies", name)
        yield from _unreached(proxy, root, path)
        yield from _never_drawn(proxy, root, path)
        yield from _waiting(proxy, root, path)


def _unreached(proxy: ProxyConfig, root: Node, path: Path) -> Iterator[Problem]:
    """Rules below a verdict on every connection."""
    ends: BaseRule | None = None
    for index, rule in enumerate(proxy.rules):
        if ends is not None:
            text = f"no connection reaches this rule, as {quote(ends.name)} above it decides for every one"
            yield _problem(root, (*path, "rules", index), f"{text}; move it above that rule, or give that one a when")
        elif rule.holds_verdict and all(map(_always_holds, rule.conditions)):
            ends = rule


def _always_holds(condition: Condition) -> bool:
    return isinstance(condition, Probability | Every) and condition.root == 1


def _never_drawn(proxy: ProxyConfig, root: Node, path: Path) -> Iterator[Problem]:
    """Probabilities of nothing, of a rule or in a fault."""
    for index, rule in enumerate(proxy.rules):
        for key in ("when", *(fault.key for fault in rule.faults)):
            where = (*path, "rules", index, key, "probability")
            node, found = root.nearest(where)
            if found == where and _is_zero(node.source):
                yield _problem(root, where, f"{quote(node.source)} is never drawn; write more than 0, such as 10%")


def _is_zero(text: str) -> bool:
    number = text.removesuffix("%").strip()
    return bool(number) and not number.strip("0.")


def _waiting(proxy: ProxyConfig, root: Node, path: Path) -> Iterator[Problem]:
    """First bytes that are asked for where a client waits for the server's."""
    port = proxy.upstream.port if isinstance(proxy.upstream, TcpAddress) else 0
    if port not in _SPEAKS_FIRST or proxy.peek_timeout == 0:
        return
    for index, rule in enumerate(proxy.rules):
        for condition in rule.conditions:
            if condition.key in PEEKED:
                wait = format_duration(proxy.peek_timeout)
                text = (
                    f"a server of {_SPEAKS_FIRST[port]} (port {port}) speaks first, so every client waits {wait} here"
                )
                right = f"remove {condition.key}, or write a shorter peek_timeout"
                yield _problem(root, (*path, "rules", index, "when", condition.key), f"{text}; {right}")


def _problem(root: Node, path: Path, text: str) -> Problem:
    return Problem(root.nearest(path)[0].place, path, text)
