"""Wrong arguments and options are answered with what would be right."""

import pytest

from tests.commands import Run


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
