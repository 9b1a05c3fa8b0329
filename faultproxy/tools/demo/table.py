"""The demo's table: what each client caught, beside what the log says of it."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

import trio
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from faultproxy.events.types import FaultInjected, OutageStarted, UpstreamFailed
from faultproxy.faults.base import Direction
from faultproxy.tools.demo.clients import REPLY, Seen
from faultproxy.tools.demo.scenes import Outcome, Row, try_faults

_T = TypeVar("_T")


async def run_demo(console: Console) -> bool:
    """Run it and print the table; whether every row is as it should be. Writes no file."""
    started = trio.current_time()
    result = await try_faults()
    rows = result.rows
    console.print(_table(rows, result.proxies, is_wide=console.width >= 100))
    wrong = sum(bool(row.wrong) for row in rows)
    is_not = "is not" if wrong == 1 else "are not"
    verdict = f"[bold red]{wrong} of {len(rows)} rows {is_not}" if wrong else f"[green]All {len(rows)} rows are"
    console.print(f"{verdict} as config/demo.yaml says.[/] It took {trio.current_time() - started:.1f} s.")
    return not wrong


def _table(rows: Sequence[Row], proxies: Mapping[str, Any], *, is_wide: bool) -> Table:
    table = Table(box=box.HORIZONTALS, show_lines=True, header_style="bold", pad_edge=False, expand=True)
    table.add_column("rule", ratio=4)
    table.add_column("the client caught", width=29 if is_wide else 23)
    table.add_column("the log says", ratio=5)
    table.add_column("", width=len("WRONG"))
    for row in rows:
        table.add_row(
            _rules_text(proxies[row.proxy]),
            _lines([_seen_text(run) for run in _runs(row.seen, key=lambda seen: (seen.sees, seen.call))]),
            _lines([*map(_event_text, _runs(row.events, key=_sameness)), *(Text(text, "red") for text in row.wrong)]),
            Text("WRONG", "bold white on red") if row.wrong else Text("ok", "green"),
        )
    return table


def _rules_text(proxy: Mapping[str, Any]) -> Text:
    """The rules as the file has them: the name of each, and the rest of it on a line."""
    rules = proxy.get("rules")
    if not rules:
        return Text.assemble(("no rules", "bold"), "\n", (f"upstream: {proxy['upstream']}", "cyan"))
    return _lines([Text.assemble((rule["name"], "bold"), "\n", (one_line(rule), "cyan")) for rule in rules])


def one_line(rule: Mapping[str, Any]) -> str:
    """A rule without its name, as YAML has it on one line."""
    parts = {key: value for key, value in rule.items() if key not in {"name", "expect"}}
    return "  ".join(_flow({key: value})[1:-1] for key, value in parts.items())


def _flow(value: object) -> str:
    """A value as YAML has it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}".rstrip() for key, item in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _seen_text(run: Sequence[Seen]) -> Text:
    seen = run[-1]
    proof = f"\n{seen.proof}" if seen.proof else ""
    if seen.error is not None:
        number = f"{seen.sees} {seen.error.errno} " if seen.error.errno else ""
        after = f" after {seen.received:,} bytes" if seen.received else ""
        times = f", {len(run)} times" if len(run) > 1 else ""
        return Text.assemble((type(seen.error).__name__, "bold red"), f"\n{number}{seen.call}(){after}{times}{proof}")
    if seen.sees == "EOF":
        return Text.assemble((f"EOF after {seen.received:,} bytes", "bold red"), proof)
    whole = f"all {len(REPLY):,} bytes" if seen.received == len(REPLY) else "no error"
    return Text.assemble((whole, "bold green" if seen.sees == "nothing" else "bold yellow"), proof)


def _event_text(run: Sequence[Outcome]) -> Text:
    """An event in short, or several that differ in the connection's number only."""
    event = run[0]
    where = ", ".join(its.proxy if isinstance(its, OutageStarted) else its.connection for its in run)
    match event:
        case FaultInjected():
            fidelity = ("exact", "green") if event.degraded is None else ("degraded", "yellow")
            reason = f"\n{event.degraded}" if event.degraded is not None else ""
            head = (f"{event.name} {where} ", (event.fault, "bold"))
            return Text.assemble(*head, f"\n{event.client_sees} ", fidelity, _when(event), reason)
        case UpstreamFailed():
            return Text(f"{event.name} {where}\n{event.error}")
        case OutageStarted():
            return Text.assemble(f"{event.name} {where} ", (event.fault, "bold"), f'\nrule "{event.rule}"')
    return Text(f"{event.name} {where}\nended_by {event.ended_by}")


def _when(event: FaultInjected) -> str:
    """How far the connection had come at the trigger."""
    if event.trigger.endswith(Direction.DOWNSTREAM):
        return f", {event.bytes_downstream:,} bytes"
    if event.trigger.endswith(Direction.UPSTREAM):
        return f", {event.bytes_upstream:,} bytes upstream"
    return f", {event.elapsed_ms:.0f} ms" if event.trigger[0].isdecimal() else ""


def _sameness(event: Outcome) -> object:
    if isinstance(event, FaultInjected):
        return event.name, event.fault, event.client_sees, event.degraded is None
    return event.name


def _runs(things: Sequence[_T], key: Callable[[_T], object]) -> list[list[_T]]:
    """Neighbours that are alike, together."""
    return [list(run) for _, run in groupby(things, key)]


def _lines(texts: Sequence[Text]) -> Text:
    return Text("\n").join(texts)
