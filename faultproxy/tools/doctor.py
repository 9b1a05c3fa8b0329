"""The doctor: which faults are exact on this host, which are degraded and why, and what would make them exact.

It tries them: it runs the demo, in which every fault is injected into a real client's connection, and takes the events.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from faultproxy.events.types import FaultInjected, OutageStarted
from faultproxy.faults.base import Fault, ListenerMode, Need, Verdict
from faultproxy.kernel.capabilities import NET_ADMIN, NET_RAW, Privileges, privileges
from faultproxy.rules.rule import BaseRule
from faultproxy.tools.demo.scenes import Result, Row, try_faults
from faultproxy.tools.demo.table import one_line
from faultproxy.tools.intercept import Interception


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault that was tried: as which rule, what it needs, and, if it was not exact, the reason."""

    fault: str
    rule: str
    needs: Need
    degraded: str | None
    wrong: str | None


async def run_doctor(console: Console) -> bool:
    """Try every fault and print the table; whether each was what its event said."""
    result = await try_faults()
    findings, ours = examined(result), privileges()
    console.print(_table(findings, missing(findings, ours)))
    for line in (*remedies(findings, ours), *interceptions()):
        console.print(line)
    return not any(row.wrong for row in result.rows)


def examined(result: Result) -> list[Finding]:
    """A finding for every fault, and for all that it may need: of several alike the first, or one that is wrong."""
    findings: dict[tuple[str, Need], Finding] = {}
    for row in result.rows:
        rules = {rule.name: rule for rule in result.config.proxies[row.proxy].rules}
        written = {rule["name"]: one_line(rule) for rule in result.proxies[row.proxy].get("rules", ())}
        wrong = row.wrong[0] if row.wrong else None
        for rule, fault, needs, degraded in _tried(row, rules):
            known = findings.get((fault.key, needs))
            if known is None or (wrong is not None and known.wrong is None):
                findings[fault.key, needs] = Finding(fault.key, written[rule.name], needs, degraded, wrong)
    return list(findings.values())


def missing(findings: Sequence[Finding], ours: Privileges) -> dict[Need, list[str]]:
    """Which capabilities each need lacks here; none where it is met, or where none would help."""
    filters_are_free = NET_ADMIN not in ours.effective and any(
        finding.needs is Need.FILTER and finding.degraded is None for finding in findings
    )
    for_a_filter = [] if filters_are_free else [NET_ADMIN]
    asks = {
        Need.NOTHING: [],
        Need.FILTER: for_a_filter,
        Need.INTERCEPTION: [NET_RAW, *for_a_filter],
        Need.DESTROY: [NET_ADMIN],
    }
    unmet = {finding.needs for finding in findings if finding.degraded is not None}
    return {need: [name for name in asks[need] if name not in ours.effective] if need in unmet else [] for need in asks}


def remedies(findings: Sequence[Finding], ours: Privileges) -> Iterator[Text]:
    """What to write where, so that what is degraded becomes exact."""
    lacking = sorted({name for names in missing(findings, ours).values() for name in names}, reverse=True)
    wrong = sorted({finding.fault for finding in findings if finding.wrong is not None})
    if wrong:
        yield Text(f"Not what they should be on this host: {', '.join(wrong)}. The table says what was seen.", "red")
    if not any(finding.degraded for finding in findings):
        if not wrong:
            yield Text("Every fault is exact on this host.", "green")
    elif lacking:
        names = ", ".join(lacking)
        yield Text("What would make all of them exact:")
        if not ours.may_gain:
            yield _remedy("first", "no-new-privileges taken away: it withholds what the file would be given")
        caps = " ".join(f"CAP_{name}" for name in lacking)
        yield _remedy("compose", f"cap_add: [{names}]")
        allow = "allowPrivilegeEscalation: true, " if not ours.may_gain else ""
        yield _remedy("Kubernetes", f"securityContext: {{{allow}capabilities: {{add: [{names}]}}}}")
        yield _remedy("a machine", f"root, or in its systemd unit AmbientCapabilities={caps}")
    else:
        yield Text("No capability would help: the reasons above say what is in the way.")


def interceptions() -> Iterator[Text]:
    """How clients that know nothing of the proxy can be led to it here. Nothing is changed."""
    for kind, tproxy, means in (("REDIRECT", False, "connect faults degraded"), ("TPROXY", True, "all faults exact")):
        why = Interception((1,), 2, 0, tproxy).why_not()
        can, style = (f"possible here; {means}", "green") if why is None else (f"not possible here: {why}", "yellow")
        yield Text.assemble(f"  intercept with {kind:<9}", (can, style))


def _tried(row: Row, rules: dict[str, BaseRule]) -> Iterator[tuple[BaseRule, Fault, Need, str | None]]:
    """The faults that events report; if the row is wrong, those too that they should have reported."""
    if row.wrong:
        yield from (
            (rule, fault, fault.needs, None)
            for rule in rules.values()
            for fault in rule.faults
            if not isinstance(fault, Verdict)
        )
    for event in row.events:
        if isinstance(event, OutageStarted):  # to close the listener is everyone's right; to silence it takes a filter
            rule = rules[event.rule]
            yield rule, rule.faults[0], Need.NOTHING if rule.mode_for_all is ListenerMode.CLOSED else Need.FILTER, None
        elif isinstance(event, FaultInjected) and event.rule is not None:
            rule = rules[event.rule]
            fault = next(fault for fault in rule.faults if fault.key == event.fault)
            yield rule, fault, fault.needs, event.degraded


def _table(findings: Sequence[Finding], lacking: dict[Need, list[str]]) -> Table:
    table = Table(box=box.HORIZONTALS, header_style="bold", pad_edge=False, expand=True)
    table.add_column("fault", no_wrap=True)
    table.add_column("as tried", ratio=4, style="cyan")
    table.add_column("here", no_wrap=True)
    table.add_column("why", ratio=5)
    table.add_column("exact with", ratio=2)
    for finding in findings:
        here = Text("exact", "green")
        why = f"needs {finding.needs}"
        if finding.wrong is not None:
            here, why = Text("WRONG", "bold white on red"), finding.wrong
        elif finding.degraded is not None:
            here, why = Text("degraded", "yellow"), finding.degraded
        remedy = ", ".join(f"CAP_{name}" for name in lacking[finding.needs])
        if finding.degraded is not None and not remedy:
            remedy = "another host"
        table.add_row(Text(finding.fault, "bold"), finding.rule, here, why, remedy)
    return table


def _remedy(where: str, what: str) -> Text:
    return Text.assemble(f"  {where:<11}", (what, "cyan"))
