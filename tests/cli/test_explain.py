"""What explain takes; what it says is tested with rules.explain."""

import json
from pathlib import Path

import pytest

from tests.commands import Run


def test_explain_an_unknown_proxy(ran: Run, files: Path) -> None:
    """To ask for a proxy that is not there is an error that names those that are."""
    done = ran("explain", files / "two.yaml", "--proxy", "r")
    assert done == (2, "", f"{files}/two.yaml: there is no proxy r; it has p, q\n")


def test_explain_as_json(ran: Run, files: Path) -> None:
    """An object a line, one for each connection, and nothing else on standard output."""
    done = ran("explain", files / "good.yaml", "--json", "--connections", "3", "--seed", "1")
    assert (done.code, done.errors) == (0, "")
    assert [json.loads(line)["connection"] for line in done.output.splitlines()] == [1, 2, 3]


def test_explain_with_a_destination(ran: Run, tmp_path: Path) -> None:
    """What is asked of where clients want to go is answered."""
    file = tmp_path / "f.yaml"
    when = "{destination: 10.0.0.0/8, port: 5432}"
    file.write_text(
        f"proxies:\n  p: {{listen: ':0', upstream: original, rules: [{{name: r, when: {when}, refuse: }}]}}\n"
    )
    said = [
        ran("explain", file, "--connections", "1", *options).output
        for options in ((), ("--destination", "10.0.0.1:5432"))
    ]
    assert "destination unknown is not in 10.0.0.0/8" in " ".join(said[0].split())
    assert "destination 10.0.0.1 is in 10.0.0.0/8; destination's port is 5432" in " ".join(said[1].split())


@pytest.mark.parametrize("value", ["a:1", "unix:/a", "original", "10.0.0.1"])
def test_what_is_no_destination(ran: Run, value: str) -> None:
    """The error says what is."""
    done = ran("explain", "f", "--destination", value)
    assert (done.code, "write" in done.errors) == (2, True)
