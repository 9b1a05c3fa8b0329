"""The dry run: what would become of connections that are yet to come, and what every rule says to each.

The rules are read by the same RuleBook that reads them for real connections; here it is only listened to.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType

from faultproxy.faults.base import ConnectShape, Ending, Fault, Shape, Verdict
from faultproxy.rules.conditions import Arrival, Bounds, Window
from faultproxy.rules.decision import Decision, Hit, RuleBook
from faultproxy.rules.rule import BaseRule
from faultproxy.units import format_duration, quote

_ORDINALS = MappingProxyType({1: "st", 2: "nd", 3: "rd"})


@dataclass(frozen=True, slots=True)
class Reason:
    """What a rule says to a connection: whether it holds, and why."""

    rule: str
    holds: bool
    because: str


@dataclass(frozen=True, slots=True)
class FaultToCome:
    """A fault that a connection would meet, and the count of its rule."""

    rule: str
    fault: str
    count: int


@dataclass(frozen=True, slots=True)
class Fate:
    """What would become of a connection: its faults in the order of the rules, in words, and every rule's reason."""

    connection: int
    faults: tuple[FaultToCome, ...]
    text: str
    reasons: tuple[Reason, ...]


def foretell(book: RuleBook, arrivals: Iterable[Arrival], *, enabled: bool = True) -> Iterator[Fate]:
    """The fates of these connections, which the book counts as it would real ones.

    An outage, or a proxy that is not ``enabled``, lets nobody in: then nobody is counted.
    """
    for arrival in arrivals:
        outage = book.outage(arrival.at_s)
        if not enabled:
            reasons = [Reason(rule.name, False, "not read: the proxy is not enabled") for rule in book.rules]
            yield Fate(arrival.number, (), "refused: the proxy is not enabled", tuple(reasons))
        elif outage is not None:
            yield _shut_out(book, outage, arrival)
        else:
            yield _judged(book, arrival)


def _shut_out(book: RuleBook, outage: BaseRule, arrival: Arrival) -> Fate:
    because = "; ".join(["an outage: the listener is shut", *_held(book, outage, arrival)])
    reasons = [
        Reason(rule.name, True, because)
        if rule is outage
        else Reason(rule.name, False, f'not read: nobody gets in while "{outage.name}" has shut the listener')
        for rule in book.rules
    ]
    return Fate(arrival.number, (FaultToCome(outage.name, "refuse", 1),), "refuse", tuple(reasons))


def _judged(book: RuleBook, arrival: Arrival) -> Fate:
    said: dict[str, Reason] = {}

    def told(rule: BaseRule, missed: str | None) -> None:
        if missed is not None:
            said[rule.name] = Reason(rule.name, False, _miss(book, rule, arrival, missed))
        else:
            shadow = ["in shadow: told, and not carried out"] if rule.mode == "shadow" else []
            held = _held(book, rule, arrival) or ["it has no condition"]
            said[rule.name] = Reason(rule.name, True, "; ".join(held + shadow))

    decision = book.decide(arrival, told)
    for rule in book.rules:
        if rule.name not in said:
            assert decision.verdict is not None  # nothing else ends the reading
            said[rule.name] = Reason(rule.name, False, f'not read: "{decision.verdict.rule.name}" has decided')
    return Fate(arrival.number, tuple(_faults(decision)), _in_words(decision), tuple(said.values()))


def _to_come(decision: Decision) -> Iterator[tuple[Hit, Fault]]:
    """The faults that were decided on, but for shapes with nothing to shape: no handshake, or not a byte."""
    endings = [ending for hit in decision.hits for ending in hit.rule.endings]
    is_refused = decision.refusal is not None
    is_silent = is_refused or any(ending.after.at_once and ending.silences for ending in endings)
    for hit in decision.hits:
        for fault in hit.rule.faults:
            is_idle = is_refused if isinstance(fault, ConnectShape) else is_silent and isinstance(fault, Shape)
            if not is_idle:
                yield hit, fault


def _faults(decision: Decision) -> Iterator[FaultToCome]:
    for hit, fault in _to_come(decision):
        if not isinstance(fault, Verdict):
            yield FaultToCome(hit.rule.name, fault.key, hit.count)


