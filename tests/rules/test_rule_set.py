"""How rules decide: read from top to bottom, counted by each rule for itself, drawn from the seed alone."""

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultproxy.faults import CATALOGUE
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import Plan
from faultproxy.rules.rule import BaseRule, Rule
from faultproxy.rules.rule_set import RuleSet

PROPERTY = settings(derandomize=True, deadline=None, max_examples=100)
GOLDEN = [14, 16, 23, 24, 38]


def rule(name: str, when: dict[str, Any] | None = None, **keys: Any) -> BaseRule:
    """A rule as it would stand in a file; it resets unless it says otherwise."""
    if not keys.keys() & {kind.key for kind in CATALOGUE}:
        keys["reset"] = None
    if when is not None:
        keys["when"] = when
    return Rule.model_validate({"name": name, **keys})


def rule_set(*rules: BaseRule, proxy: str = "redis", seed: int = 42, now_s: float = 0.0) -> RuleSet:
    return RuleSet.open(proxy, seed, rules, now_s)


def facts(number: int, *, at_s: float = 0.0, client: str = "10.0.0.1", open_connections: int = 1) -> ConnectionFacts:
    return ConnectionFacts(number, client, at_s, open_connections)


def names(plan: Plan) -> list[str]:
    return [match.rule for match in plan.matches]


def dry_runs(plan: Plan) -> list[str]:
    return [match.rule for match in plan.dry_runs]


def matched(rules: RuleSet, name: str, connections: int) -> list[int]:
    """Which of the first connections a rule matches."""
    return [number for number in range(1, connections + 1) if name in names(rules.decide(facts(number)))]


# ---- reading from top to bottom


def test_the_first_matching_verdict_ends_the_reading() -> None:
    """Of two rules that match, the upper one decides, and the lower one does not even count."""
    rules = rule_set(rule("upper"), rule("lower"))
    plan = rules.decide(facts(1))
    assert names(plan) == ["upper"]
    assert plan.verdict is not None
    assert plan.verdict.rule == "upper"
    assert rules.states["lower"].considered == 0


def test_a_rule_that_does_not_match_is_passed_by() -> None:
    """Reading goes on below a rule whose conditions do not hold."""
    rules = rule_set(rule("upper", {"client": "192.168.0.0/16"}), rule("lower"))
    assert names(rules.decide(facts(1))) == ["lower"]
    assert rules.states["upper"].considered == 0


def test_no_rules_touch_nobody() -> None:
    """Without rules, or with none that matches, a connection is left alone."""
    assert rule_set().decide(facts(1)) == Plan()
    assert rule_set(rule("other", {"client": "192.168.0.1"})).decide(facts(1)) == Plan()


def test_pass_is_a_verdict() -> None:
    """``pass`` exempts who matches it from every rule below, and nobody from the rules above."""
    checker = rule("checker", {"client": "10.0.0.9"}, **{"pass": None})
    rules = rule_set(rule("second only", {"connection": 2}), checker, rule("everybody"))
    assert names(rules.decide(facts(1, client="10.0.0.9"))) == ["checker"]
    assert names(rules.decide(facts(2, client="10.0.0.9"))) == ["second only"]
    assert names(rules.decide(facts(3))) == ["everybody"]
    assert rules.states["everybody"].considered == 1


# ---- a rule's own count


def test_each_rule_counts_for_itself() -> None:
    """A rule's first connection is the first that reaches it, not the proxy's first."""
    rules = rule_set(rule("upper", {"first": 2}), rule("lower", {"first": 2}))
    plans = [names(rules.decide(facts(number))) for number in range(1, 6)]
    assert plans == [["upper"], ["upper"], ["lower"], ["lower"], []]


def test_only_connections_that_meet_the_conditions_are_counted() -> None:
    """Clients, windows and open connections decide who is counted; ordinals and probability come after."""
    rules = rule_set(rule("third", {"client": "10.0.0.0/8", "nth": 3, "open_connections": {"max": 5}}))
    for number, client, open_connections in [(1, "10.0.0.1", 1), (2, "11.0.0.1", 1), (3, "10.0.0.1", 6)]:
        assert names(rules.decide(facts(number, client=client, open_connections=open_connections))) == []
    assert names(rules.decide(facts(4))) == []
    plan = rules.decide(facts(5))
    assert names(plan) == ["third"]
    assert plan.matches[0].ordinal == 3


