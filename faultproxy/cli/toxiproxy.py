"""toxiproxy: in the place of Toxiproxy's server, with its flags."""

import os
from functools import partial
from itertools import compress
from pathlib import Path

import click
from pydantic_core import PydanticCustomError

from faultproxy import __version__
from faultproxy.addresses import parse_listen
from faultproxy.cli.output import BAD_CONFIG, complain, fail
from faultproxy.cli.serving import ALLOWED_HOSTS, serve
from faultproxy.config.schema import Config
from faultproxy.control.http.security import Access
from faultproxy.control.http.toxiproxy.answers import VERSION
from faultproxy.control.http.toxiproxy.flags import USAGE, BadFlag, HelpAsked, log_level, parse
from faultproxy.control.http.toxiproxy.populate import populate
from faultproxy.control.manager import CommandLine


class _GoCommand(click.Command):
    """A command whose arguments are all its own to parse."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["arguments"] = tuple(args)
        return []


@click.command(cls=_GoCommand, add_help_option=False)
def toxiproxy(arguments: tuple[str, ...]) -> None:
    """Take the place of Toxiproxy's server: its API on port 8474, and its flags in Go's syntax; -help names them."""
    try:
        flags = parse(arguments)
        address = parse_listen(flags.listen)
    except HelpAsked:
        click.echo(USAGE, err=True, nl=False)
        return
    except BadFlag as error:
        fail(f"{error}\n{USAGE}".rstrip(), BAD_CONFIG)
    except PydanticCustomError as error:
        fail(f"-host and -port: {error}", BAD_CONFIG)
    if flags.version:
        click.echo(f"toxiproxy-server version {VERSION} (faultproxy {__version__})")
        return
    level, wrong = log_level(os.environ)
    if wrong is not None:
        complain(wrong)
    serve(
        Config.model_validate({"drain": "0s"}),  # Toxiproxy ends at once
        CommandLine(flags.seed, None, level),
        api=address,
        access=Access(frozenset(os.environ.get(ALLOWED_HOSTS, "").lower().split())),
        prepare=partial(populate, path=Path(flags.config)) if flags.config else None,
        extra_metrics=frozenset(compress(("toxiproxy", "process"), (flags.proxy_metrics, flags.runtime_metrics))),
    )
