"""The doctor says of every fault whether it is exact here; what is not it explains, with what would help."""

import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import pytest
from click.testing import CliRunner

from faultproxy.cli import main
from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import Need, Verdict
from faultproxy.faults.noop import Noop
from faultproxy.kernel.capabilities import NET_ADMIN, NET_RAW, Privileges
from faultproxy.tools.demo import clients, scenes
from faultproxy.tools.demo.clients import Seen
from faultproxy.tools.doctor import Finding, examined, missing, remedies
from tests.commands import PACKAGE
from tests.network import need_syn_interception

TRIED = {kind.key for kind in CATALOGUE if not issubclass(kind, Verdict | Noop)}
NONE = Privileges(frozenset(), may_gain=True)


def finding(needs: Need, degraded: str | None = "not allowed here (EPERM)") -> Finding:
    return Finding("fault", "fault:", needs, degraded, None)


def said(findings: Sequence[Finding], ours: Privileges) -> str:
    return "\n".join(line.plain for line in remedies(findings, ours))


def rows(table: str) -> dict[str, set[str]]:
    """What the table says of each fault, in the word of its third column."""
    found: dict[str, set[str]] = {}
    for name, here in re.findall(r"^ (\w+) .* (exact|degraded|WRONG) (?!with)", table, re.MULTILINE):
        found.setdefault(name, set()).add(here)
    return found


def test_every_fault_is_tried() -> None:
    """With all privileges every fault is exact: the verdict apart, all of the catalogue, and nothing is asked for."""
    need_syn_interception()
    result = CliRunner().invoke(main, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert rows(result.output) == {key: {"exact"} for key in TRIED}
    assert "Every fault is exact on this host." in result.output
    assert "cap_add" not in result.output


def test_without_privileges() -> None:
    """What is degraded has its reason and its capabilities; what needs nothing is exact; this is no error."""
    need_syn_interception()
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-P", "-m", "faultproxy", "doctor"]
    variables = {"PYTHONPATH": str(PACKAGE), "COLUMNS": "200"}
    done = subprocess.run(command, check=False, env=variables, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    reported = rows(done.stdout)
    assert reported.keys() == TRIED
    assert reported["refuse"] == {"exact", "degraded"}
    assert (
        reported["unreachable"]
        == reported["connect_timeout"]
        == reported["slow_connect"]
        == reported["abort"]
        == {"degraded"}
    )
    assert reported["reset"] == reported["broken_pipe"] == reported["latency"] == {"exact"}
    assert "raw sockets are not allowed here (EPERM)" in done.stdout
    assert re.search(r"abort .*CAP_NET_ADMIN *$", done.stdout, re.MULTILINE)
    assert re.search(r"compose +cap_add: \[NET_RAW, NET_ADMIN\]", done.stdout)
    assert re.search(r"Kubernetes +securityContext: \{capabilities: \{add: \[NET_RAW, NET_ADMIN\]\}\}", done.stdout)


def test_a_client_that_sees_something_else_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's word counts, not the log's; and it is exit code 1."""

    def shrug(client: clients.DemoClient) -> None:
        client.connect()
        with suppress(OSError):
            client.receive()

    monkeypatch.setattr(clients, "CLIENTS", {**clients.CLIENTS, "late": clients.once(shrug)})
    result = CliRunner().invoke(main, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert rows(result.output)["reset"] == {"WRONG"}
    assert result.output.count("WRONG") == 1
    assert "late#1: the log says ECONNRESET, the client saw nothing" in result.output
    assert "Not what they should be on this host: reset." in result.output
    assert "Every fault is exact" not in result.output


def test_a_fault_that_is_never_injected_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that never comes: no line reports the fault, and its row is wrong all the same."""
    monkeypatch.setattr(
        clients, "CLIENTS", {**clients.CLIENTS, "abort": lambda _: [Seen("nothing", "connect", None, 0, "")]}
    )
    result = CliRunner().invoke(main, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert rows(result.output)["abort"] == {"WRONG"}


def test_what_is_allowed_asks_for_nothing() -> None:
    """Capabilities are asked for where a fault is degraded, and only those that are lacking."""
    assert not any(missing([finding(need, None) for need in Need], NONE).values())
    lacking = missing([finding(Need.INTERCEPTION)], NONE)
    assert lacking[Need.INTERCEPTION] == [NET_RAW, NET_ADMIN]
    assert not lacking[Need.DESTROY]
    raw = Privileges(frozenset({NET_RAW}), may_gain=True)
    assert missing([finding(Need.INTERCEPTION)], raw)[Need.INTERCEPTION] == [NET_ADMIN]


def test_where_filters_are_free_interception_needs_raw_sockets_alone() -> None:
    """As on most kernels: loss was exact without any capability."""
    findings = [finding(Need.FILTER, None), finding(Need.INTERCEPTION), finding(Need.DESTROY)]
    lacking = missing(findings, NONE)
    assert (lacking[Need.INTERCEPTION], lacking[Need.DESTROY]) == ([NET_RAW], [NET_ADMIN])
    assert "cap_add: [NET_RAW, NET_ADMIN]" in said(findings, NONE)
    assert "cap_add: [NET_RAW]" in said(findings[:2], NONE)


def test_no_new_privileges() -> None:
    """A container that has the capabilities and keeps its file from being given them gets that reason."""
    withheld = Privileges(frozenset(), may_gain=False)
    text = said([finding(Need.INTERCEPTION)], withheld)
    assert "no-new-privileges taken away" in text
    assert "allowPrivilegeEscalation: true" in text


def test_what_no_capability_cures() -> None:
    """With all of them, and degraded all the same."""
    able = Privileges(frozenset({NET_RAW, NET_ADMIN}), may_gain=True)
    assert "No capability would help" in said([finding(Need.INTERCEPTION)], able)
    assert "Every fault is exact" in said([finding(Need.INTERCEPTION, None)], able)


async def test_faults_that_need_two_things_have_two_rows() -> None:
    """An outage needs nothing, a refusal for some does; so it is with hang."""
    findings = examined(await scenes.try_faults())
    needs = [(found.fault, found.needs) for found in findings]
    assert len(set(needs)) == len(needs)
    assert {("refuse", Need.NOTHING), ("refuse", Need.INTERCEPTION)} <= set(needs)
    assert {("hang", Need.NOTHING), ("hang", Need.FILTER)} <= set(needs)