def test_what_ordinals_and_chance_pass_over_is_counted() -> None:
    """A connection that the ordinals or the draw do not choose was counted all the same."""
    rules = rule_set(rule("skips", {"skip": 9}), rule("never", {"probability": "0%"}))
    for number in range(1, 6):
        rules.decide(facts(number))
    assert rules.states["skips"].considered == 5
    assert rules.states["never"].considered == 5


@PROPERTY
@given(
    verdicts=st.lists(st.booleans(), max_size=60),
    ordinals=st.fixed_dictionaries(
        {}, optional={"first": st.integers(1, 20), "skip": st.integers(1, 20), "every": st.integers(1, 5)}
    ),
)
def test_a_count_is_of_those_that_reach_the_rule(verdicts: list[bool], ordinals: dict[str, int]) -> None:
    """Whatever a rule above takes away, ordinals judge the running number of those that are left."""
    taken = [number for number, is_taken in enumerate(verdicts, 1) if is_taken]
    above = [rule("above", {"connection": taken})] if taken else []
    rules = rule_set(*above, rule("below", ordinals))
    count = 0
    for number, is_taken in enumerate(verdicts, 1):
        plan = rules.decide(facts(number))
        if is_taken:
            assert names(plan) == ["above"]
            continue
        count += 1
        is_chosen = (
            count <= ordinals.get("first", count)
            and count > ordinals.get("skip", 0)
            and count % ordinals.get("every", 1) == 0
        )
        assert [match.ordinal for match in plan.matches] == ([count] if is_chosen else [])


# ---- chance


@PROPERTY
@given(
    seed=st.integers(0, 2**64),
    order=st.permutations(range(1, 31)),
    times=st.lists(st.floats(0, 1e6), min_size=30, max_size=30),
    others=st.lists(
        st.sampled_from(
            [
                {"dry_run": True},
                {"dry_run": True, "when": {"probability": 0.5}},
                {"when": {"client": "192.168.0.1"}},
                {"when": {"probability": 0}},
            ]
        ),
        max_size=5,
    ),
)
def test_the_seed_alone_decides(seed: int, order: list[int], times: list[float], others: list[dict[str, Any]]) -> None:
    """The same seed picks the same connections, whatever their times, their order and the rules around."""
    chance = rule("chance", {"probability": "30%"})
    alone = rule_set(chance, seed=seed)
    expected = {number: names(alone.decide(facts(number))) for number in range(1, 31)}
    above = [rule(f"above {index}", **keys) for index, keys in enumerate(others)]
    crowded = rule_set(*above, chance, rule("below", {"connection": 99}), seed=seed)
    plans = {number: names(crowded.decide(facts(number, at_s=times[number - 1]))) for number in order}
    assert plans == expected


def test_deciding_again_gives_the_same_plan() -> None:
    """A draw is a function, not a stream: asked twice, it answers the same."""
    rules = rule_set(rule("chance", {"probability": 0.5}))
    assert matched(rules, "chance", 100) == matched(rules, "chance", 100)


def test_a_draw_stays_what_it_was() -> None:
    """Draws are the same in every version and on every machine, or no run could be repeated from its seed."""
    assert matched(rule_set(rule("chance", {"probability": "10%"})), "chance", 50) == GOLDEN


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.99])
def test_chance_is_as_likely_as_it_says(probability: float) -> None:
    """Of 10,000 connections as many match as the probability says, within 4 standard deviations."""
    connections = 10_000
    count = len(matched(rule_set(rule("chance", {"probability": probability})), "chance", connections))
    sigma = sqrt(connections * probability * (1 - probability))
    assert abs(count - connections * probability) < 4 * sigma


def test_never_and_always_are_certain() -> None:
    """0% never matches, 100% always does."""
    assert matched(rule_set(rule("never", {"probability": "0%"})), "never", 1000) == []
    assert matched(rule_set(rule("always", {"probability": "100%"})), "always", 1000) == list(range(1, 1001))


@pytest.mark.parametrize(
    "other",
    [
        rule_set(rule("other", {"probability": 0.5})),
        rule_set(rule("chance", {"probability": 0.5}), proxy="web"),
        rule_set(rule("chance", {"probability": 0.5}), seed=43),
    ],
    ids=["rule", "proxy", "seed"],
)
def test_chances_are_independent(other: RuleSet) -> None:
    """Two rules, proxies or seeds with one probability pick connections of their own: both pick about a quarter."""
    connections = 10_000
    ours = set(matched(rule_set(rule("chance", {"probability": 0.5})), "chance", connections))
    theirs = set(matched(other, other.rules[0].name, connections))
    assert abs(len(ours & theirs) - connections / 4) < 4 * sqrt(connections * 3 / 16)


