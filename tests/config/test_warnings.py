"""What a file is warned of, and where."""

from pathlib import Path

import pytest

from faultproxy.config.loader import examine

HEAD = "proxies:\n  p:\n    listen: ':1'\n    upstream: b:3306\n    rules:\n"


def warned(folder: Path, *rules: str, head: str = HEAD) -> list[str]:
    """The warnings of a proxy with these rules, which begin in line 6."""
    file = folder / "f.yaml"
    file.write_text(head + "".join(f"      - {rule}\n" for rule in rules))
    return [line.removeprefix(f"{file}:") for line in examine(file)[1]]


@pytest.mark.parametrize("when", ["", "when: {probability: 100%}, ", "when: {every: 1}, "])
@pytest.mark.parametrize("fault", ["refuse: ", "close: ", "pass: ", "latency: {delay: 1s}, stop: true"])
def test_unreached(tmp_path: Path, when: str, fault: str) -> None:
    """Rules below one that decides for every connection, whatever kind of verdict that is, each once."""
    rules = f"{{name: a, {when}{fault}}}", "{name: b, when: {first: 1}, close: }", "{name: c, refuse: }"
    reason = 'warning: no connection reaches this rule, as "a" above it decides for every one; move it above that rule,'
    assert warned(tmp_path, *rules) == [
        f"{line}:9: proxies.p.rules[{line - 6}]: {reason} or give that one a when" for line in (7, 8)
    ]


@pytest.mark.parametrize(
    "above",
    [
        "{name: a, when: {first: 1}, refuse: }",
        "{name: a, limit: 1, close: }",
        "{name: a, dry_run: true, close: }",
        "{name: a, when: {window: {to: 1s}}, refuse: }",
        "{name: a, when: {probability: 99%}, close: }",
        "{name: a, latency: {delay: 1s}}",
    ],
)
def test_reached(tmp_path: Path, above: str) -> None:
    """A rule that lets some connections pass, or ends no reading, hides nothing."""
    assert warned(tmp_path, above, "{name: b, close: }") == []


@pytest.mark.parametrize("zero", ["0", "0%", "0.0", "0.00 %"])
def test_never_drawn(tmp_path: Path, zero: str) -> None:
    """A probability of nothing, of a rule or of a byte."""
    when = warned(tmp_path, f"{{name: a, when: {{probability: {zero}}}, close: }}")
    reason = f'warning: "{zero}" is never drawn; write more than 0, such as 10%'
    assert when == [f"6:39: proxies.p.rules[0].when.probability: {reason}"]
    assert len(warned(tmp_path, f"{{name: a, corrupt: {{probability: {zero}}}, loss: {{probability: {zero}}}}}")) == 2
    assert warned(tmp_path, "{name: a, when: {probability: 0.01}, close: }") == []


def test_waiting(tmp_path: Path) -> None:
    """First bytes are asked for of a client that waits for the server's; where its port says which protocol it is."""
    rule = "{name: a, when: {starts_with: x}, close: }"
    text = "warning: a server of MySQL (port 3306) speaks first, so every client waits 1s here"
    path = "6:39: proxies.p.rules[0].when.starts_with"
    assert warned(tmp_path, rule) == [f"{path}: {text}; remove starts_with, or write a shorter peek_timeout"]
    assert warned(tmp_path, rule, head=HEAD.replace("    rules", "    peek_timeout: 0s\n    rules")) == []
    for upstream in ("b:6379", "unix:/run/mysqld.sock"):
        assert warned(tmp_path, rule, head=HEAD.replace("b:3306", upstream)) == []
