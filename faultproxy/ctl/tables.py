"""What the API answers, as tables and lines for people. Nothing that comes from it can steer a terminal."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from faultproxy.text import one_line

_STATES = {"open": "green", "outage": "red", "failed": "red", "disabled": "yellow"}
_LEVELS = {"error": "bold red", "warning": "yellow", "debug": "dim"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_NOT_SHOWN = frozenset({"timestamp", "level", "event", "proxy", "connection", "id", "run", "config"})
_LONGEST = 200

_Answer = Mapping[str, Any]


def console(width: int) -> Console:
    """Standard output; so wide where no terminal says how wide it is."""
    output = Console(highlight=False)
    if not output.is_terminal and "COLUMNS" not in os.environ:
        output.width = width
    return output


def status(answer: _Answer) -> RenderableType:
    """Each thing on a line, then what this host does not do exactly."""
    table = _table(None, show_header=False)
    for key, value in answer.items():
        if key != "degraded":
            table.add_row(_text(key.removesuffix("_s"), "dim"), _value(key, value))
    for each in answer.get("degraded", ()):
        table.add_row(_text("degraded", "yellow"), _text(f"{each['proxy']}: {_list(each['faults'])}: {each['reason']}"))
    return table


def proxies(answers: Sequence[_Answer]) -> RenderableType:
    """A line each."""
    table = _table(
        "proxy", "state", "listen", "upstream", "open", "connections", "rules", "injected", right=(4, 5, 6, 7)
    )
    for each in answers:
        injected = sum(rule["injected"] for rule in each["rules"])
        table.add_row(
            _text(each["name"], "bold"),
            _text(each["state"], _STATES.get(each["state"], "")),
            *map(_text, (each["listen"], each["upstream"], each["open"], each["connections"])),
            *map(_text, (len(each["rules"]), injected)),
        )
    return table


def proxy(answer: _Answer) -> RenderableType:
    """A proxy, and its rules in their order."""
    return Group(proxies([answer]), Text(), rules(answer["rules"]))


def rules(answers: Sequence[_Answer]) -> RenderableType:
    """Each with what it does and has done."""
    table = _table("rule", "does", "considered", "matched", "injected", "expect", "window", right=(2, 3, 4))
    for each in answers:
        does = {key: value for key, value in each["rule"].items() if key != "name"}
        table.add_row(
            _text(each["name"], "bold"),
            _text(_flow(does)),
            *map(_text, (each["considered"], each["matched"], each["injected"])),
            _expectation(each.get("expect")),
            _window(each.get("window")),
        )
    return table


def connections(answer: _Answer) -> RenderableType:
    """A line each, and how many are open in all."""
    return Group(_connections(answer["connections"]), _text(f"{answer['open']} open"))


def _connections(answers: Sequence[_Answer]) -> Table:
    table = _table("connection", "client", "state", "age", "up", "down", "rule", "faults", right=(3, 4, 5))
    for each in answers:
        ended = f"closed by {each['ended_by']}" if each["ended_by"] else each["state"]
        table.add_row(
            _text(each["connection"], "bold"),
            _text(each["client"]),
            _text(ended, "green" if each["state"] == "open" else "dim"),
            _text(_age(each["age_ms"] / 1000)),
            _text(_size(each["bytes_upstream"])),
            _text(_size(each["bytes_downstream"])),
            _text(each["rule"] or "-"),
            _text(_list(each["faults"]) or "-", "red"),
        )
    return table


def connection(answer: _Answer) -> RenderableType:
    """One, what each rule said to it, and what was injected."""
    reasons = _table("rule", "says")
    for each in answer["rules"]:
        reasons.add_row(_text(each["rule"], "bold" if each["holds"] else "dim"), _text(each["because"]))
    injected = _table("fault", "of rule", "options", "trigger", "client sees", "after")
    for each in answer["injected"]:
        injected.add_row(
            _text(each["fault"], "red"),
            _text(each["rule"] or "-"),
            _text(_flow(each["options"])),
            *map(_text, (each["trigger"], each["client_sees"], _age(each["elapsed_ms"] / 1000))),
        )
    parts: list[RenderableType] = [_connections([answer])]
    parts += [Text(), reasons] if answer["rules"] else []
    parts += [Text(), injected] if answer["injected"] else []
    return Group(*parts)


def forecasts(answer: _Answer) -> RenderableType:
    """For each coming connection what would happen, and what the rules say."""
    parts: list[RenderableType] = []
    for each in answer["proxies"]:
        table = _table("#", "what happens", "what the rules say", right=(0,))
        table.title, table.title_justify, table.title_style = (
            _text(f"{each['proxy']}, seed {answer['seed']}"),
            "left",
            "bold",
        )
        for coming in each["connections"]:
            said = (_text(f"{reason['rule']}: {reason['because']}") for reason in coming["rules"])
            colour = "bold red" if coming["faults"] else "green"
            table.add_row(_text(coming["connection"]), _text(coming["text"], colour), Text("\n").join(said))
        parts.append(table)
    return Group(*parts)


def event(answer: _Answer) -> Text:
    """A line: when, who it is about, what happened, and the event's fields."""
    level = str(answer.get("level", "info"))
    time = str(answer.get("timestamp", ""))[11:23]
    name = str(answer.get("connection") or answer.get("proxy") or "faultproxy")
    rest = " ".join(
        f"{key}={_flow(value)}" for key, value in answer.items() if key not in _NOT_SHOWN and value is not None
    )
    line = Text.assemble((one_line(time), "dim"), "  ", (one_line(name).ljust(12), "bold"), "  ")
    line.append(
        one_line(str(answer.get("event", ""))).ljust(18),
        _LEVELS.get(level, "red" if level == "info" and "fault" in answer else ""),
    )
    return line.append(f"  {one_line(rest)}" if rest else "")


