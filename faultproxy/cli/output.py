"""What commands print, and the codes with which they exit."""

import os
import sys
from contextlib import suppress
from typing import NoReturn

import click

COULD_NOT_RUN, BAD_CONFIG, UNMET = 1, 2, 3


def complain(text: str) -> None:
    """Say it on standard error, if there is one."""
    with suppress(OSError, ValueError):
        click.echo(text, err=True)


def fail(text: str, code: int) -> NoReturn:
    """Say why on standard error, and end the command with this code."""
    click.echo(text, err=True)
    sys.exit(code)


def give_up_output() -> None:
    """What is still buffered goes nowhere, if it cannot go out: Python would complain of that at the end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
