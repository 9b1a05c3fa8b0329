"""The forecast: what would become of connections that are yet to come, and what every rule says to each.

The rules are read by the same RuleSet that reads them for real connections, and what they say is kept in a Reading.
That of a real connection is put into words in the same way.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from faultproxy.faults.base import ConnectDelay, Fault, ListenerMode, Shape, TriggeredFault, Verdict
from faultproxy.rules.conditions.base import Stage, nth
from faultproxy.rules.facts import ConnectionFacts, Reading, RuleState
from faultproxy.rules.plan import Match, Plan
from faultproxy.rules.rule import BaseRule
from faultproxy.rules.rule_set import RuleSet


@dataclass(frozen=True, slots=True)
class Reason:
    """What a rule says to a connection: whether it holds, and why."""

    rule: str
    holds: bool
    because: str


@dataclass(frozen=True, slots=True)
class ExpectedFault:
    """A fault that would be injected into a connection, and the connection's ordinal in its rule."""

    rule: str
    fault: str
    count: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of a connection: its faults in the order of the rules, in words, and every rule's reason."""

    connection: int
    faults: tuple[ExpectedFault, ...]
    text: str
    reasons: tuple[Reason, ...]


def forecast(rules: RuleSet, connections: Iterable[ConnectionFacts], *, enabled: bool = True) -> Iterator[Forecast]:
    """What would become of these connections, which the rules count as they would real ones.

    A closed listener (an outage, or a proxy that is not ``enabled``) lets nobody in: then nobody is counted.
    """
    for facts in connections:
        lockout = rules.lockout(facts.at_s)
        if not enabled:
            reasons = [Reason(rule.name, False, "not read: the proxy is not enabled") for rule in rules.rules]
            yield Forecast(facts.number, (), "refused: the proxy is not enabled", tuple(reasons))
        elif lockout is not None and lockout.mode_for_all is ListenerMode.CLOSED:
            yield _locked_out(rules, lockout, facts)
        else:
            yield _judged(rules, facts)


def _locked_out(rules: RuleSet, lockout: BaseRule, facts: ConnectionFacts) -> Forecast:
    because = "; ".join(["an outage: the listener is closed", *_held(lockout, facts, rules.states[lockout.name])])
    reasons = [
        Reason(rule.name, True, because)
        if rule is lockout
        else Reason(rule.name, False, f'not read: nobody gets in while "{lockout.name}" has closed the listener')
        for rule in rules.rules
    ]
    fault = lockout.faults[0].key
    return Forecast(facts.number, (ExpectedFault(lockout.name, fault, 1),), fault, tuple(reasons))


def _judged(rules: RuleSet, facts: ConnectionFacts) -> Forecast:
    reading = Reading(rules.rules)
    plan = rules.decide(facts._replace(reading=reading))
    verdict = plan.verdict.rule if plan.verdict is not None else None
    coming = list(_to_come(plan))
    faults = [
        ExpectedFault(match.rule, fault.key, match.ordinal) for match, fault in coming if not isinstance(fault, Verdict)
    ]
    text = ", ".join(_in_words(fault) for _, fault in coming) or "nothing"
    return Forecast(facts.number, tuple(faults), text, tuple(reasons(reading, facts, verdict)))


def reasons(reading: Reading, facts: ConnectionFacts, verdict: str | None) -> Iterator[Reason]:
    """What every rule said to a connection, in their order; ``verdict`` is the rule that ended the reading.

    Rules that judged it later, as an edit brought them, follow.
    """
    before, said = [rule.name for rule in reading.rules], reading.said()
    for name in [*before, *(name for name in said if name not in before)]:
        if name not in said:
            decided = f'"{verdict}" has decided' if verdict is not None else "it was let through"
            yield Reason(name, False, f"not read: {decided}")
            continue
        rule, missed, state, at_s, are_open = said[name]
        then = facts._replace(at_s=at_s, open_connections=are_open)
        if missed is not None:
            counted = _counted(state) if missed.stage is Stage.ORDINAL else ""
            yield Reason(name, False, counted + missed.explain(then, state, holds=False))
        else:
            held = _held(rule, then, state) or ["it has no condition"]
            dry_run = ["a dry run: logged, and not carried out"] if rule.dry_run else []
            yield Reason(name, True, "; ".join(held + dry_run))


def _to_come(plan: Plan) -> Iterator[tuple[Match, Fault]]:
    """The faults that were decided on, but for shapes with nothing to shape: no handshake, or not a byte."""
    triggered = [fault for match in plan.matches for fault in match.faults.triggered]
    is_refused = plan.refusal is not None
    is_silent = is_refused or any(fault.after.at_once and fault.silences for fault in triggered)
    for match in plan.matches:
        for fault in match.faults:
            is_idle = is_refused if isinstance(fault, ConnectDelay) else is_silent and isinstance(fault, Shape)
            if not is_idle:
                yield match, fault


def _in_words(fault: Fault) -> str:
    given = fault.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"after"})
    options = "".join(f" {key} {value}" for key, value in given.items())
    when = f" {'' if fault.after.at_once else 'after '}{fault.after}" if isinstance(fault, TriggeredFault) else ""
    return f"{fault.key}{when}{options}"


def _held(rule: BaseRule, facts: ConnectionFacts, state: RuleState) -> list[str]:
    """What holds of the conditions that a rule has; its ordinals as one."""
    texts: dict[Stage | str, str] = {}
    for condition in rule.conditions:
        text = condition.explain(facts, state, holds=True)
        if condition.stage is Stage.ORDINAL:
            above = texts.get(Stage.ORDINAL)
            texts[Stage.ORDINAL] = f"{above}, {text}" if above else _counted(state) + text
        else:
            texts[text] = text
    return list(texts.values())


def _counted(state: RuleState) -> str:
    return f"{nth(state.considered)} that it counts, "
