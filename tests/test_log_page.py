"""docs/reading-the-log.md: every event with its fields, and every command printing what the page shows."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from faultproxy.events.types import EVENTS, FaultDryRun, FaultInjected, log_fields
from tests.events.samples import SAMPLES

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "reading-the-log.md").read_text()
SAMPLE = DOCS / "reading-the-log.jsonl"
ROWS = {
    row[0]: (row[1], re.findall(r"`(\w+)`", row[2]))
    for row in re.findall(r"^\| `(\S+)` \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
}
COMMANDS = re.findall(r"^```sh\n(jq .*?)^```\n\n```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_has_every_event_with_its_fields() -> None:
    """No event and no field is missing, and none is there that is not described; in the order of the log."""
    events = [SAMPLES[kind] for kind in EVENTS]
    events = [replace(e, degraded="why") if isinstance(e, FaultInjected | FaultDryRun) else e for e in events]
    whole = [replace(e, source="api") if isinstance(e, FaultInjected) else e for e in events]
    assert {event.name: (event.level, list(log_fields(event))) for event in whole} == ROWS


@pytest.mark.parametrize(("command", "output"), COMMANDS, ids=[command[:60] for command, _ in COMMANDS])
def test_every_command_prints_what_the_page_shows(tmp_path: Path, command: str, output: str) -> None:
    """Run by a shell, on the sample."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed; apt-get install jq")
    shutil.copy(SAMPLE, tmp_path / "log.jsonl")
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


def test_there_are_commands() -> None:
    """The page has one for each question."""
    assert len(COMMANDS) == len(re.findall(r"^\*\*.*\?\*\*$", PAGE, re.MULTILINE)) >= 10


def test_the_sample_is_a_log() -> None:
    """Its lines have the fields of their events, and it has most of the events."""
    lines = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    for line in lines:
        level, fields = ROWS[line["event"]]
        assert line["level"] == level
        assert [field for field in fields if field not in {"reason", "source"} or field in line] == list(line)[3:]
    assert len({line["event"] for line in lines}) >= 10
