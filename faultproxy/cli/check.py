"""check and schema: what a file may hold, and what is wrong with one."""

import sys
from pathlib import Path

import click
import orjson

from faultproxy.cli.options import FILE
from faultproxy.cli.output import BAD_CONFIG, fail
from faultproxy.config.json_schema import json_schema
from faultproxy.config.loader import ConfigError, examine, load
from faultproxy.config.schema import Config


@click.command
@click.argument("files", metavar="FILE...", type=FILE, nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Treat warnings as errors.")
def check(files: tuple[Path, ...], *, strict: bool) -> None:
    """Validate each FILE, and print what is wrong with it, and where. If FILE is -, standard input is read.

    A warning is about something that is valid but hardly meant, such as a rule that no connection can reach.
    """
    ok = True
    for file in files:
        try:
            config, warnings = examine(file)
        except ConfigError as error:
            ok = False
            click.echo("\n".join(error.errors), err=True)
            continue
        for warning in warnings:
            click.echo(warning, err=True)
        if warnings and strict:
            ok = False
        else:
            rules = sum(len(proxy.rules) for proxy in config.proxies.values())
            click.echo(f"{file}: ok, {len(config.proxies)} proxies, {rules} rules")
    if not ok:
        sys.exit(BAD_CONFIG)


@click.command
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    click.echo(orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2))


def load_config(file: Path, *, has_api: bool = False) -> Config:
    """The file; its errors end the command."""
    try:
        return load(file, has_api=has_api)
    except ConfigError as error:
        fail("\n".join(error.errors), BAD_CONFIG)
