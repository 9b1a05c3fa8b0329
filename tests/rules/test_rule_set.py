"""How rules decide: read from top to bottom, counted by each rule for itself, drawn from the seed alone."""

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultproxy.faults import CATALOGUE
from faultproxy.rules.conditions import Arrival
from faultproxy.rules.decision import Decision, RuleBook, draw
from faultproxy.rules.rule import BaseRule, Rule

PROPERTY = settings(derandomize=True, deadline=None, max_examples=100)
GOLDEN_FATES = [14, 16, 23, 24, 38]
GOLDEN_DRAW = 0.6312459480499442


def rule(name: str, when: dict[str, Any] | None = None, **keys: Any) -> BaseRule:
    """A rule as it would stand in a file; it resets unless it says otherwise."""
    if not keys.keys() & {kind.key for kind in CATALOGUE}:
        keys["reset"] = None
    if when is not None:
        keys["when"] = when
    return Rule.model_validate({"name": name, **keys})


def book(*rules: BaseRule, proxy: str = "redis", seed: int = 42, now_s: float = 0.0) -> RuleBook:
    return RuleBook.opened(proxy, seed, rules, now_s)


def arrival(number: int, *, at_s: float = 0.0, client: str = "10.0.0.1", open_connections: int = 1) -> Arrival:
    return Arrival(number, client, at_s, open_connections)


def names(decision: Decision) -> list[str]:
    return [hit.rule.name for hit in decision.hits]


def shadows(decision: Decision) -> list[str]:
    return [hit.rule.name for hit in decision.shadows]


def struck(rules: RuleBook, name: str, connections: int) -> list[int]:
    """Which of the first connections a rule hits."""
    return [number for number in range(1, connections + 1) if name in names(rules.decide(arrival(number)))]


# ---- reading from top to bottom


def test_the_first_matching_verdict_ends_the_reading() -> None:
    """Of two rules that match, the upper one decides, and the lower one does not even count."""
    rules = book(rule("upper"), rule("lower"))
    decision = rules.decide(arrival(1))
    assert names(decision) == ["upper"]
    assert decision.verdict is not None
    assert decision.verdict.rule.name == "upper"
    assert rules.standings["lower"].counted == 0


def test_a_rule_that_does_not_match_is_passed_by() -> None:
    """Reading goes on below a rule whose conditions do not hold."""
    rules = book(rule("upper", {"client": "192.168.0.0/16"}), rule("lower"))
    assert names(rules.decide(arrival(1))) == ["lower"]
    assert rules.standings["upper"].counted == 0


def test_no_rules_touch_nobody() -> None:
    """Without rules, or with none that matches, a connection is left alone."""
    assert book().decide(arrival(1)) == Decision()
    assert book(rule("other", {"client": "192.168.0.1"})).decide(arrival(1)) == Decision()


def test_pass_is_a_verdict() -> None:
    """``pass`` exempts who matches it from every rule below, and nobody from the rules above."""
    checker = rule("checker", {"client": "10.0.0.9"}, **{"pass": None})
    rules = book(rule("second only", {"connection": 2}), checker, rule("everybody"))
    assert names(rules.decide(arrival(1, client="10.0.0.9"))) == ["checker"]
    assert names(rules.decide(arrival(2, client="10.0.0.9"))) == ["second only"]
    assert names(rules.decide(arrival(3))) == ["everybody"]
    assert rules.standings["everybody"].counted == 1


# ---- a rule's own count


def test_each_rule_counts_for_itself() -> None:
    """A rule's first connection is the first that reaches it, not the proxy's first."""
    rules = book(rule("upper", {"first": 2}), rule("lower", {"first": 2}))
    fates = [names(rules.decide(arrival(number))) for number in range(1, 6)]
    assert fates == [["upper"], ["upper"], ["lower"], ["lower"], []]


def test_only_connections_that_meet_the_conditions_are_counted() -> None:
    """Clients, windows and open connections decide who is counted; ordinals and probability come after."""
    rules = book(rule("third", {"client": "10.0.0.0/8", "nth": 3, "open_connections": {"max": 5}}))
    for number, client, open_connections in [(1, "10.0.0.1", 1), (2, "11.0.0.1", 1), (3, "10.0.0.1", 6)]:
        assert names(rules.decide(arrival(number, client=client, open_connections=open_connections))) == []
    assert names(rules.decide(arrival(4))) == []
    decision = rules.decide(arrival(5))
    assert names(decision) == ["third"]
    assert decision.hits[0].count == 3


