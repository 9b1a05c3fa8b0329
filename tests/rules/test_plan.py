"""A plan is plain data."""

import pickle

from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import UNTOUCHED, Plan
from faultproxy.rules.rule import Rule
from faultproxy.rules.rule_set import RuleSet

RULES = [
    {"name": "slow", "when": {"first": 3}, "latency": {"delay": "10ms"}, "slow_connect": {"delay": "1s"}},
    {
        "name": "cut",
        "reset": {"after": {"match": "ERROR [0-9]+"}},
        "half_close": {"after": "4KiB"},
        "slice": {"size": "1B"},
    },
]


def plan(*rules: object) -> Plan:
    rule_set = RuleSet.open("redis", 42, [Rule.model_validate(rule) for rule in rules], 0.0)
    return rule_set.decide(ConnectionFacts(1, "127.0.0.1", 0.0, 1))


def test_a_plan_can_be_pickled() -> None:
    """Another process can carry it out: it holds fault values and rule names, and no rules."""
    ours = plan(*RULES)
    theirs = pickle.loads(pickle.dumps(ours))
    assert theirs == ours
    assert [fault.key for match in theirs.matches for fault in match.faults] == [
        "slow_connect", "latency", "reset", "half_close", "slice",
    ]  # fmt: skip
    assert pickle.loads(pickle.dumps(UNTOUCHED)) == UNTOUCHED


def test_faults_by_kind() -> None:
    """A match sorts its faults: what delays the handshake, what waits for a trigger, what shapes."""
    slow, cut = plan(*RULES).matches
    assert slow.faults.connect_delay is slow.faults[0]
    assert (slow.faults.connect, slow.faults.triggered, slow.faults.shapes) == (None, (), slow.faults[1:])
    assert (cut.faults.triggered, cut.faults.shapes) == (cut.faults[:2], cut.faults[2:])


def test_a_refusal_is_the_verdicts() -> None:
    """The fault that keeps the client out, if the verdict is one."""
    assert plan(*RULES).refusal is None
    refused = plan({"name": "no", "refuse": {}})
    assert refused.refusal is refused.matches[0].faults.connect is not None
