"""The rules of one proxy: they are read from top to bottom for each connection, and say what becomes of it.

Everything that decides lives here. Draws are pure functions of (seed, proxy, rule, connection), so a plan does not
depend on timing, and deciding again gives the same one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from faultproxy.faults.base import Fault, ListenerMode, Need
from faultproxy.rules.conditions.base import Condition, Stage
from faultproxy.rules.facts import ConnectionFacts, RuleState
from faultproxy.rules.plan import UNTOUCHED, Match, Plan
from faultproxy.rules.rule import BaseRule


@dataclass(frozen=True)
class RuleSet:
    """The rules of one proxy and what they remember; the only state that decisions have."""

    proxy: str
    seed: int
    rules: tuple[BaseRule, ...]
    states: Mapping[str, RuleState] = field(default_factory=dict)

    @classmethod
    def open(cls, proxy: str, seed: int, rules: Sequence[BaseRule], now_s: float) -> "RuleSet":
        """Rules that all take effect now, and have counted nothing."""
        return cls(proxy, seed, tuple(rules), {rule.name: RuleState((seed, proxy, rule.name), now_s) for rule in rules})

    def edited(self, seed: int, rules: Sequence[BaseRule], now_s: float) -> "RuleSet":
        """The rules after an edit. One that kept its name keeps its counts; one that changed restarts its clock.

        This set stays as it is: the edit may yet be turned down.
        """
        before = {rule.name: rule for rule in self.rules}
        after = RuleSet.open(self.proxy, seed, rules, now_s)
        states = dict(after.states)
        for rule in rules:
            state = self.states.get(rule.name)
            if state is not None:
                since_s = state.since_s if before[rule.name] == rule else now_s
                states[rule.name] = replace(state, drawn_from=states[rule.name].drawn_from, since_s=since_s)
        return replace(after, states=states)

    def changed(self, before: "RuleSet") -> tuple[BaseRule, ...]:
        """The rules that an edit has brought, or has changed."""
        same = {rule.name: rule for rule in before.rules}
        return tuple(rule for rule in self.rules if same.get(rule.name) != rule)

    @cached_property
    def peeks(self) -> bool:
        """Whether any rule looks at the client's first bytes."""
        return any(rule.peeks for rule in self.rules)

    @cached_property
    def asks_destination(self) -> bool:
        """Whether any rule asks where a client wants to go."""
        return any(one.asks == "destination" for rule in self.rules for one in rule.conditions)

    @cached_property
    def needs_syns(self) -> bool:
        """Whether some rule acts on a client's first packet, other than by closing the listener to all alike."""
        return any(need is Need.INTERCEPTION for _, _, need in self.needs())

    def decide(self, facts: ConnectionFacts) -> Plan:
        """Judge a new connection. Counts it in every rule that the reading reaches and whose conditions hold."""
        return self._read(self.rules, facts) if self.rules else UNTOUCHED

    def decide_on_syn(
        self, facts: ConnectionFacts, *, header_follows: bool = False
    ) -> tuple[Mapping[str, int | None], Plan]:
        """Judge a client that has said nothing yet by the rules that act on its SYN, and by those above them.

        Also returns what the rules have said, if others are yet to be asked: hand it to decide() in the facts. If
        ``header_follows``, a header will say who the client is: rules that ask for it are yet to be asked.
        """
        if not self.peeks and not header_follows:
            return {}, self.decide(facts)
        judged: dict[str, int | None] = {}
        last = max((at for at, rule in enumerate(self.rules) if rule.acts_on_syns), default=-1)
        rules = [rule for rule in self.rules[: last + 1] if not (rule.peeks or (header_follows and rule.asks_ends))]
        plan = self._read(rules, facts, judged)
        return judged, plan

    def needs_more_bytes(self, facts: ConnectionFacts) -> bool:
        """Whether the decision must wait for more of the client's first bytes. Counts nothing."""
        for rule in self.rules:
            if rule.name in facts.judged:
                if rule.holds_verdict and facts.judged[rule.name]:
                    return False
                continue
            state = self.states[rule.name]
            missed = self._first_missed(rule.counting, facts, state)
            if missed is None:
                counted = replace(state, considered=state.considered + 1)
                if rule.holds_verdict and self._first_missed(rule.choosing, facts, counted) is None:
                    return False
            elif missed.stage is Stage.FIRST_BYTES and not facts.heard_all:
                answers = [one.holds(facts, state) for one in rule.counting]
                if None in answers and False not in answers:
                    return True
        return False

    def match_open(self, rule: BaseRule, facts: ConnectionFacts, earlier: Plan) -> Match | None:
        """Judge an open connection by one live rule, if the reading for that connection would have reached the rule."""
        names = [each.name for each in self.rules]
        verdict = earlier.verdict.rule if earlier.verdict is not None else None
        if verdict in names and rule.name in names[names.index(verdict) + 1 :]:
            return None
        return self._choose(rule, facts) if self._counts(rule, facts) else None

    def reshape(self, facts: ConnectionFacts, earlier: Plan) -> tuple[Plan, tuple[Match, ...]]:
        """What shapes an open connection now: those rules with an open window that match it.

        A rule that has not judged it before counts it; one that has keeps its answer.
        """
        answers = dict(earlier.answers)
        matches = []
        for rule in self.rules:
            if rule.faults.shapes:
                if rule.name not in answers and self._counts(rule, facts):
                    match = self._choose(rule, facts)
                    answers[rule.name] = match.ordinal if match is not None else None
                ordinal = answers.get(rule.name)
                if ordinal is not None and not rule.dry_run and self._is_open(rule, facts.at_s):
                    matches.append(_match(rule, ordinal))
            if earlier.verdict is not None and earlier.verdict.rule == rule.name:
                break
        return earlier._replace(answers=answers), tuple(matches)

    def lockout(self, at_s: float) -> BaseRule | None:
        """The rule whose connect fault is now for every client, if there is one: the listener's mode can inject it."""
        for rule in self.rules:
            if rule.applies_to_all:
                if self._is_open(rule, at_s):
                    return rule if rule.mode_for_all is not None else None
            elif rule.holds_verdict:
                return None
        return None

    def needs(self) -> Iterator[tuple[BaseRule, Fault, Need]]:
        """What each fault that is carried out needs of the host; a closed listener needs nothing.

        A rule below a verdict does not close the listener.
        """
        is_below_verdict = False
        for rule in self.rules:
            if rule.dry_run:
                continue
            closes = rule.mode_for_all is ListenerMode.CLOSED
            for fault in rule.faults:
                yield rule, fault, Need.NOTHING if closes and not is_below_verdict else fault.needs
            is_below_verdict = is_below_verdict or (rule.holds_verdict and not closes)

    def elapsed(self, rule: BaseRule, at_s: float) -> float:
        """Seconds since a rule took effect."""
        return at_s - self.states[rule.name].since_s

    def _read(
        self,
        rules: Iterable[BaseRule],
        facts: ConnectionFacts,
        judged: dict[str, int | None] | None = None,
    ) -> Plan:
        matches: list[Match] = []
        dry_runs: list[Match] = []
        answers: dict[str, int | None] = {}
        verdict = None
        for rule in rules:
            if rule.name in facts.judged:
                said = facts.judged[rule.name]
                is_counted, match = said is not None, _match(rule, said) if said else None
            else:
                is_counted = self._counts(rule, facts)
                match = self._choose(rule, facts) if is_counted else None
            if judged is not None:
                judged[rule.name] = match.ordinal if match is not None else 0 if is_counted else None
            if is_counted and rule.faults.shapes:
                answers[rule.name] = match.ordinal if match is not None else None
            if match is None:
                continue
            (dry_runs if match.dry_run else matches).append(match)
            if rule.holds_verdict:
                verdict = match
                break
        if not (matches or dry_runs or answers):
            return UNTOUCHED
        return Plan(tuple(matches), tuple(dry_runs), verdict, answers or UNTOUCHED.answers)

    def _counts(self, rule: BaseRule, facts: ConnectionFacts) -> bool:
        missed = self._first_missed(rule.counting, facts, self.states[rule.name])
        if missed is not None and facts.reading is not None:
            facts.reading.note(rule, missed, self.states[rule.name], facts)
        return missed is None

    def _choose(self, rule: BaseRule, facts: ConnectionFacts) -> Match | None:
        state = self.states[rule.name]
        state.considered += 1
        missed = self._first_missed(rule.choosing, facts, state)
        if facts.reading is not None:
            facts.reading.note(rule, missed, state, facts)
        if missed is not None:
            return None
        state.matched += 1
        return _match(rule, state.considered)

    @staticmethod
    def _first_missed(conditions: tuple[Condition, ...], facts: ConnectionFacts, state: RuleState) -> Condition | None:
        for condition in conditions:
            if not condition.holds(facts, state):
                return condition
        return None

    def _is_open(self, rule: BaseRule, at_s: float) -> bool:
        return rule.window is None or rule.window.is_open(self.elapsed(rule, at_s))


def _match(rule: BaseRule, ordinal: int) -> Match:
    return Match(rule.name, ordinal, rule.faults, rule.dry_run)
