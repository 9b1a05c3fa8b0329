"""What each command prints, where, and with which exit code; no user ever sees a traceback."""

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from jsonschema import Draft202012Validator

import faultproxy
from faultproxy.cli import main

PACKAGE = Path(faultproxy.__file__).parent.parent
GOOD = "proxies:\n  p: {listen: ':0', upstream: 'a:1', rules: [{name: r, refuse: }]}\n"
TWO = "proxies:\n  p: {listen: ':0', upstream: 'a:1'}\n  q: {listen: ':0', upstream: 'a:1'}\n"
BAD = "proxies:\n  p: {listen: 'x', upstream: 'a:1'}\nsede: 3\n"
BAD_ERRORS = (
    '2:15: proxies.p.listen: "x" is not an address; write HOST:PORT, "[IPV6]:PORT", :PORT or unix:/path',
    '3:1: sede: "sede" is not a key here; write seed',
)


class Ran(NamedTuple):
    """What a command did."""

    code: int
    output: str
    errors: str


Run = Callable[..., Ran]


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command to its end, in this process; anything but an exit code would be a traceback."""

    def run(*arguments: str | Path) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments], prog_name="faultproxy")
        code = ended.value.code
        assert isinstance(code, int)
        return Ran(code, *capsys.readouterr())

    return run


def ran_outside(*arguments: str | Path) -> Ran:
    """A command, run to its end in a process of its own; it must not have crashed."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "faultproxy", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"PYTHONPATH": str(PACKAGE), "PATH": "/usr/bin:/bin"},
    )
    assert "Traceback" not in done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with good.yaml, two.yaml and bad.yaml."""
    for name, text in (("good", GOOD), ("two", TWO), ("bad", BAD)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def bad_lines(files: Path) -> str:
    return "".join(f"{files}/bad.yaml:{line}\n" for line in BAD_ERRORS)


def test_check(ran: Run, files: Path) -> None:
    """Each good file is listed with how much is in it."""
    good, two = files / "good.yaml", files / "two.yaml"
    assert ran("check", good) == (0, f"{good}: ok, 1 proxies, 1 rules\n", "")
    assert ran("check", good, two) == (0, f"{good}: ok, 1 proxies, 1 rules\n{two}: ok, 2 proxies, 0 rules\n", "")


def test_a_process(files: Path) -> None:
    """As a program of its own it says and returns the same."""
    assert ran_outside("check", files / "good.yaml").code == 0
    assert ran_outside("run", files / "bad.yaml") == (2, "", bad_lines(files))
    assert ran_outside("run").code == 2


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["walk"],
        ["run"],
        ["check"],
        ["run", "f", "--seed", "abc"],
        ["run", "f", "--seed", "-1"],
        ["run", "f", "--log-level", "loud"],
        ["run", "f", "--log-format", "xml"],
        ["run", "f", "g"],
        ["check", "f", "--no-such-option"],
        ["explain", "f", "--client", "nobody"],
        ["explain", "f", "--at", "30"],
        ["explain", "f", "--connections", "0"],
        ["schema", "f"],
    ],
)
def test_usage(ran: Run, arguments: list[str]) -> None:
    """A wrong command, argument or option is answered with what would be right, exit code 2."""
    done = ran(*arguments)
    assert (done.code, done.output) == (2, "")
    assert done.errors.startswith("Usage: ")
    assert "Error: " in done.errors


@pytest.mark.parametrize(("option", "value"), [("--seed", "abc"), ("--seed", "-1"), ("--connections", "many")])
def test_what_is_no_number(ran: Run, option: str, value: str) -> None:
    """The error says what would be one."""
    done = ran("explain", "f", option, value)
    assert f'"{value}" is not a number from ' in done.errors
    assert "write one, such as 42" in done.errors


@pytest.mark.parametrize(
    "command", [[], ["run"], ["check"], ["explain"], ["replay"], ["intercept"], ["schema"], ["demo"], ["doctor"]]
)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(ran: Run, command: list[str], option: str) -> None:
    """Each command says what it does, in sentences that are whole however narrow the terminal is."""
    done = ran(*command, option)
    assert (done.code, done.errors) == (0, "")
    assert done.output.startswith("Usage: ")
    lines = [line.rstrip() for line in done.output.splitlines()]
    assert not [line for line in lines[1:] if line.endswith("...")]


def test_help_is_whole_sentences() -> None:
    """Of the program, of each command, and of each option, capitalised and with a full stop."""
    texts = [main.help, *(command.help for command in main.commands.values())]
    texts += [command.short_help for command in main.commands.values()]
    texts += [
        parameter.help
        for command in main.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    for text in texts:
        assert text
        assert text[0].isupper()
        assert text.rstrip().endswith(".")


def test_version(ran: Run) -> None:
    """The version is the package's."""
    done = ran("--version")
    assert done.code == 0
    assert faultproxy.__version__ in done.output