def _in_words(decision: Decision) -> str:
    return ", ".join(_fault_in_words(fault) for _, fault in _to_come(decision)) or "nothing"


def _fault_in_words(fault: Fault) -> str:
    given = fault.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"after"})
    options = "".join(f" {key} {value}" for key, value in given.items())
    when = f" {'' if fault.after.at_once else 'after '}{fault.after}" if isinstance(fault, Ending) else ""
    return f"{fault.key}{when}{options}"


def _miss(book: RuleBook, rule: BaseRule, arrival: Arrival, missed: str) -> str:
    """Why a rule does not hold, of which the engine has said the key."""
    when, standing = rule.when, book.standings[rule.name]
    match missed:
        case "client":
            return f"client {arrival.client} is not in {_listed(when.client or ())}"
        case "window":
            assert when.window is not None
            return f"at {format_duration(book.elapsed(rule, arrival.at_s))} its window, {_window(when.window)}, is shut"
        case "open_connections":
            assert when.open_connections is not None
            return f"{_open(arrival)}, not {_bounds(when.open_connections)}"
        case "connection":
            return f"this is connection {arrival.number}, not {_listed(when.connection or ())}"
        case "first":
            return f"{_nth(standing.counted)} that it counts, past the first {when.first}"
        case "skip":
            return f"{_nth(standing.counted)} that it counts, one of the {when.skip} to skip"
        case "nth":
            return f"{_nth(standing.counted)} that it counts; it picks the {_listed(map(_nth, when.nth or ()))}"
        case "every":
            return f"{_nth(standing.counted)} that it counts; it picks every {_nth(when.every or 1)}"
        case "probability":
            return f"drew {book.drawn(rule, arrival):.6f}, not below {when.probability:g}"
        case "limit":
            return f"it has fired {standing.fired} times, its limit"
    says = "says nothing" if not arrival.opening else f"says {quote(arrival.opening.decode(errors='replace'))}"
    return f"its first bytes are asked for ({missed}), and this client {says}"


def _held(book: RuleBook, rule: BaseRule, arrival: Arrival) -> list[str]:
    """What holds of the conditions that a rule has."""
    when, counted = rule.when, book.standings[rule.name].counted
    held = []
    if when.client is not None:
        held.append(f"client {arrival.client} is in {_listed(when.client)}")
    if when.window is not None:
        elapsed = format_duration(book.elapsed(rule, arrival.at_s))
        held.append(f"at {elapsed} its window, {_window(when.window)}, is open")
    if when.open_connections is not None:
        held.append(f"{_open(arrival)}, which is {_bounds(when.open_connections)}")
    if when.connection is not None:
        held.append(f"this is connection {arrival.number}")
    if when.peeks:
        held.append(f"it says {quote(arrival.opening.decode(errors='replace'))}")
    ordinals = [
        f"of the first {when.first}" if when.first is not None else "",
        f"past the {when.skip} to skip" if when.skip is not None else "",
        "as asked" if when.nth is not None else "",
        f"every {_nth(when.every)}" if when.every is not None else "",
    ]
    if any(ordinals):
        held.append(f"{_nth(counted)} that it counts, {', '.join(filter(None, ordinals))}")
    if when.probability is not None:
        held.append(f"drew {book.drawn(rule, arrival):.6f}, below {when.probability:g}")
    if rule.limit is not None:
        held.append(f"no. {book.standings[rule.name].fired + 1} of at most {rule.limit}")
    return held


def _window(window: Window) -> str:
    end = "on" if window.end_s == float("inf") else f"to {format_duration(window.end_s)}"
    every = f" of every {format_duration(window.every)}" if window.every is not None else ""
    return f"from {format_duration(window.start)} {end}{every}"


def _open(arrival: Arrival) -> str:
    count = arrival.open_connections
    return f"{count} {'connection is' if count == 1 else 'connections are'} open"


def _bounds(bounds: Bounds) -> str:
    if bounds.max is None:
        return f"at least {bounds.min}"
    return f"at most {bounds.max}" if bounds.min is None else f"{bounds.min} to {bounds.max}"


def _listed(items: Iterable[object]) -> str:
    *most, last = map(str, items)
    return f"{', '.join(most)} or {last}" if most else last


def _nth(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else _ORDINALS.get(number % 10, "th")
    return f"{number}{suffix}"
