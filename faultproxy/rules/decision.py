"""The decision: read the rules from top to bottom for one connection, and say what becomes of it.

Everything that decides lives here. Draws are pure functions of (seed, proxy, rule, connection), so a
decision does not depend on timing, and deciding again gives the same answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from faultproxy.rules.conditions import Arrival
from faultproxy.rules.rule import BaseRule


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that picked a connection, and the rule's count at that moment."""

    rule: BaseRule
    count: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a connection: the rules that hit it, those that only would have, and where reading ended."""

    hits: tuple[Hit, ...] = ()
    shadows: tuple[Hit, ...] = ()
    verdict: Hit | None = None


UNTOUCHED = Decision()


@dataclass(slots=True)
class Standing:
    """What a rule remembers: when it took effect, how many connections it counted, how often it fired."""

    since_s: float
    counted: int = 0
    fired: int = 0


@dataclass(frozen=True)
class RuleBook:
    """The rules of one proxy with their standings; the only state that decisions have."""

    proxy: str
    seed: int
    rules: tuple[BaseRule, ...]
    standings: dict[str, Standing] = field(default_factory=dict)

    @classmethod
    def opened(cls, proxy: str, seed: int, rules: Sequence[BaseRule], now_s: float) -> "RuleBook":
        """A fresh book; every rule takes effect now."""
        return cls(proxy, seed, tuple(rules), {rule.name: Standing(now_s) for rule in rules})

    def edited(self, seed: int, rules: Sequence[BaseRule], now_s: float) -> "RuleBook":
        """The book after an edit. A rule that kept its name keeps its counts; one that changed restarts its clock."""
        before = {rule.name: rule for rule in self.rules}
        standings = {}
        for rule in rules:
            standing = self.standings.get(rule.name, Standing(now_s))
            # This book's own standings stay as they are: the edit may yet be turned down.
            standings[rule.name] = standing if before.get(rule.name) == rule else replace(standing, since_s=now_s)
        return RuleBook(self.proxy, seed, tuple(rules), standings)

    def decide(self, arrival: Arrival) -> Decision:
        """Judge a new connection. Counts it in every rule that the reading reaches and whose conditions hold."""
        if not self.rules:
            return UNTOUCHED
        return self._read(self.rules, arrival)

    def revisit(self, rule: BaseRule, arrival: Arrival, earlier: Decision) -> Hit | None:
        """Judge an open connection by one live rule, if the reading for that connection would have reached the rule."""
        if earlier.verdict is not None and rule in self._below(earlier.verdict.rule):
            return None
        return self._judge(rule, arrival)

    def outage(self) -> BaseRule | None:
        """The rule that refuses everybody while its window is open: the first that can, with no verdict above it."""
        for rule in self.rules:
            if rule.is_outage:
                return rule
            if rule.holds_verdict:
                return None
        return None

    def elapsed(self, rule: BaseRule, at_s: float) -> float:
        """Seconds since a rule took effect."""
        return at_s - self.standings[rule.name].since_s

    def _read(self, rules: Iterable[BaseRule], arrival: Arrival) -> Decision:
        hits: list[Hit] = []
        shadows: list[Hit] = []
        for rule in rules:
            hit = self._judge(rule, arrival)
            if hit is None:
                continue
            (shadows if rule.mode == "shadow" else hits).append(hit)
            if rule.holds_verdict:
                return Decision(tuple(hits), tuple(shadows), verdict=hit)
        return Decision(tuple(hits), tuple(shadows)) if hits or shadows else UNTOUCHED

    def _judge(self, rule: BaseRule, arrival: Arrival) -> Hit | None:
        standing = self.standings[rule.name]
        if rule.when.unmet(arrival, arrival.at_s - standing.since_s) is not None:
            return None
        standing.counted += 1
        if rule.when.missed(standing.counted) is not None:
            return None
        chance = rule.when.probability
        if chance is not None and draw(self.seed, self.proxy, rule.name, arrival.number) >= chance:
            return None
        if rule.limit is not None and standing.fired >= rule.limit:
            return None
        standing.fired += 1
        return Hit(rule, standing.counted)

    def _below(self, verdict: BaseRule) -> tuple[BaseRule, ...]:
        names = [rule.name for rule in self.rules]
        return self.rules[names.index(verdict.name) + 1 :] if verdict.name in names else ()


def draw(seed: int, *parts: object) -> float:
    """A number in [0, 1) that depends on the seed and on these parts, and on nothing else.

    The parts are hashed with their lengths, so that no two lists of parts run together.
    """
    text = "".join(f"{len(str(part))}:{part}" for part in (seed, *parts))
    # 53 bits, as many as a float holds: of 64 the largest would round up to 1.
    return (int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 11) / 2**53
