"""The decision: read the rules from top to bottom for one connection, and say what becomes of it.

Everything that decides lives here. Draws are pure functions of (seed, proxy, rule, connection), so a
decision does not depend on timing, and deciding again gives the same answer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b

from faultproxy.faults.base import Connect, Fault, Need
from faultproxy.rules.conditions import PEEKED, Arrival
from faultproxy.rules.rule import BaseRule


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that picked a connection, and the rule's count at that moment."""

    rule: BaseRule
    count: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a connection: the rules that hit it, those that only would have, and where reading ended.

    ``answers`` is what the shaping rules that counted it have said: they keep to it as long as it is open.
    """

    hits: tuple[Hit, ...] = ()
    shadows: tuple[Hit, ...] = ()
    verdict: Hit | None = None
    answers: Mapping[str, Hit | None] = field(default_factory=dict)

    @property
    def refusal(self) -> Connect | None:
        """The fault that keeps the client from connecting at all."""
        return self.verdict.rule.connect if self.verdict is not None else None


UNTOUCHED = Decision()

Told = Callable[[BaseRule, str | None], None]
"""Is told of each rule that was read what kept it from a hit, by its key; None for a hit, which is not counted yet."""


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

    @cached_property
    def peeks(self) -> bool:
        """Whether any rule looks at the client's first bytes."""
        return any(rule.when.peeks for rule in self.rules)

    def decide(self, arrival: Arrival, told: Told | None = None) -> Decision:
        """Judge a new connection. Counts it in every rule that the reading reaches and whose conditions hold."""
        if not self.rules:
            return UNTOUCHED
        return self._read(self.rules, arrival, told)

    def decide_on_syn(self, arrival: Arrival) -> tuple[Mapping[str, int | None], Decision]:
        """Judge a client that has said nothing yet by the rules that act on its SYN, and by those above them.

        Also returns what the rules have said, if others are yet to be asked: hand it to decide() in the arrival.
        """
        if not self.peeks:
            return {}, self.decide(arrival)
        judged: dict[str, int | None] = {}
        last = max((at for at, rule in enumerate(self.rules) if rule.acts_on_syns), default=-1)
        decision = self._read([rule for rule in self.rules[: last + 1] if not rule.when.peeks], arrival, None, judged)
        return judged, decision

    def waits(self, arrival: Arrival) -> bool:
        """Whether the decision must wait for more of the client's first bytes. Counts nothing."""
        for rule in self.rules:
            if rule.name in arrival.judged:
                if rule.holds_verdict and arrival.judged[rule.name]:
                    return False
                continue
            unmet = self._unmet(rule, arrival)
            if unmet in PEEKED and rule.when.is_waiting(arrival):
                return True
            standing = self.standings[rule.name]
            counted = replace(standing, counted=standing.counted + 1)
            if unmet is None and rule.holds_verdict and self._missed(rule, counted, arrival) is None:
                return False
        return False

    def revisit(self, rule: BaseRule, arrival: Arrival, earlier: Decision) -> Hit | None:
        """Judge an open connection by one live rule, if the reading for that connection would have reached the rule."""
        if earlier.verdict is not None and rule in self._below(earlier.verdict.rule):
            return None
        return self._choose(rule, arrival) if self._meets(rule, arrival) else None

    def reshape(self, arrival: Arrival, earlier: Decision) -> tuple[Decision, tuple[Hit, ...]]:
        """What shapes an open connection now: those rules with an open window that have chosen it.

        A rule that it meets for the first time counts it; one that it has met keeps its answer.
        """
        answers = dict(earlier.answers)
        hits = []
        for rule in self.rules:
            if rule.shapes:
                if rule.name not in answers and self._meets(rule, arrival):
                    answers[rule.name] = self._choose(rule, arrival)
                hit = answers.get(rule.name)
                if hit is not None and rule.mode != "shadow" and self._is_open(rule, arrival.at_s):
                    hits.append(Hit(rule, hit.count))
            if earlier.verdict is not None and earlier.verdict.rule.name == rule.name:
                break
        return replace(earlier, answers=answers), tuple(hits)

    def outage(self, at_s: float) -> BaseRule | None:
        """The rule that refuses everybody now, if one does."""
        rule = self._shutting_out(at_s)
        return rule if rule is not None and rule.is_outage else None

    def blackout(self, at_s: float) -> BaseRule | None:
        """The rule that leaves everybody without an answer now, if one does."""
        rule = self._shutting_out(at_s)
        return rule if rule is not None and rule.is_blackout else None

    @property
    def needs_syns(self) -> bool:
        """Whether some rule acts on a client's first packet, and not as an outage does, on all of them alike."""
        return any(need is Need.GATE for _, _, need in self.needs())

    def needs(self) -> Iterator[tuple[BaseRule, Fault, Need]]:
        """What each fault that is carried out needs of the host; an outage needs nothing, unless a verdict hides it."""
        is_below_verdict = False
        for rule in self.rules:
            if rule.mode == "shadow":
                continue
            for fault in rule.faults:
                yield rule, fault, Need.NOTHING if rule.is_outage and not is_below_verdict else fault.needs
            is_below_verdict = is_below_verdict or (rule.holds_verdict and not rule.is_outage)

    def elapsed(self, rule: BaseRule, at_s: float) -> float:
        """Seconds since a rule took effect."""
        return at_s - self.standings[rule.name].since_s

    def drawn(self, rule: BaseRule, arrival: Arrival) -> float:
        """The number in [0, 1) that a rule's probability is held against; the same whenever it is asked for."""
        return draw(self.seed, self.proxy, rule.name, arrival.number)

    def _read(
        self,
        rules: Iterable[BaseRule],
        arrival: Arrival,
        told: Told | None,
        judged: dict[str, int | None] | None = None,
    ) -> Decision:
        hits: list[Hit] = []
        shadows: list[Hit] = []
        answers: dict[str, Hit | None] = {}
        verdict = None
        for rule in rules:
            is_met, hit = self._ask(rule, arrival, told)
            if judged is not None:
                judged[rule.name] = hit.count if hit is not None else 0 if is_met else None
            if is_met and rule.shapes:
                answers[rule.name] = hit
            if hit is None:
                continue
            (shadows if rule.mode == "shadow" else hits).append(hit)
            if rule.holds_verdict:
                verdict = hit
                break
        return Decision(tuple(hits), tuple(shadows), verdict, answers) if hits or shadows or answers else UNTOUCHED

    def _ask(self, rule: BaseRule, arrival: Arrival, told: Told | None) -> tuple[bool, Hit | None]:
        """Whether a rule counts a connection, and whether it picks it; as it said before, if it was asked before."""
        if rule.name in arrival.judged:
            count = arrival.judged[rule.name]
            return count is not None, Hit(rule, count) if count else None
        unmet = self._unmet(rule, arrival)
        if unmet is not None:
            if told is not None:
                told(rule, unmet)
            return False, None
        return True, self._choose(rule, arrival, told)

    def _meets(self, rule: BaseRule, arrival: Arrival) -> bool:
        return self._unmet(rule, arrival) is None

    def _unmet(self, rule: BaseRule, arrival: Arrival) -> str | None:
        return rule.when.unmet(arrival, self.elapsed(rule, arrival.at_s))

    def _choose(self, rule: BaseRule, arrival: Arrival, told: Told | None = None) -> Hit | None:
        standing = self.standings[rule.name]
        standing.counted += 1
        missed = self._missed(rule, standing, arrival)
        if told is not None:
            told(rule, missed)
        if missed is not None:
            return None
        standing.fired += 1
        return Hit(rule, standing.counted)

    def _missed(self, rule: BaseRule, standing: Standing, arrival: Arrival) -> str | None:
        missed = rule.when.missed(standing.counted)
        if missed is not None:
            return missed
        if rule.when.probability is not None and self.drawn(rule, arrival) >= rule.when.probability:
            return "probability"
        if rule.limit is not None and standing.fired >= rule.limit:
            return "limit"
        return None

    def _shutting_out(self, at_s: float) -> BaseRule | None:
        """The rule whose connect fault everybody meets now: no verdict but such a rule's stands above it."""
        for rule in self.rules:
            if rule.shuts_out:
                if self._is_open(rule, at_s):
                    return rule
            elif rule.holds_verdict:
                return None
        return None

    def _is_open(self, rule: BaseRule, at_s: float) -> bool:
        return rule.when.window is None or rule.when.window.is_open(self.elapsed(rule, at_s))

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
