"""The same faults whatever the timing: proved on real sockets, and counted over many draws."""

import threading
from collections import Counter
from itertools import combinations, pairwise
from math import sqrt
from typing import Any

import pytest

import faultproxy
from faultproxy.rules.draw import draw
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.rule import BaseRule, Rule
from faultproxy.rules.rule_set import RuleSet
from tests.peers import Server, connect, name_of, read_to_the_end

CLIENTS = 64
DRAWS = 10_000
SIGMAS = 4.0

Outcomes = tuple[set[tuple[str | None, str | None, int | None, str]], Counter[tuple[bytes, str]]]

SETS: dict[str, list[dict[str, Any]]] = {
    "ordinals": [
        {"name": "early", "when": {"first": 3}, "reset": None},
        {"name": "third", "when": {"skip": 2, "every": 3}, "close": None},
        {"name": "some", "when": {"nth": [1, 5, 8, 13]}, "half_close": None},
    ],
    "probability": [
        {"name": "often", "when": {"probability": "30%"}, "reset": {"to": "client"}},
        {"name": "again", "when": {"probability": "50%"}, "close": {"after": "2B"}},
    ],
    "both": [
        {"name": "rare", "when": {"every": 2, "probability": "50%"}, "limit": 9, "reset": {"after": "3B"}},
        {"name": "slow", "when": {"probability": "20%"}, "latency": {"delay": "1ms", "jitter": "1ms"}},
        {"name": "rest", "when": {"every": 4}, "close": {"after": "1B"}},
    ],
}


def talk(proxy: faultproxy.Proxy) -> tuple[bytes, str]:
    """What a client gets back, and how that ends."""
    try:
        with connect((proxy.host, proxy.port)) as client:
            client.sendall(b"hello")
            data, end = read_to_the_end(client)
            return data, end
    except OSError as error:
        return b"", name_of(error)


def play(rules: list[dict[str, Any]], *, at_once: bool) -> Outcomes:
    """Which connection got which fault at which ordinal; and what the clients got, in no order."""
    got: list[tuple[bytes, str]] = []

    def serve(sock: Any) -> None:
        sock.sendall(sock.recv(5))

    with Server(serve) as server, faultproxy.Proxy(server.address, rules, seed=3) as proxy:
        if at_once:
            barrier = threading.Barrier(CLIENTS)

            def client() -> None:
                barrier.wait()
                got.append(talk(proxy))

            threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            got += [talk(proxy) for _ in range(CLIENTS)]
        return {(fault.connection, fault.rule, fault.ordinal, fault.fault) for fault in proxy.faults}, Counter(got)


@pytest.mark.parametrize("name", SETS)
def test_64_at_once_meet_what_64_in_turn_meet(name: str) -> None:
    """The faults, with their ordinals and by connection, are those of the sequential run, and so is what clients got."""
    in_turn = play(SETS[name], at_once=False)
    assert len(in_turn[0]) >= 10
    for _ in range(3):
        assert play(SETS[name], at_once=True) == in_turn


def probable(probability: float, name: str = "chance") -> BaseRule:
    return Rule.model_validate({"name": name, "when": {"probability": probability}, "reset": None})


def matched(proxy: str, seed: int, *rules: BaseRule) -> list[set[int]]:
    """For each rule alone in its proxy: which of the connections it matches."""
    found = []
    for rule in rules:
        book = RuleSet.open(proxy, seed, [rule], 0.0)
        coming = (ConnectionFacts(number, "127.0.0.1", 0.0, 1) for number in range(1, DRAWS + 1))
        found.append({facts.number for facts in coming if book.decide(facts).matches})
    return found


def within(count: int, chance: float, draws: int = DRAWS) -> bool:
    """Whether a count is as a fair draw gives it, but for once in 16,000 times."""
    return abs(count - draws * chance) <= SIGMAS * sqrt(draws * chance * (1 - chance))


@pytest.mark.parametrize("chance", [0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("seed", [0, 1, 42, 2**63 - 1])
def test_ten_thousand_draws_are_as_likely_as_they_say(chance: float, seed: int) -> None:
    """The share that is drawn lies within 4 sigma of the probability."""
    (drawn,) = matched("redis", seed, probable(chance))
    assert within(len(drawn), chance)


def test_draws_are_spread_evenly() -> None:
    """Each tenth of [0, 1) gets a tenth of the draws, and neighbours in number have nothing to do with each other."""
    draws = [draw(42, "redis", "chance", number) for number in range(DRAWS)]
    for tenth in range(10):
        assert within(sum(tenth / 10 <= drawn < (tenth + 1) / 10 for drawn in draws), 0.1)
    after = list(pairwise(draws))
    assert within(sum(first < 0.5 and second < 0.5 for first, second in after), 0.25, len(after))
    assert within(sum(second > first for first, second in after[::2]), 0.5, len(after[::2]))


def test_no_two_share_a_draw() -> None:
    """Among proxies, rules, seeds and connections whose names could run together, no number is drawn twice."""
    proxies = ["p", "p1", "1p", "p:r", "pr"]
    rules = ["r", "r1", "1r", "1:r", "", "rr"]
    drawn = [
        draw(seed, proxy, rule, number)
        for seed in (1, 11, 111)
        for proxy in proxies
        for rule in rules
        for number in (1, 11, 111, 1111)
    ]
    assert len(set(drawn)) == len(drawn)


def test_two_proxies_and_two_rules_are_independent() -> None:
    """Of two rules, or of one rule in two proxies, or with two seeds, both match as often as chance has it."""
    rule, other = probable(0.5), probable(0.5, "other")
    sets = [*matched("redis", 42, rule, other), *matched("web", 42, rule, other), *matched("redis", 43, rule, other)]
    for one, another in combinations(sets, 2):
        assert within(len(one & another), 0.25)


def test_two_proxies_of_one_program_differ() -> None:
    """On real sockets, too: with one seed and one rule, each proxy has draws of its own."""
    rules = [{"name": "chance", "when": {"probability": "50%"}, "reset": {"to": "client"}}]

    def outcomes(name: str) -> list[int]:
        with faultproxy.Proxy("127.0.0.1:9", rules, name=name) as proxy:
            for _ in range(CLIENTS):
                talk(proxy)
            return [int((fault.connection or "").rpartition("#")[2]) for fault in proxy.faults]

    assert outcomes("a") == outcomes("a") != outcomes("b")


def test_some_are_left_alone() -> None:
    """The sets do leave some connections alone, or the comparison would prove little."""
    for rules in SETS.values():
        assert play(rules, at_once=False)[1][b"hello", "EOF"] >= 10
