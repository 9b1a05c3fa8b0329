"""docs/reading-the-log.md: every event with its fields, and every command printing what the page shows."""

import inspect
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from faultproxy.journal.events import Journal, Strike
from faultproxy.journal.log import _dropped_renderer, _json_line

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "reading-the-log.md").read_text()
SAMPLE = DOCS / "reading-the-log.jsonl"
ROWS = {
    row[0]: (row[1], re.findall(r"`(\w+)`", row[2]))
    for row in re.findall(r"^\| `(\S+)` \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
}
COMMANDS = re.findall(r"^```sh\n(jq .*?)^```\n\n```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

Line = dict[str, Any]

STRIKE = Strike(
    proxy="p",
    connection="p#1",
    client="127.0.0.1:5",
    upstream="redis:6379",
    rule="cut",
    fault="reset",
    count=1,
    options={},
    trigger="at once",
    client_sees="ECONNRESET",
    degraded="a reason",
    bytes_upstream=0,
    bytes_downstream=0,
    elapsed_ms=0.0,
)
VALUES: Mapping[object, object] = {
    str: "text",
    str | None: "text",
    int: 1,
    float: 1.0,
    Sequence[str]: ["text"],
    Mapping[str, object]: {},
    Mapping[str, int]: {},
    BaseException: ValueError("bug"),
    Strike: STRIKE,
}


class Lines:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.is_tty = False
        self.render_dropped: Callable[[int], bytes] = lambda _: b""
        self.told: list[Line] = []

    def write(self, line: bytes) -> None:
        self.told.append(json.loads(line))


def every_event() -> dict[str, tuple[str, list[str]]]:
    """All events that the journal can tell, each told once with made-up values: level and fields."""
    lines = Lines()
    journal = Journal(lines, "json", "debug")
    for name, tell in inspect.getmembers(Journal, inspect.isfunction):
        if not name.startswith("_") and name != "configure":
            kinds = {key: kind for key, kind in get_type_hints(tell).items() if key != "return"}
            positional = [VALUES[kind] for kind in kinds.values() if kind is Strike]
            named = {key: VALUES[kind] for key, kind in kinds.items() if kind is not Strike}
            bound: Callable[..., None] = getattr(journal, name)
            bound(*positional, **named)
    lines.write(_dropped_renderer(_json_line)(1))
    return {line["event"]: (line["level"], list(line)[3:]) for line in lines.told}


def test_the_page_has_every_event_with_its_fields() -> None:
    """No event and no field is missing, and none is there that is not told; in the order of the log."""
    assert every_event() == ROWS


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
        assert [field for field in fields if field != "reason" or "reason" in line] == list(line)[3:]
    assert len({line["event"] for line in lines}) >= 10