def test_a_larger_probability_keeps_those_it_had() -> None:
    """Raising a probability adds connections and takes none away."""
    few = set(matched(rule_set(rule("chance", {"probability": 0.1})), "chance", 1000))
    many = set(matched(rule_set(rule("chance", {"probability": 0.3})), "chance", 1000))
    assert few < many


# ---- limit


def test_a_limit_bounds_how_often_a_rule_decides() -> None:
    """After its limit a rule decides no more, and the reading goes on below it."""
    rules = rule_set(rule("limited", {"skip": 2}, limit=3), rule("below"))
    plans = [names(rules.decide(facts(number))) for number in range(1, 8)]
    assert plans == [["below"]] * 2 + [["limited"]] * 3 + [["below"]] * 2
    assert rules.states["limited"].considered == 7


# ---- dry run


def test_a_dry_run_decides_and_counts_but_does_nothing() -> None:
    """A rule with dry_run is reported apart, never ends the reading, and keeps count and limit like any other."""
    rules = rule_set(rule("dry_run", {"first": 3}, dry_run=True, limit=2), rule("real"))
    plans = [rules.decide(facts(number)) for number in range(1, 5)]
    assert [dry_runs(plan) for plan in plans] == [["dry_run"], ["dry_run"], [], []]
    assert [names(plan) for plan in plans] == [["real"]] * 4
    assert plans[1].dry_runs[0].ordinal == 2


def test_a_dry_run_may_not_even_stop() -> None:
    """A dry run with pass, a connect fault or stop does not end the reading either."""
    rules = rule_set(
        rule("a", dry_run=True, **{"pass": None}),
        rule("b", dry_run=True, refuse=None),
        rule("c", dry_run=True, stop=True),
        rule("real"),
    )
    plan = rules.decide(facts(1))
    assert dry_runs(plan) == ["a", "b", "c"]
    assert names(plan) == ["real"]


WHEN = st.fixed_dictionaries(
    {},
    optional={
        "client": st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.0/24"]),
        "probability": st.sampled_from([0.1, 0.5, 0.9]),
        "first": st.integers(1, 10),
        "skip": st.integers(1, 5),
        "every": st.integers(1, 3),
    },
)


@PROPERTY
@given(
    whens=st.lists(st.tuples(WHEN, st.booleans()), max_size=6),
    clients=st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2"]), max_size=30),
)
def test_dry_runs_change_nobodys_plan(whens: list[tuple[dict[str, Any], bool]], clients: list[str]) -> None:
    """With all dry runs taken away, every connection has the same plan, and every rule the same count."""
    rules = [rule(f"rule {index}", when, dry_run=is_dry_run) for index, (when, is_dry_run) in enumerate(whens)]
    full = rule_set(*rules)
    real = rule_set(*(each for each in rules if not each.dry_run))
    for number, client in enumerate(clients, 1):
        with_dry_runs = full.decide(facts(number, client=client))
        without = real.decide(facts(number, client=client))
        assert (with_dry_runs.matches, with_dry_runs.verdict) == (without.matches, without.verdict)


# ---- windows


def test_a_window_runs_from_when_its_rule_took_effect() -> None:
    """Accept times count from the moment of the configuration, whatever the clock says."""
    rules = rule_set(rule("window", {"window": {"from": "30s", "to": "45s"}}), now_s=1000.0)
    plans = {at_s: names(rules.decide(facts(1, at_s=at_s))) for at_s in (1000.0, 1029.9, 1030.0, 1044.9, 1045.0)}
    assert plans == {1000.0: [], 1029.9: [], 1030.0: ["window"], 1044.9: ["window"], 1045.0: []}
    assert rules.elapsed(rules.rules[0], 1030.0) == 30.0


# ---- edits


def test_counts_are_kept_by_name() -> None:
    """A rule that keeps its name keeps its counts through an edit, even if it changes; a new one starts at none."""
    before = rule_set(rule("kept", {"first": 3}), rule("gone"))
    for number in (1, 2):
        before.decide(facts(number))
    after = before.edited(42, [rule("new", {"first": 1}), rule("kept", {"first": 3}, close=None)], 10.0)
    assert [names(after.decide(facts(number))) for number in (3, 4, 5)] == [["new"], ["kept"], []]
    assert set(after.states) == {"new", "kept"}


def test_a_limit_is_kept_through_an_edit() -> None:
    """How often a rule matched is not forgotten by an edit."""
    before = rule_set(rule("limited", limit=2))
    before.decide(facts(1))
    after = before.edited(42, [rule("limited", limit=3)], 10.0)
    assert matched(after, "limited", 5) == [1, 2]


