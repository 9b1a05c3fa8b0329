"""Every error of a file has its place, whichever command reads it; and what a file may hold."""

import io
import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.commands import Run, bad_lines


def test_check(ran: Run, files: Path) -> None:
    """Each good file is listed with how much is in it."""
    good, two = files / "good.yaml", files / "two.yaml"
    assert ran("check", good) == (0, f"{good}: ok, 1 proxies, 1 rules\n", "")
    assert ran("check", good, two) == (0, f"{good}: ok, 1 proxies, 1 rules\n{two}: ok, 2 proxies, 0 rules\n", "")


def test_check_finds_all(ran: Run, files: Path) -> None:
    """All errors of all files are reported on standard error, and the good files all the same; exit code 2."""
    done = ran("check", files / "bad.yaml", files / "good.yaml", files / "none.yaml")
    missing = f"{files}/none.yaml:1:1: the file does not exist; check its name\n"
    assert done == (2, f"{files}/good.yaml: ok, 1 proxies, 1 rules\n", bad_lines(files) + missing)


def test_check_warns(ran: Run, files: Path) -> None:
    """What can hardly be meant is reported on standard error, and is an error where that is asked for."""
    odd = files / "odd.yaml"
    odd.write_text("proxies:\n  p: {listen: ':0', upstream: 'a:1', rules: [{name: r, loss: {probability: 0}}]}\n")
    warning = f'{odd}:2:76: proxies.p.rules[0].loss.probability: warning: "0" is never drawn'
    warning += "; write more than 0, such as 10%\n"
    assert ran("check", odd) == (0, f"{odd}: ok, 1 proxies, 1 rules\n", warning)
    assert ran("check", "--strict", odd, files / "good.yaml") == (
        2,
        f"{files}/good.yaml: ok, 1 proxies, 1 rules\n",
        warning,
    )


@pytest.mark.parametrize("command", ["run", "check", "explain"])
def test_standard_input(ran: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """- is standard input, whose errors have places too."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"sede: 3")))
    done = ran(command, "-")
    assert done.code == 2
    assert '<stdin>:1:1: sede: "sede" is not a key here; write seed\n' in done.errors


def test_a_missing_file(ran: Run, files: Path) -> None:
    """A file beside it with nearly its name is named."""
    done = ran("check", files / "god.yaml")
    assert done == (2, "", f'{files}/god.yaml:1:1: the file does not exist; there is "good.yaml" beside it\n')


@pytest.mark.parametrize("command", ["run", "explain"])
def test_a_bad_file(ran: Run, files: Path, command: str) -> None:
    """A bad file is reported as check does, nothing is started, exit code 2."""
    assert ran(command, files / "bad.yaml") == (2, "", bad_lines(files))


@pytest.mark.parametrize("command", ["run", "explain", "check"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"- a", b"a: *b", b"\0" * 100])
def test_no_configuration(ran: Run, tmp_path: Path, command: str, content: bytes) -> None:
    """Whatever a file holds, the answer is a place and a reason."""
    file = tmp_path / "f.yaml"
    file.write_bytes(content)
    done = ran(command, file)
    assert (done.code, done.output) == (2, "")
    assert done.errors.startswith(f"{file}:1:")


@pytest.mark.parametrize("command", ["run", "check", "explain"])
def test_an_unreadable_file(ran: Run, files: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """It is reported like every other error of a file, at its place. Root may read everything, so it is made believe."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "open", _may_not)
    file = files / "good.yaml"
    assert ran(command, file) == (2, "", f"{file}:1:1: the file may not be read; check its permissions\n")


def _may_not(*_: object) -> int:
    raise PermissionError


@pytest.mark.parametrize("command", ["run", "check", "explain"])
def test_a_directory(ran: Run, tmp_path: Path, command: str) -> None:
    """A directory is no configuration."""
    assert ran(command, tmp_path) == (2, "", f"{tmp_path}:1:1: the file is a directory; name a file in it\n")


def test_schema(ran: Run) -> None:
    """What schema prints is a JSON Schema, which accepts a good file and refuses a bad one."""
    done = ran("schema")
    assert (done.code, done.errors) == (0, "")
    schema = json.loads(done.output)
    Draft202012Validator.check_schema(schema)
    good = {"proxies": {"p": {"listen": ":1", "upstream": "a:1"}}}
    assert Draft202012Validator(schema).is_valid(good)
    assert not Draft202012Validator(schema).is_valid({**good, "sede": 3})
