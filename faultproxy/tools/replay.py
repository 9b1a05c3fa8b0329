"""A log back to a configuration: the same faults for the same connections, whatever chose them then.

Each fault becomes a rule for the connections that it was injected into, by their numbers. Shapes keep the
names of their rules and the seed, of which their draws are functions. A log that lacks any of it is refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

import orjson

from faultproxy.config.loader import ConfigError, parse
from faultproxy.config.writing import to_yaml
from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import Connect, ConnectDelay, Shape
from faultproxy.rules.conditions import PEEKED
from faultproxy.units import format_duration, format_size, parse_duration, parse_size

LogLine = Mapping[str, Any]

_HEAD = b'{"timestamp":'
_SHAPES = frozenset(kind.key for kind in CATALOGUE if issubclass(kind, Shape | ConnectDelay))
_DELAYS = frozenset(kind.key for kind in CATALOGUE if issubclass(kind, ConnectDelay))
_REFUSALS = frozenset(kind.key for kind in CATALOGUE if issubclass(kind, Connect))
_LONGEST_NAME = 200
_AT_ONCE_S = 0.05


class CannotReplay(Exception):
    """The log does not say enough, or says too much. The text says where, and what to do."""


@dataclass(frozen=True)
class Replay:
    """A configuration, as a mapping, and what is to be said of it."""

    run: str
    config: Mapping[str, Any]
    notes: Sequence[str]

    def yaml(self) -> str:
        """The configuration as a file holds it."""
        return f"# What run {self.run} did to its connections, by their numbers.\n{to_yaml(self.config)}"


def read_log(lines: Iterable[bytes]) -> Replay:
    """What a log says, as a configuration. What another program puts around or between its lines does not matter.

    Raises CannotReplay.
    """
    reader = _LogReader()
    for number, line in enumerate(lines, start=1):
        start = line.find(_HEAD)
        if start >= 0:
            try:
                entry = orjson.loads(line[start:])
            except orjson.JSONDecodeError:
                raise CannotReplay(f"line {number} is cut short or garbled; replay needs a whole log") from None
            try:
                reader.read(entry, number)
            except (KeyError, IndexError, TypeError, ValueError):
                what = f"line {number}, {entry['event']}, is not as it was written"
                raise CannotReplay(f"{what}; replay needs a whole log, with every line as it was") from None
    return reader.replay()


@dataclass
class _ProxyLog:
    """What a log says of one proxy."""

    config: dict[str, Any]
    started: datetime
    shapes: "dict[tuple[str, str, str], _Injection]" = field(default_factory=dict)
    verdicts: "dict[int, list[tuple[str, str, Any]]]" = field(default_factory=dict)
    said: "dict[int, dict[str, Any]]" = field(default_factory=dict)
    outages: list[tuple[str, str, float, float | None]] = field(default_factory=list)
    edited: "set[str]" = field(default_factory=set)
    has_stopped: bool = False

    def rule(self, name: str) -> dict[str, Any]:
        """A rule as it stands in the configuration; nothing if an edit has removed it."""
        return next((rule for rule in self.config["rules"] if rule["name"] == name), {})


@dataclass
class _Injection:
    """A shape, and the connections in which it acted. ``shaping`` is all its rule did, ``edited`` since an edit."""

    rule: str
    fault: str
    options: Any
    window: Any
    shaping: Any
    edited: bool
    connections: list[int] = field(default_factory=list)


class _LogReader:
    """Reads the lines of a log in their order."""

    def __init__(self) -> None:
        self._runs: dict[str, int] = {}
        self._seed = 0
        self._proxies: dict[str, _ProxyLog] = {}
        self._notes: list[str] = []

    def read(self, entry: LogLine, number: int) -> None:
        """Take a line. Raises CannotReplay."""
        match entry.get("event"):  # another program's line may have none
            case "proxy.started":
                self._started(entry, number)
            case "fault.injected":
                self._injected(entry, self._proxy(entry, number), number)
            case "outage.started":
                proxy = self._proxy(entry, number)
                proxy.outages.append((entry["rule"], entry["fault"], _since(proxy, entry), None))
            case "outage.ended":
                proxy = self._proxy(entry, number)
                rule, fault, start, _ = proxy.outages.pop()
                proxy.outages.append((rule, fault, start, _since(proxy, entry)))
            case "proxy.stopped":
                self._proxy(entry, number).has_stopped = True
            case "config.loaded":
                self._edited(entry, number)
            case "log.dropped":
                what = f"{entry['count']} lines were dropped before line {number}, and faults may be among them"
                raise CannotReplay(f"{what}; replay needs a whole log")

    def replay(self) -> Replay:
        """The configuration. Raises CannotReplay."""
        if not self._runs:
            raise CannotReplay(
                "there is no line of a proxy that started; replay needs a whole log in JSON, of level info or debug: "
                "run with --log-format json"
            )
        if len(self._runs) > 1:
            runs = ", ".join(f"{run} from line {number}" for run, number in self._runs.items())
            raise CannotReplay(f"it holds {len(self._runs)} runs ({runs}); give replay the lines of one")
        proxies = {}
        for name, proxy in self._proxies.items():
            proxies[name] = {**proxy.config, "rules": list(_rules(proxy))}
            self._notes += [f"{name}: {note}" for note in _notes(proxy)]
        replay = Replay(next(iter(self._runs)), {"seed": self._seed, "proxies": proxies}, self._notes)
        try:
            parse(replay.yaml().encode(), "the replay")
        except ConfigError as error:
            raise CannotReplay(f"what it says makes no valid configuration: {error.errors[0]}") from None
        return replay

    def _started(self, entry: LogLine, number: int) -> None:
        if entry["run"] not in self._runs:
            self._runs[entry["run"]] = number
            self._seed = entry["seed"]
            self._proxies.clear()
        self._proxies[entry["proxy"]] = _ProxyLog(entry["config"], datetime.fromisoformat(entry["timestamp"]))

    def _proxy(self, entry: LogLine, number: int) -> _ProxyLog:
        if entry["proxy"] not in self._proxies:
            what = f"line {number} is about proxy {entry['proxy']}, and no line before it says that this one started"
            raise CannotReplay(f"{what}; replay needs the log from its beginning")
        return self._proxies[entry["proxy"]]

    def _injected(self, entry: LogLine, proxy: _ProxyLog, number: int) -> None:
        connection = int(entry["connection"].rpartition("#")[2])
        rule, fault = entry["rule"], entry["fault"]
        if rule is None:  # the edit that disabled the proxy cannot be replayed, and says so itself
            if entry.get("source") == "api":
                what = f"{fault} was injected into {entry['connection']} by hand"
                self._notes.append(f"line {number}: {what}, which no rule repeats")
            return
        if fault in _SHAPES:
            its = proxy.rule(rule)
            window = its.get("when", {}).get("window") if fault not in _DELAYS else None
            shaping = [window, {key: its[key] for key in its if key in _SHAPES}]
            injection = _Injection(rule, fault, entry["options"], window, shaping, rule in proxy.edited)
            key = (rule, fault, str([entry["options"], shaping]))
            proxy.shapes.setdefault(key, injection).connections.append(connection)
            return
        injected = proxy.verdicts.setdefault(connection, [])
        if any(fault == its_fault for _, its_fault, _ in injected):
            what = f"line {number}: {fault} was injected into {entry['connection']} again, which no single rule can do"
            raise CannotReplay(f"{what}; take the line out to replay the rest")
        options = _options(entry, proxy)
        injected.append((rule, fault, options))
        after = options.get("after", {})
        if after.get("bytes") == "0B" or after.get("time") == "0s":  # at once, but not before the client had said this
            when = proxy.rule(rule).get("when", {})
            proxy.said[connection] = {key: when[key] for key in when if key in PEEKED}

    def _edited(self, entry: LogLine, number: int) -> None:
        for change in entry["changes"]:
            if change == "seed changed" or change.endswith(" removed"):
                raise CannotReplay(f"line {number}: an edit ({change}) that one configuration cannot replay")
        for name, config in entry["config"].items():
            proxy = self._proxies.get(name)
            if proxy is None:
                continue
            changed = [key for key in ("listen", "upstream", "enabled") if config[key] != proxy.config[key]]
            if changed:
                what = f"an edit changed {' and '.join(changed)} of {name}"
                raise CannotReplay(f"line {number}: {what}, which one configuration cannot replay")
            before = {rule["name"]: rule for rule in proxy.config["rules"]}
            proxy.edited |= {rule["name"] for rule in config["rules"] if rule != before.get(rule["name"])}
            proxy.config = config
        if entry["changes"]:
            self._notes.append(
                f"line {number}: an edit ({'; '.join(entry['changes'])});"
                " what was injected before and after is replayed, in each connection from its start"
            )


def _options(entry: LogLine, proxy: _ProxyLog) -> Any:
    """A triggered fault's options; of a live one that its window's opening has injected, at that byte or time."""
    options = dict(entry["options"])
    after = options.get("after", {})
    direction = after.get("direction", "downstream")
    passed, elapsed_s = entry[f"bytes_{direction}"], entry["elapsed_ms"] / 1000
    if not proxy.rule(entry["rule"]).get("live") or _is_reached(after, passed, elapsed_s):
        return options
    measured = {"bytes": format_size(passed)} if passed else {"time": format_duration(elapsed_s)}
    return {**options, "after": {**measured, "direction": direction}}


def _is_reached(after: Mapping[str, Any], passed: int, elapsed_s: float) -> bool:
    """Whether a trigger is reached just here by itself, as it does where the window was open from the accept on."""
    if "time" in after:
        return elapsed_s < parse_duration(after["time"]) + _AT_ONCE_S
    size = parse_size(after["bytes"]) if "bytes" in after else None
    return passed == size and (size > 0 or elapsed_s < _AT_ONCE_S)


def _notes(proxy: _ProxyLog) -> Iterator[str]:
    """What a replay of this proxy does not do as it was."""
    names: set[str] = set()
    for shaping in _packed(proxy):
        rule = shaping[0].rule
        if shaping[0].window and any(injection.edited for injection in shaping):
            yield f'the window of "{rule}" counted from an edit, and does from the start in a replay'
        if rule in names and any(_draws(injection.options) for injection in shaping):
            yield f'an edit changed how "{rule}" shapes; from there on a replay draws other numbers'
        names.add(rule)
    if not proxy.has_stopped:
        yield "the log ends before it has stopped; what came after that is not replayed"


def _draws(options: Mapping[str, Any]) -> bool:
    return "probability" in options or options.get("jitter") not in (None, "0s", "0B")


def _rules(proxy: _ProxyLog) -> Iterator[dict[str, Any]]:
    """Outages, then shapes, then what ends connections: so no verdict keeps a connection from faults that it had."""
    names: set[str] = set()
    for rule, fault, start, end in proxy.outages:
        window: dict[str, str] = {}
        if start > _AT_ONCE_S:
            window["from"] = format_duration(start)
        if end is not None:
            window["to"] = format_duration(end)
        always = {"when": {"window": window}} if window else {}
        yield {"name": _take(names, rule), **always, fault: {}}
    for shaping in _packed(proxy):
        first = shaping[0]
        connections = sorted({number for injection in shaping for number in injection.connections})
        when = {"connection": connections, **({"window": first.window} if first.window else {})}
        yield {
            "name": _take(names, first.rule),
            "when": when,
            **{injection.fault: injection.options for injection in shaping},
        }
    groups: dict[str, list[int]] = {}
    for connection, injected in sorted(proxy.verdicts.items()):
        said = proxy.said.get(connection, {})
        groups.setdefault(orjson.dumps([injected, said]).decode(), []).append(connection)
    verdicts = [(*orjson.loads(text), connections) for text, connections in groups.items()]
    # Refusals first: no SYN can be judged below a rule that looks at what the client says.
    for injected, said, connections in sorted(verdicts, key=lambda group: group[0][0][1] not in _REFUSALS):
        title = " + ".join(dict.fromkeys(rule for rule, _, _ in injected))
        faults = {fault: options for _, fault, options in injected}
        yield {"name": _take(names, title), "when": {"connection": connections, **said}, **faults}


def _packed(proxy: _ProxyLog) -> list[list[_Injection]]:
    """The shapes of a rule together, since their draws go by its name; apart where an edit has changed them."""
    packs: list[list[_Injection]] = []
    for injection in proxy.shapes.values():
        for pack in packs:
            same = pack[0].rule == injection.rule and pack[0].shaping == injection.shaping
            if same and all(injection.fault != other.fault for other in pack):
                pack.append(injection)
                break
        else:
            packs.append([injection])
    order = [rule["name"] for rule in proxy.config["rules"]]

    def place(pack: list[_Injection]) -> tuple[int, bool]:
        rule = pack[0].rule
        draws_nothing = all(injection.fault in _DELAYS for injection in pack)  # so it may have another name
        return order.index(rule) if rule in order else len(order), draws_nothing

    return sorted(packs, key=place)


def _take(taken: set[str], name: str) -> str:
    """The name, or the next like it that is free; it is taken then."""
    name = name[:_LONGEST_NAME]
    for number in count(2):
        if name not in taken:
            break
        suffix = f" ({number})"
        name = name.removesuffix(f" ({number - 1})")[: _LONGEST_NAME - len(suffix)] + suffix
    taken.add(name)
    return name


def _since(proxy: _ProxyLog, entry: LogLine) -> float:
    return max(0.0, (datetime.fromisoformat(entry["timestamp"]) - proxy.started).total_seconds())