def test_only_changed_rules_restart_their_clocks() -> None:
    """An edit restarts the windows of the rules it changed and added, of no others."""
    window = {"window": {"from": "10s", "to": "20s"}}
    before = rule_set(rule("same", window), rule("changed", window))
    after = before.edited(42, [rule("added", window), rule("changed", window, close=None), rule("same", window)], 100.0)
    assert {name: state.since_s for name, state in after.states.items()} == {
        "added": 100.0,
        "changed": 100.0,
        "same": 0.0,
    }


def test_reading_a_rule_does_not_change_it() -> None:
    """A rule that was used compares equal to the same rule read again from the file."""
    before = rule_set(rule("same"))
    before.decide(facts(1))
    assert before.lockout(0.0) is None
    assert before.edited(42, [rule("same")], 100.0).states["same"].since_s == 0.0


def test_an_edit_that_is_given_up_leaves_no_trace() -> None:
    """The rule set that an edit started from is as it was, should the edit not take effect."""
    before = rule_set(rule("changed"), rule("same"))
    before.decide(facts(1))
    states = {name: replace(state) for name, state in before.states.items()}
    after = before.edited(43, [rule("changed", {"first": 1}), rule("new")], 100.0)
    assert before.states == states
    assert [each.name for each in before.rules] == ["changed", "same"]
    assert before.seed == 42
    assert after.seed == 43


# ---- live rules on open connections


LIVE = rule("live", {"window": {"from": "10s", "to": "20s"}}, live=True)


def test_a_live_rule_reaches_open_connections() -> None:
    """A connection that is open when the window opens is judged as if it came then, and counted."""
    rules = rule_set(LIVE, rule("below", {"connection": 2}))
    early = rules.decide(facts(1))
    assert names(early) == []
    assert rules.match_open(LIVE, facts(1, at_s=9.0), early) is None
    match = rules.match_open(LIVE, facts(1, at_s=10.0), early)
    assert match is not None
    assert (match.rule, match.ordinal) == ("live", 1)


def test_a_live_rule_below_the_verdict_is_not_reached() -> None:
    """Who was exempted above stays exempt; who met a verdict below the live rule does not."""
    rules = rule_set(
        rule("above", {"connection": 1}, **{"pass": None}), LIVE, rule("below", {"connection": 2}, **{"pass": None})
    )
    exempt, other = rules.decide(facts(1)), rules.decide(facts(2))
    assert rules.match_open(LIVE, facts(1, at_s=10.0), exempt) is None
    assert rules.states["live"].considered == 0
    assert rules.match_open(LIVE, facts(2, at_s=10.0), other) is not None


def test_a_live_rule_keeps_its_other_conditions() -> None:
    """Clients, ordinals, chance and limit choose among open connections, too."""
    live = rule("live", {"client": "10.0.0.0/8", "every": 2, "window": {"from": "10s"}}, live=True, limit=2)
    rules = rule_set(live)
    clients = ["10.0.0.1", "11.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"]
    opened = [rules.decide(facts(number, client=client)) for number, client in enumerate(clients, 1)]
    matches = [
        rules.match_open(live, facts(number, client=client, at_s=10.0), plan)
        for number, (client, plan) in enumerate(zip(clients, opened, strict=True), 1)
    ]
    assert [number for number, match in enumerate(matches, 1) if match] == [3, 5]


def test_a_verdict_that_an_edit_removed_exempts_nobody() -> None:
    """When the rule that ended the reading is gone, a live rule reaches the connection."""
    before = rule_set(rule("above", **{"pass": None}), LIVE)
    exempt = before.decide(facts(1))
    after = before.edited(42, [LIVE], 5.0)
    assert after.match_open(LIVE, facts(1, at_s=10.0), exempt) is not None


# ---- shapes, also on open connections

SLOW = {"latency": {"delay": "10ms"}}


def shaped(rules: RuleSet, earlier: Plan, *, at_s: float = 0.0, number: int = 1) -> tuple[Plan, list[str]]:
    plan, matches = rules.reshape(facts(number, at_s=at_s), earlier)
    return plan, [match.rule for match in matches]


def test_shapes_add_up() -> None:
    """Shaping rules that match all act, and the reading goes on to the verdict below them."""
    rules = rule_set(rule("slow", **SLOW), rule("slower", **SLOW), rule("cut"), rule("below", **SLOW))
    plan = rules.decide(facts(1))
    assert names(plan) == ["slow", "slower", "cut"]
    assert plan.verdict is not None
    assert plan.verdict.rule == "cut"