def test_schema(ran: Run) -> None:
    """What schema prints is a JSON Schema, which accepts a good file and refuses a bad one."""
    done = ran("schema")
    assert (done.code, done.errors) == (0, "")
    schema = json.loads(done.output)
    Draft202012Validator.check_schema(schema)
    good = {"proxies": {"p": {"listen": ":1", "upstream": "a:1"}}}
    assert Draft202012Validator(schema).is_valid(good)
    assert not Draft202012Validator(schema).is_valid({**good, "sede": 3})


def test_explain_an_unknown_proxy(ran: Run, files: Path) -> None:
    """To ask for a proxy that is not there is an error that names those that are."""
    done = ran("explain", files / "two.yaml", "--proxy", "r")
    assert done == (2, "", f"{files}/two.yaml: there is no proxy r; it has p, q\n")


def test_explain_as_json(ran: Run, files: Path) -> None:
    """An object a line, one for each connection, and nothing else on standard output."""
    done = ran("explain", files / "good.yaml", "--json", "--connections", "3", "--seed", "1")
    assert (done.code, done.errors) == (0, "")
    assert [json.loads(line)["connection"] for line in done.output.splitlines()] == [1, 2, 3]


def test_an_address_in_use(files: Path) -> None:
    """A port that somebody has is named, with who has it, exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (files / "good.yaml").write_text(GOOD.replace(":0", f"127.0.0.1:{port}"))
        done = ran_outside("run", files / "good.yaml")
    assert done.code == 1
    assert f"127.0.0.1:{port}" in done.errors


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


def test_intercept_prints_a_script(ran: Run) -> None:
    """To be looked at, with the number of the user, and each port once."""
    done = ran("intercept", "--port", "6379", "--port", "5432", "--port", "6379", "--to", "15432", "--user", "root")
    assert (done.code, done.errors) == (0, "")
    assert "meta skuid != 0 tcp dport { 5432, 6379 } redirect to :15432" in done.output
    assert "tproxy to :15432" in ran("intercept", "--port", "1", "--to", "15432", "--tproxy").output


def test_intercept_exempts_who_runs_it(ran: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind sudo."""
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert f"skuid != {os.geteuid()} " in ran("intercept", "--port", "1", "--to", "2").output
    monkeypatch.setenv("SUDO_UID", "1234")
    assert "skuid != 1234 " in ran("intercept", "--port", "1", "--to", "2").output


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "both --port and --to"),
        (("--port", "1"), "both --port and --to"),
        (("--port", "1", "--to", "1"), "have the proxy listen at another"),
        (("--remove", "--apply"), "write it alone"),
        (("--remove", "--port", "1"), "write it alone"),
        (("--port", "0", "--to", "1"), "is not a number from 1 to 65535"),
        (("--port", "1", "--to", "2", "--user", "no such"), 'there is no user "no such" here'),
    ],
)
def test_intercept_refuses(ran: Run, options: tuple[str, ...], why: str) -> None:
    """What cannot be meant, before anything is changed."""
    done = ran("intercept", *options)
    assert done.code == 2
    assert why in " ".join(done.errors.split())


@pytest.mark.parametrize("options", [("--port", "1", "--to", "2", "--apply"), ("--remove",)])
def test_intercept_without_nftables(ran: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]) -> None:
    """A sentence, and the exit code of what could not be done."""
    monkeypatch.setenv("PATH", "/nowhere")
    done = ran("intercept", *options)
    assert (done.code, done.errors) == (1, "nft is not installed; it is in the package nftables\n")
