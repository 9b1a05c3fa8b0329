"""What is published of a proxy itself: outages, and faults that this host does not allow."""

from collections.abc import Iterable, Mapping, Sequence

from faultproxy.connection import host
from faultproxy.events.bus import Bus
from faultproxy.events.types import FaultUnavailable, OutageEnded, OutageStarted
from faultproxy.faults.base import Connect, Fault, ListenerMode, Need
from faultproxy.rules.rule import BaseRule
from faultproxy.rules.rule_set import RuleSet


class Notices:
    """Publishes each change once."""

    def __init__(self, proxy: str, bus: Bus) -> None:
        self._proxy = proxy
        self._bus = bus
        self._outage: BaseRule | None = None
        self._unavailable: dict[str, list[str]] = {}
        self._examined: tuple[RuleSet, str | None] | None = None

    @property
    def has_outage(self) -> bool:
        """Whether a rule keeps every client out now."""
        return self._outage is not None

    @property
    def degraded(self) -> Mapping[str, Sequence[str]]:
        """The faults that are not possible here, by what they lack."""
        return self._unavailable

    def outage(self, rule: BaseRule | None) -> None:
        """This rule keeps every client out now; or none does."""
        before, self._outage = self._outage, rule
        if rule is not None and before is not None and _is_same_outage(rule, before):
            return
        if before is not None:
            self._bus.publish(OutageEnded(proxy=self._proxy, rule=before.name, fault=_connect(before).key))
        if rule is not None:
            connect = _connect(rule)
            self._bus.publish(
                OutageStarted(
                    proxy=self._proxy, rule=rule.name, fault=connect.key, client_sees=connect.connect_returns()
                )
            )

    def unavailable(self, rules: RuleSet, why_not_intercepting: str | None, *, has_syns: bool = True) -> None:
        """Say which faults of these rules are not possible here, and why, unless that was said already."""
        if self._examined == (rules, why_not_intercepting):
            return
        self._examined = rules, why_not_intercepting
        before, self._unavailable = (
            self._unavailable,
            _unavailable(rules.needs(), why_not_intercepting, has_syns=has_syns),
        )
        for reason, faults in self._unavailable.items():
            if before.get(reason) != faults:
                self._bus.publish(FaultUnavailable(proxy=self._proxy, faults=tuple(faults), reason=reason))


def _is_same_outage(rule: BaseRule, before: BaseRule) -> bool:
    return rule.name == before.name and rule.faults.connect == before.faults.connect


def _connect(rule: BaseRule) -> Connect:
    connect = rule.faults.connect
    assert connect is not None  # a rule that keeps every client out has one
    return connect


def _unavailable(
    needs: Iterable[tuple[BaseRule, Fault, Need]], why_not_intercepting: str | None, *, has_syns: bool
) -> dict[str, list[str]]:
    """The keys of the faults that lack something, by what they lack."""
    by_reason: dict[str, list[str]] = {}
    for rule, fault, need in needs:
        reason = why_not_intercepting if need is Need.INTERCEPTION else host.why_missing(need)
        is_silenced = has_syns and rule.applies_to_all and rule.mode_for_all is ListenerMode.SILENT
        if reason is None or (is_silenced and host.why_missing(Need.FILTER) is None):
            continue
        faults = by_reason.setdefault(reason, [])
        if fault.key not in faults:
            faults.append(fault.key)
    return by_reason