def test_a_shape_may_stop() -> None:
    """With stop, a shaping rule ends the reading, at a connection that it chose."""
    rules = rule_set(rule("slow", {"first": 1}, stop=True, **SLOW), rule("cut"))
    assert names(rules.decide(facts(1))) == ["slow"]
    assert names(rules.decide(facts(2))) == ["cut"]


def test_a_shape_acts_while_its_window_is_open() -> None:
    """On an open connection a shape comes and goes with its window, counted once."""
    rules = rule_set(rule("slow", {"window": {"from": "10s", "to": "20s", "every": "1m"}}, **SLOW))
    plan = rules.decide(facts(1))
    acting = {}
    for at_s in (0.0, 10.0, 19.0, 20.0, 70.0, 80.0):
        plan, acting[at_s] = shaped(rules, plan, at_s=at_s)
    assert acting == {0.0: [], 10.0: ["slow"], 19.0: ["slow"], 20.0: [], 70.0: ["slow"], 80.0: []}
    assert rules.states["slow"].considered == 1


def test_a_rule_already_judged_keeps_its_answer() -> None:
    """What a shaping rule said of a connection holds for as long as it is open, yes or no."""
    rules = rule_set(rule("first", {"first": 1}, **SLOW))
    plans = [rules.decide(facts(number)) for number in (1, 2)]
    edited = rules.edited(42, [rule("first", {"first": 9}, **SLOW)], 5.0)
    assert [shaped(edited, plan, number=number)[1] for number, plan in enumerate(plans, 1)] == [
        ["first"],
        [],
    ]
    assert edited.states["first"].considered == 2


def test_an_edit_reaches_open_connections() -> None:
    """A shaping rule that is new counts the connections that are open; one that is gone shapes no more."""
    rules = rule_set(rule("old", **SLOW))
    plans = [rules.decide(facts(number)) for number in (1, 2)]
    edited = rules.edited(42, [rule("new", {"first": 1}, **SLOW)], 5.0)
    acting = [shaped(edited, plan, at_s=5.0, number=number)[1] for number, plan in enumerate(plans, 1)]
    assert acting == [["new"], []]


def test_no_shape_reaches_past_a_verdict() -> None:
    """Shapes below the verdict that a connection met do not act on it, nor do dry runs."""
    rules = rule_set(
        rule("dry_run", dry_run=True, **SLOW),
        rule("above", **SLOW),
        rule("exempt", **{"pass": None}),
        rule("below", {"window": {"from": "10s"}}, **SLOW),
    )
    plan = rules.decide(facts(1))
    assert shaped(rules, plan, at_s=10.0)[1] == ["above"]
    assert rules.states["below"].considered == 0


# ---- outages

WINDOW = {"window": {"from": "10s", "to": "20s"}}


@pytest.mark.parametrize(
    ("rules", "outage"),
    [
        ([rule("down", refuse=None)], "down"),
        ([rule("down", WINDOW, refuse=None)], "down"),
        ([rule("down", WINDOW, refuse=None, expect={"min": 1})], "down"),
        ([rule("down", {}, refuse=None)], "down"),
        ([rule("some", {"client": "10.0.0.1"}, refuse=None), rule("down", refuse=None)], None),
        ([rule("down", {"first": 3}, refuse=None)], None),
        ([rule("down", {**WINDOW, "probability": "50%"}, refuse=None)], None),
        ([rule("down", {"open_connections": {"min": 1}}, refuse=None)], None),
        ([rule("down", refuse=None, limit=3)], None),
        ([rule("down", refuse=None, dry_run=True)], None),
        ([rule("cut", WINDOW)], None),
        ([rule("cut", {"connection": 99}), rule("down", refuse=None)], None),
        ([rule("checker", {"client": "10.0.0.9"}, **{"pass": None}), rule("down", refuse=None)], None),
        ([rule("dry_run", dry_run=True), rule("down", refuse=None)], "down"),
        ([rule("down", refuse=None, dry_run=True), rule("really", refuse=None)], "really"),
        ([rule("down", WINDOW, refuse=None), rule("cut")], "down"),
        ([rule("later", {"window": {"from": "90s"}}, refuse=None), rule("down", WINDOW, refuse=None)], "down"),
        ([rule("later", {"window": {"from": "90s"}}, refuse=None)], None),
        ([], None),
    ],
)
def test_an_outage(rules: list[BaseRule], outage: str | None) -> None:
    """An outage refuses everybody while its window is open, with no limit and no verdict above it but other outages."""
    found = rule_set(*rules).lockout(15.0)
    assert (None if found is None else found.name) == outage
