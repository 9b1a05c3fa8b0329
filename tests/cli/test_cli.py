"""The commands: each is there, says what it does, and is loaded when it is asked for."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

import faultproxy
from faultproxy.cli import main
from tests.commands import PACKAGE, Ran, Run, bad_lines


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


def test_a_process(files: Path) -> None:
    """As a program of its own it says and returns the same."""
    assert ran_outside("check", files / "good.yaml").code == 0
    assert ran_outside("run", files / "bad.yaml") == (2, "", bad_lines(files))
    assert ran_outside("run").code == 2


@pytest.mark.parametrize("command", ["run -", "check -", "explain -", "replay -", "report -", "ctl rule add p r -"])
def test_without_standard_input(command: str) -> None:
    """One that was closed is as good as an empty one: the command says what is missing."""
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-P", "-m", "faultproxy", *command.split()]
    done = subprocess.run(shell, env={"PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1, 2}
    assert "Traceback" not in done.stderr
    assert done.stdout + done.stderr


def test_a_terminal_that_has_not_every_character(tmp_path: Path) -> None:
    """It shows those that it lacks with escapes."""
    file = tmp_path / "f.yaml"
    file.write_text("proxies:\n  é日: {listen: ':0', upstream: 'a:1'}\n", "utf-8")
    words = [sys.executable, "-P", "-m", "faultproxy", "explain", str(file), "--connections", "1"]
    environment = {"PYTHONPATH": str(PACKAGE), "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\xe9\\u65e5" in done.stdout


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
    context = click.Context(main)
    commands = [main.resolve_command(context, [name])[1] for name in main.commands]
    texts = [main.help, *(command.short_help for command in main.commands.values())]
    for command in commands:
        assert command is not None
        texts += [command.help, *(each.help for each in command.params if isinstance(each, click.Option))]
    for text in texts:
        assert text
        assert text[0].isupper()
        assert text.rstrip().endswith(".")


@pytest.mark.parametrize("command", [["--version"], ["--help"], ["ctl", "--help"]])
def test_what_a_command_does_not_need_is_not_loaded(command: list[str]) -> None:
    """The list of the commands, and those that only ask the API, load neither the proxies nor what they stand on."""
    program = f"""
import sys
from faultproxy.cli import main
try:
    main({command})
finally:
    assert not {{"trio", "pydantic", "structlog", "faultproxy.rules"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env={"PYTHONPATH": str(PACKAGE)}, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_version(ran: Run) -> None:
    """The version is the package's."""
    done = ran("--version")
    assert done.code == 0
    assert faultproxy.__version__ in done.output