def test_what_ordinals_and_chance_pass_over_is_counted() -> None:
    """A connection that the ordinals or the draw do not choose was counted all the same."""
    rules = book(rule("skips", {"skip": 9}), rule("never", {"probability": "0%"}))
    for number in range(1, 6):
        rules.decide(arrival(number))
    assert rules.standings["skips"].counted == 5
    assert rules.standings["never"].counted == 5


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
    rules = book(*above, rule("below", ordinals))
    count = 0
    for number, is_taken in enumerate(verdicts, 1):
        decision = rules.decide(arrival(number))
        if is_taken:
            assert names(decision) == ["above"]
            continue
        count += 1
        is_chosen = (
            count <= ordinals.get("first", count)
            and count > ordinals.get("skip", 0)
            and count % ordinals.get("every", 1) == 0
        )
        assert [hit.count for hit in decision.hits] == ([count] if is_chosen else [])


# ---- chance


@PROPERTY
@given(
    seed=st.integers(0, 2**64),
    order=st.permutations(range(1, 31)),
    times=st.lists(st.floats(0, 1e6), min_size=30, max_size=30),
    others=st.lists(
        st.sampled_from(
            [
                {"mode": "shadow"},
                {"mode": "shadow", "when": {"probability": 0.5}},
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
    alone = book(chance, seed=seed)
    expected = {number: names(alone.decide(arrival(number))) for number in range(1, 31)}
    above = [rule(f"above {index}", **keys) for index, keys in enumerate(others)]
    crowded = book(*above, chance, rule("below", {"connection": 99}), seed=seed)
    fates = {number: names(crowded.decide(arrival(number, at_s=times[number - 1]))) for number in order}
    assert fates == expected


def test_deciding_again_gives_the_same_fate() -> None:
    """A draw is a function, not a stream: asked twice, it answers the same."""
    rules = book(rule("chance", {"probability": 0.5}))
    assert struck(rules, "chance", 100) == struck(rules, "chance", 100)


def test_a_draw_stays_what_it_was() -> None:
    """Draws are the same in every version and on every machine, or no run could be repeated from its seed."""
    assert struck(book(rule("chance", {"probability": "10%"})), "chance", 50) == GOLDEN_FATES
    assert draw(42, "redis", "chance", 1) == GOLDEN_DRAW


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.99])
def test_chance_is_as_likely_as_it_says(probability: float) -> None:
    """10,000 connections are hit as often as the probability says, within 4 standard deviations."""
    connections = 10_000
    hits = len(struck(book(rule("chance", {"probability": probability})), "chance", connections))
    sigma = sqrt(connections * probability * (1 - probability))
    assert abs(hits - connections * probability) < 4 * sigma


def test_never_and_always_are_certain() -> None:
    """0% never strikes, 100% always does."""
    assert struck(book(rule("never", {"probability": "0%"})), "never", 1000) == []
    assert struck(book(rule("always", {"probability": "100%"})), "always", 1000) == list(range(1, 1001))


def test_a_draw_is_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest draw there is does not round up to 1, so that 100% is certain."""

    class Largest:
        def digest(self) -> bytes:
            return b"\xff" * 8

    monkeypatch.setattr("faultproxy.rules.decision.blake2b", lambda *_, **__: Largest())
    assert draw(42, "redis") < 1.0


def test_no_two_draws_are_shared() -> None:
    """Two rules, two proxies, two connections, two seeds never draw the same, not even if their names run together."""
    labels = ["", "a", "b", "ab", "a1", "1", "11", "1:a", "a:b"]
    parts = [
        (seed, proxy, name, number)
        for seed in (1, 11, 42)
        for proxy in labels
        for name in labels
        for number in (1, 2, 11, 111)
    ]
    assert len({draw(*part) for part in parts}) == len(parts)


@pytest.mark.parametrize(
    "other",
    [
        book(rule("other", {"probability": 0.5})),
        book(rule("chance", {"probability": 0.5}), proxy="web"),
        book(rule("chance", {"probability": 0.5}), seed=43),
    ],
    ids=["rule", "proxy", "seed"],
)
def test_chances_are_independent(other: RuleBook) -> None:
    """Two rules, proxies or seeds with one probability pick connections of their own: both pick about a quarter."""
    connections = 10_000
    ours = set(struck(book(rule("chance", {"probability": 0.5})), "chance", connections))
    theirs = set(struck(other, other.rules[0].name, connections))
    assert abs(len(ours & theirs) - connections / 4) < 4 * sqrt(connections * 3 / 16)


def test_a_larger_probability_keeps_those_it_had() -> None:
    """Raising a probability adds connections and takes none away."""
    few = set(struck(book(rule("chance", {"probability": 0.1})), "chance", 1000))
    many = set(struck(book(rule("chance", {"probability": 0.3})), "chance", 1000))
    assert few < many


# ---- limit


def test_a_limit_bounds_how_often_a_rule_decides() -> None:
    """After its limit a rule decides no more, and the reading goes on below it."""
    rules = book(rule("limited", {"skip": 2}, limit=3), rule("below"))
    fates = [names(rules.decide(arrival(number))) for number in range(1, 8)]
    assert fates == [["below"]] * 2 + [["limited"]] * 3 + [["below"]] * 2
    assert rules.standings["limited"].counted == 7


# ---- shadow


def test_a_shadow_decides_and_counts_but_does_nothing() -> None:
    """A rule in shadow mode is told apart, never ends the reading, and keeps count and limit like any other."""
    rules = book(rule("shadow", {"first": 3}, mode="shadow", limit=2), rule("real"))
    decisions = [rules.decide(arrival(number)) for number in range(1, 5)]
    assert [shadows(decision) for decision in decisions] == [["shadow"], ["shadow"], [], []]
    assert [names(decision) for decision in decisions] == [["real"]] * 4
    assert decisions[1].shadows[0].count == 2


def test_a_shadow_may_not_even_stop() -> None:
    """A shadow with pass, a connect fault or stop does not end the reading either."""
    rules = book(
        rule("a", mode="shadow", **{"pass": None}),
        rule("b", mode="shadow", refuse=None),
        rule("c", mode="shadow", stop=True),
        rule("real"),
    )
    decision = rules.decide(arrival(1))
    assert shadows(decision) == ["a", "b", "c"]
    assert names(decision) == ["real"]


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
def test_shadows_change_nobodys_fate(whens: list[tuple[dict[str, Any], bool]], clients: list[str]) -> None:
    """With all shadows taken away, every connection has the same fate, and every rule the same count."""
    rules = [
        rule(f"rule {index}", when, mode="shadow" if is_shadow else "enforce")
        for index, (when, is_shadow) in enumerate(whens)
    ]
    full = book(*rules)
    real = book(*(each for each in rules if each.mode == "enforce"))
    for number, client in enumerate(clients, 1):
        with_shadows = full.decide(arrival(number, client=client))
        without = real.decide(arrival(number, client=client))
        assert (with_shadows.hits, with_shadows.verdict) == (without.hits, without.verdict)


# ---- windows


def test_a_window_runs_from_when_its_rule_took_effect() -> None:
    """Accept times count from the moment of the configuration, whatever the clock says."""
    rules = book(rule("window", {"window": {"from": "30s", "to": "45s"}}), now_s=1000.0)
    fates = {at_s: names(rules.decide(arrival(1, at_s=at_s))) for at_s in (1000.0, 1029.9, 1030.0, 1044.9, 1045.0)}
    assert fates == {1000.0: [], 1029.9: [], 1030.0: ["window"], 1044.9: ["window"], 1045.0: []}
    assert rules.elapsed(rules.rules[0], 1030.0) == 30.0


# ---- edits


def test_counts_are_kept_by_name() -> None:
    """A rule that keeps its name keeps its counts through an edit, even if it changes; a new one starts at none."""
    before = book(rule("kept", {"first": 3}), rule("gone"))
    for number in (1, 2):
        before.decide(arrival(number))
    after = before.edited(42, [rule("new", {"first": 1}), rule("kept", {"first": 3}, close=None)], 10.0)
    assert [names(after.decide(arrival(number))) for number in (3, 4, 5)] == [["new"], ["kept"], []]
    assert set(after.standings) == {"new", "kept"}


def test_a_limit_is_kept_through_an_edit() -> None:
    """How often a rule fired is not forgotten by an edit."""
    before = book(rule("limited", limit=2))
    before.decide(arrival(1))
    after = before.edited(42, [rule("limited", limit=3)], 10.0)
    assert struck(after, "limited", 5) == [1, 2]


def test_only_changed_rules_restart_their_clocks() -> None:
    """An edit restarts the windows of the rules it changed and added, of no others."""
    window = {"window": {"from": "10s", "to": "20s"}}
    before = book(rule("same", window), rule("changed", window))
    after = before.edited(42, [rule("added", window), rule("changed", window, close=None), rule("same", window)], 100.0)
    assert {name: standing.since_s for name, standing in after.standings.items()} == {
        "added": 100.0,
        "changed": 100.0,
        "same": 0.0,
    }


def test_reading_a_rule_does_not_change_it() -> None:
    """A rule that was used compares equal to the same rule read again from the file."""
    before = book(rule("same"))
    before.decide(arrival(1))
    assert before.outage(0.0) is None
    assert before.edited(42, [rule("same")], 100.0).standings["same"].since_s == 0.0


def test_an_edit_that_is_given_up_leaves_no_trace() -> None:
    """The book that an edit started from is as it was, should the edit not take effect."""
    before = book(rule("changed"), rule("same"))
    before.decide(arrival(1))
    standings = {name: replace(standing) for name, standing in before.standings.items()}
    after = before.edited(43, [rule("changed", {"first": 1}), rule("new")], 100.0)
    assert before.standings == standings
    assert [each.name for each in before.rules] == ["changed", "same"]
    assert before.seed == 42
    assert after.seed == 43


# ---- live rules on open connections


LIVE = rule("live", {"window": {"from": "10s", "to": "20s"}}, live=True)


def test_a_live_rule_strikes_open_connections() -> None:
    """A connection that is open when the window opens is judged as if it came then, and counted."""
    rules = book(LIVE, rule("below", {"connection": 2}))
    early = rules.decide(arrival(1))
    assert names(early) == []
    assert rules.revisit(LIVE, arrival(1, at_s=9.0), early) is None
    hit = rules.revisit(LIVE, arrival(1, at_s=10.0), early)
    assert hit is not None
    assert (hit.rule.name, hit.count) == ("live", 1)


def test_a_live_rule_below_the_verdict_is_not_reached() -> None:
    """Who was exempted above stays exempt; who met a verdict below the live rule does not."""
    rules = book(
        rule("above", {"connection": 1}, **{"pass": None}), LIVE, rule("below", {"connection": 2}, **{"pass": None})
    )
    exempt, other = rules.decide(arrival(1)), rules.decide(arrival(2))
    assert rules.revisit(LIVE, arrival(1, at_s=10.0), exempt) is None
    assert rules.standings["live"].counted == 0
    assert rules.revisit(LIVE, arrival(2, at_s=10.0), other) is not None


def test_a_live_rule_keeps_its_other_conditions() -> None:
    """Clients, ordinals, chance and limit choose among open connections, too."""
    live = rule("live", {"client": "10.0.0.0/8", "every": 2, "window": {"from": "10s"}}, live=True, limit=2)
    rules = book(live)
    clients = ["10.0.0.1", "11.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"]
    opened = [rules.decide(arrival(number, client=client)) for number, client in enumerate(clients, 1)]
    hits = [
        rules.revisit(live, arrival(number, client=client, at_s=10.0), decision)
        for number, (client, decision) in enumerate(zip(clients, opened, strict=True), 1)
    ]
    assert [number for number, hit in enumerate(hits, 1) if hit] == [3, 5]


def test_a_verdict_that_an_edit_removed_exempts_nobody() -> None:
    """When the rule that ended the reading is gone, a live rule reaches the connection."""
    before = book(rule("above", **{"pass": None}), LIVE)
    exempt = before.decide(arrival(1))
    after = before.edited(42, [LIVE], 5.0)
    assert after.revisit(LIVE, arrival(1, at_s=10.0), exempt) is not None


# ---- shapes, also on open connections

SLOW = {"latency": {"delay": "10ms"}}


def shaped(rules: RuleBook, earlier: Decision, *, at_s: float = 0.0, number: int = 1) -> tuple[Decision, list[str]]:
    decision, hits = rules.reshape(arrival(number, at_s=at_s), earlier)
    return decision, [hit.rule.name for hit in hits]


def test_shapes_add_up() -> None:
    """Shaping rules that match all act, and the reading goes on to the verdict below them."""
    rules = book(rule("slow", **SLOW), rule("slower", **SLOW), rule("cut"), rule("below", **SLOW))
    decision = rules.decide(arrival(1))
    assert names(decision) == ["slow", "slower", "cut"]
    assert decision.verdict is not None
    assert decision.verdict.rule.name == "cut"


def test_a_shape_may_stop() -> None:
    """With stop, a shaping rule ends the reading, at a connection that it chose."""
    rules = book(rule("slow", {"first": 1}, stop=True, **SLOW), rule("cut"))
    assert names(rules.decide(arrival(1))) == ["slow"]
    assert names(rules.decide(arrival(2))) == ["cut"]


def test_a_shape_acts_while_its_window_is_open() -> None:
    """On an open connection a shape comes and goes with its window, counted once."""
    rules = book(rule("slow", {"window": {"from": "10s", "to": "20s", "every": "1m"}}, **SLOW))
    decision = rules.decide(arrival(1))
    acting = {}
    for at_s in (0.0, 10.0, 19.0, 20.0, 70.0, 80.0):
        decision, acting[at_s] = shaped(rules, decision, at_s=at_s)
    assert acting == {0.0: [], 10.0: ["slow"], 19.0: ["slow"], 20.0: [], 70.0: ["slow"], 80.0: []}
    assert rules.standings["slow"].counted == 1


def test_a_rule_already_met_keeps_its_answer() -> None:
    """What a shaping rule said of a connection holds for as long as it is open, yes or no."""
    rules = book(rule("first", {"first": 1}, **SLOW))
    decisions = [rules.decide(arrival(number)) for number in (1, 2)]
    edited = rules.edited(42, [rule("first", {"first": 9}, **SLOW)], 5.0)
    assert [shaped(edited, decision, number=number)[1] for number, decision in enumerate(decisions, 1)] == [
        ["first"],
        [],
    ]
    assert edited.standings["first"].counted == 2


def test_an_edit_reaches_open_connections() -> None:
    """A shaping rule that is new counts the connections that are open; one that is gone shapes no more."""
    rules = book(rule("old", **SLOW))
    decisions = [rules.decide(arrival(number)) for number in (1, 2)]
    edited = rules.edited(42, [rule("new", {"first": 1}, **SLOW)], 5.0)
    acting = [shaped(edited, decision, at_s=5.0, number=number)[1] for number, decision in enumerate(decisions, 1)]
    assert acting == [["new"], []]


def test_no_shape_reaches_past_a_verdict() -> None:
    """Shapes below the verdict that a connection met do not act on it, nor do shadows."""
    rules = book(
        rule("shadow", mode="shadow", **SLOW),
        rule("above", **SLOW),
        rule("exempt", **{"pass": None}),
        rule("below", {"window": {"from": "10s"}}, **SLOW),
    )
    decision = rules.decide(arrival(1))
    assert shaped(rules, decision, at_s=10.0)[1] == ["above"]
    assert rules.standings["below"].counted == 0


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
        ([rule("down", refuse=None, mode="shadow")], None),
        ([rule("cut", WINDOW)], None),
        ([rule("cut", {"connection": 99}), rule("down", refuse=None)], None),
        ([rule("checker", {"client": "10.0.0.9"}, **{"pass": None}), rule("down", refuse=None)], None),
        ([rule("shadow", mode="shadow"), rule("down", refuse=None)], "down"),
        ([rule("down", refuse=None, mode="shadow"), rule("really", refuse=None)], "really"),
        ([rule("down", WINDOW, refuse=None), rule("cut")], "down"),
        ([rule("later", {"window": {"from": "90s"}}, refuse=None), rule("down", WINDOW, refuse=None)], "down"),
        ([rule("later", {"window": {"from": "90s"}}, refuse=None)], None),
        ([], None),
    ],
)
def test_an_outage(rules: list[BaseRule], outage: str | None) -> None:
    """An outage refuses everybody while its window is open, with no limit and no verdict above it but other outages."""
    found = book(*rules).outage(15.0)
    assert (None if found is None else found.name) == outage
