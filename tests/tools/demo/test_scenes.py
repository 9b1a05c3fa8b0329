"""The scenes are held against the file: what is not as it says is seen."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from faultproxy.cli import main
from faultproxy.tools.demo import scenes

ROWS = 25


@pytest.mark.parametrize(
    ("right", "wrong", "reported"),
    [
        ("expect: {min: 3, max: 3}", "expect: {min: 4}", 'retry: "cold start" injected 3 faults, expected at least 4'),
        ("expect: {min: 1, max: 1}", "expect: {max: 0}", 'pass: "all others" injected 1 fault, expected at most 0'),
        ("half_close: {after: 1kB}", "close: {after: 1kB}", "half: what the client wrote after the EOF never arrived"),
    ],
)
def test_a_row_that_is_not_as_the_file_says_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str, reported: str
) -> None:
    """A sabotaged file: the row is marked and says why, the others are ok, and the exit code is 1."""
    text = scenes.demo_file().read_text()
    assert right in text
    sabotaged = tmp_path / "demo.yaml"
    sabotaged.write_text(text.replace(right, wrong))
    monkeypatch.setattr(scenes, "demo_file", lambda: sabotaged)
    result = CliRunner().invoke(main, ["demo"], env={"COLUMNS": "250"})
    assert result.exit_code == 1
    assert result.output.count("WRONG") == 1
    assert reported in result.output
    assert f"1 of {ROWS} rows is not as config/demo.yaml says." in result.output
