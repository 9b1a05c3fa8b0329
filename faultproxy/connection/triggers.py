"""When the triggered faults of one connection are due. Pure: the time and the byte counts are handed in."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType

from faultproxy.faults.base import Direction, TriggeredFault
from faultproxy.faults.matcher import Matcher
from faultproxy.rules.plan import BY_HAND, Match

Delivered = Mapping[Direction, int]
"""The bytes delivered in each direction."""
LastByte = Mapping[Direction, float]
"""When the last byte was delivered, or thrown away, in each direction; -infinity for none."""
NEVER: LastByte = MappingProxyType(dict.fromkeys(Direction, -inf))
_NOTHING: Delivered = MappingProxyType(dict.fromkeys(Direction, 0))


@dataclass(frozen=True, slots=True)
class Start:
    """From where a rule's triggers count: a moment, and the bytes delivered by then."""

    at_s: float
    delivered: Delivered


@dataclass(slots=True, eq=False)
class Pending:
    """A fault that waits for its trigger, of the rule that matched the connection."""

    match: Match
    fault: TriggeredFault
    start: Start
    since_s: float
    matcher: Matcher | None = None

    def is_due(self, now: float, delivered: Delivered | None, last_byte_at_s: LastByte) -> bool:
        """Whether its trigger is reached; ``delivered`` is None until the server has been reached."""
        trigger = self.fault.after
        if trigger.at_once:
            return delivered is not None or not self.fault.touches_server
        if trigger.time is not None or trigger.idle is not None:
            return now >= self.deadline(last_byte_at_s)
        count = 0 if delivered is None else delivered[trigger.counted]
        if trigger.match is not None:
            return self.matcher is not None and self.matcher.end is not None and count >= self.matcher.end
        return count >= (self.end or 0)

    def deadline(self, last_byte_at_s: LastByte) -> float:
        """When it is due by the time, if no more bytes come; infinity if only bytes make it due."""
        trigger = self.fault.after
        if trigger.idle is not None:
            watched = Direction if trigger.direction is None else (trigger.direction,)
            return max(self.since_s, *(last_byte_at_s[direction] for direction in watched)) + trigger.idle
        return inf if trigger.time is None or trigger.at_once else self.start.at_s + trigger.time

    @property
    def end(self) -> int | None:
        """The offset of its direction at which it is due, as far as that is known."""
        after = self.fault.after
        if after.match is not None:
            return self.matcher.end if self.matcher is not None else None
        return self.start.delivered[after.counted] + after.bytes if after.bytes else None


class Triggers:
    """The pending faults of a connection that was accepted at ``accepted_at_s``; all times are of one clock.

    Those of a rule count their time and bytes from the accept, or, if it came later, from when it first was added; also
    after it was changed, but not once it was forgotten. Those of a fault by hand count from when it was added.
    """

    __slots__ = ("_accepted_at_s", "_pending", "_starts")

    def __init__(self, accepted_at_s: float) -> None:
        self._accepted_at_s = accepted_at_s
        self._pending: list[Pending] = []
        self._starts: dict[str, Start] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, matches: Iterable[Match], now: float = -inf, delivered: Delivered | None = None) -> None:
        """Wait for the triggers of these rules' faults too. Idle time counts from now on.

        ``delivered`` is what open connections have had that the rules reach only now; None for one that is new.
        """
        since_s = max(now, self._accepted_at_s)
        start = Start(self._accepted_at_s, _NOTHING) if delivered is None else Start(since_s, delivered)
        for match in matches:
            start_of_rule = start if match.rule == BY_HAND else self._starts.setdefault(match.rule, start)
            self._pending += [Pending(match, fault, start_of_rule, since_s) for fault in match.faults.triggered]

    def withdraw(self, rules: Collection[str]) -> None:
        """Wait no more for the faults of these rules."""
        self._pending = [pending for pending in self._pending if pending.match.rule not in rules]

    def forget(self, rules: Collection[str]) -> None:
        """These rules are removed: a rule of the same name is another."""
        for rule in rules:
            self._starts.pop(rule, None)

    def awaits(self, rule: str) -> bool:
        """Whether a fault of this rule is pending."""
        return any(pending.match.rule == rule for pending in self._pending)

    @property
    def await_idle(self) -> bool:
        """Whether a fault waits until the connection is idle: it must be known when the last byte was delivered."""
        return any(pending.fault.after.idle is not None for pending in self._pending)

    def take_due(self, now: float, delivered: Delivered | None, last_byte_at_s: LastByte = NEVER) -> Pending | None:
        """The first fault that is due, which is pending no more."""
        for pending in self._pending:
            if pending.is_due(now, delivered, last_byte_at_s):
                self._pending.remove(pending)
                return pending
        return None

    def next_deadline(self, last_byte_at_s: LastByte = NEVER, *, dry_runs: bool = True) -> float:
        """When the next fault is due by the time; infinity if none is. With or without those that are dry runs."""
        considered = (pending for pending in self._pending if dry_runs or not pending.match.dry_run)
        return min((pending.deadline(last_byte_at_s) for pending in considered), default=inf)

    def limit(self, direction: Direction) -> int | None:
        """How many bytes of a direction may be delivered before a fault is due; None: any number."""
        return min((pending.end for pending in self._of(direction) if pending.end is not None), default=None)

    def matchers(self, direction: Direction, offset: int) -> list[Matcher]:
        """What must be shown every byte of a direction; ``offset`` is that of the next byte, where new ones begin."""
        matchers = []
        for pending in self._of(direction):
            after = pending.fault.after
            if after.match is not None:
                pending.matcher = pending.matcher or Matcher(after.match, offset, after.nth or 1)
                matchers.append(pending.matcher)
        return matchers

    def _of(self, direction: Direction) -> list[Pending]:
        return [pending for pending in self._pending if pending.fault.after.counted is direction]
