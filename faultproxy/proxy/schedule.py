"""What the windows of a proxy's rules ask for: the listener's mode, the live rules, and when to look again."""

import math

from faultproxy.faults.base import ListenerMode
from faultproxy.rules.rule import BaseRule
from faultproxy.rules.rule_set import RuleSet


class Schedule:
    """The windows of one set of rules. Pure but for what it remembers: which live rules' windows were open.

    A rule without a window is one whose window is open from the moment when the rule takes effect.
    """

    def __init__(self, rules: RuleSet, *, is_enabled: bool, open_before: frozenset[str] = frozenset()) -> None:
        self._rules = rules
        self.is_enabled = is_enabled
        self._windowed = [
            rule
            for rule in rules.rules
            if rule.window is not None and (rule.live or rule.applies_to_all or rule.faults.shapes)
        ]
        self._live = [rule for rule in rules.rules if rule.live and rule.faults.triggered]
        self.open_windows = open_before

    def lockout(self, now: float) -> BaseRule | None:
        """The rule that the listener can carry out by its mode, as every client meets it now; if there is one."""
        return self._rules.lockout(now) if self.is_enabled else None

    def modes(self, now: float) -> tuple[ListenerMode, ListenerMode]:
        """The mode that the listener is to be in, and which one where SYNs cannot be intercepted."""
        lockout = self.lockout(now)
        mode = lockout.mode_for_all if lockout is not None else None
        if not self.is_enabled or mode is ListenerMode.CLOSED:
            return ListenerMode.CLOSED, ListenerMode.CLOSED
        otherwise = mode or ListenerMode.OPEN
        return (ListenerMode.INTERCEPTING if self._rules.needs_syns else otherwise), otherwise

    def opened(self, now: float) -> list[BaseRule]:
        """The live rules with triggered faults whose window has opened since this was last asked."""
        live = [rule for rule in self._live if self._is_open(rule, now)]
        before, self.open_windows = self.open_windows, frozenset(rule.name for rule in live)
        return [rule for rule in live if rule.name not in before]

    @property
    def shapes_by_time(self) -> bool:
        """Whether a window opens and closes for shapes."""
        return any(rule.faults.shapes for rule in self._windowed)

    def next_edge(self, now: float, *, of_all: bool = False) -> float:
        """When a window opens or closes next; infinity if none does.

        It is one of those for which there is something to do then, or one of all rules'.
        """
        edges = []
        for rule in self._rules.rules if of_all else self._windowed:
            elapsed = self._rules.elapsed(rule, now)
            edge = rule.window.next_edge(elapsed) if rule.window is not None else None
            if edge is not None:
                edges.append(now + edge - elapsed)
        return min(edges, default=math.inf)

    def _is_open(self, rule: BaseRule, now: float) -> bool:
        return rule.window is None or rule.window.is_open(self._rules.elapsed(rule, now))