def changes(answer: _Answer) -> RenderableType:
    """A line each."""
    return Text("\n").join(map(_text, answer["changes"])) if answer["changes"] else Text("nothing has changed")


def _table(*columns: str | None, right: Sequence[int] = (), show_header: bool = True) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD if show_header else None, show_header=show_header, pad_edge=False, show_edge=False
    )
    for number, column in enumerate(columns):
        table.add_column(column or "", justify="right" if number in right else "left", overflow="fold")
    return table


def _text(value: object, style: str = "") -> Text:
    return Text(one_line(str(value)), style)


def _value(key: str, value: object) -> Text:
    if key.endswith("_s") and isinstance(value, int | float):
        return _text(_age(value))
    return _text("-" if value is None else _flow(value))


def _flow(value: object) -> str:
    """A value as YAML has it on one line, nearly."""
    if isinstance(value, Mapping):
        return (
            ", ".join(f"{key}: {_inner(item)}" if item is not None else f"{key}" for key, item in value.items()) or "-"
        )
    return _inner(value)


def _inner(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{_flow(value)}}}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inner, value))}]"
    text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def _expectation(expect: _Answer | None) -> Text:
    if expect is None:
        return Text("-")
    least, most = expect.get("min"), expect.get("max")
    bounds = f"{'' if least is None else least}..{'' if most is None else most}"
    return _text(bounds, "green" if expect.get("is_met", True) else "red")


def _window(window: _Answer | None) -> Text:
    if window is None:
        return Text("-")
    edge = window.get("next_edge_s")
    until = f", {'closes' if window['is_open'] else 'opens'} in {_age(edge)}" if edge is not None else ""
    return _text(f"{'open' if window['is_open'] else 'closed'}{until}")


def _age(seconds: float) -> str:
    """Three digits or so."""
    if seconds < 0.9995:
        return f"{round(seconds, 3) * 1000:.0f}ms" if seconds >= 0.001 else f"{seconds * 1000:.2g}ms"
    if seconds < 100:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def _size(count: float) -> str:
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            return f"{count:.0f}{unit}" if unit == "B" or count >= 100 else f"{count:.1f}{unit}"
        count /= 1024
    return ""
