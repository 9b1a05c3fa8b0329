"""What several commands take, and how the text of an option becomes a value."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from faultproxy.units import quote

_T = TypeVar("_T")

FILE = click.Path(path_type=Path, readable=False)  # the loader says better why a file cannot be read


class Number(click.IntRange):
    """A whole number; the error says what to write."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number: int = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{quote(str(value))} is not a number from {self.min} to {self.max}; write one, such as 42")
        return number


seed_option = click.option("--seed", type=Number(0, 2**63 - 1), help="Draw from this seed, whatever the file says.")


def parsed(parse: Callable[[str], _T]) -> Callable[[click.Context, click.Parameter, str | None], _T | None]:
    """The callback of an option: what ``parse`` makes of its text. A ValueError says what is wrong with it."""

    def callback(_: click.Context, __: click.Parameter, text: str | None) -> _T | None:
        try:
            return parse(text) if text is not None else None
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback
