"""What a rule is held against."""

from faultproxy.rules.draw import draw
from faultproxy.rules.explain import reasons
from faultproxy.rules.facts import ConnectionFacts, Reading, RuleState
from faultproxy.rules.plan import UNTOUCHED
from faultproxy.rules.rule import BaseRule, Rule
from faultproxy.rules.rule_set import RuleSet


def test_a_rules_draw() -> None:
    """It depends on the seed, the proxy, the rule and the connection's number, and on nothing else."""
    state = RuleState((42, "redis", "chance"), 0.0)
    drawn = state.draw(ConnectionFacts(17, "10.0.0.1", 0.0, 1))
    assert drawn == draw(42, "redis", "chance", 17)
    state.considered = 9
    assert state.draw(ConnectionFacts(17, "10.0.0.2", 5.0, 3, b"hello")) == drawn


def rule(name: str, when: dict[str, object], **keys: object) -> BaseRule:
    return Rule.model_validate({"name": name, "when": when, "reset": None, **keys})


def test_a_reading_stays_as_it_was() -> None:
    """What the rules said to a connection is told when they have counted others, and when an edit has changed them."""
    first, capped = rule("first", {"first": 1}), rule("capped", {}, limit=1)
    rules = RuleSet.open("p", 0, [first, capped], 0.0)
    about = [ConnectionFacts(number, "127.0.0.1", 1.0, 1, reading=Reading(rules.rules)) for number in (1, 2, 3)]
    plans = [rules.decide(facts) for facts in about]
    rules.edited(0, [rule("first", {"client": "10.0.0.1"})], 5.0).decide(ConnectionFacts(4, "127.0.0.1", 6.0, 1))
    told = []
    for facts, plan in zip(about, plans, strict=True):
        assert facts.reading is not None
        verdict = plan.verdict.rule if plan.verdict is not None else None
        told.append([one.because for one in reasons(facts.reading, facts, verdict)])
    assert told == [
        ["1st that it counts, of the first 1", 'not read: "first" has decided'],
        ["2nd that it counts, past the first 1", "no. 1 of at most 1"],
        ["3rd that it counts, past the first 1", "it has matched 1 times, its limit"],
    ]


def test_a_live_rule_that_asks_again_and_again_is_kept_once() -> None:
    """Its last word, also of one that an edit has brought; a connection that stays for years keeps no more."""
    live = {"live": True, "when": {"window": {"to": "1s", "every": "2s"}}}
    before = RuleSet.open(
        "p", 0, [rule("a", {"client": "10.0.0.1"}), Rule.model_validate({"name": "b", "reset": None, **live})], 0.0
    )
    reading = Reading(before.rules)
    facts = ConnectionFacts(1, "127.0.0.1", 1.5, 1, reading=reading)
    before.decide(facts)
    new = Rule.model_validate({"name": "new", "reset": None, **live})
    after = before.edited(0, [*before.rules, new], 2.0)
    for at_s in range(2, 100, 2):
        for one in after.rules[1:]:
            after.match_open(one, facts._replace(at_s=float(at_s), open_connections=at_s), UNTOUCHED)
    said = reading.said()
    assert list(said) == ["a", "b", "new"]
    assert (said["b"].at_s, said["new"].open_connections, said["a"].at_s) == (98.0, 98, 1.5)
    assert len(reading._said) == 3 * 8
    assert [one.holds for one in reasons(reading, facts, None)] == [False, True, True]
