"""The commands, one function each. Only this module runs trio, and only this one exits."""

import signal
import sys
from pathlib import Path
from typing import NoReturn

import click
import orjson
import trio

from faultproxy import __version__
from faultproxy.config.json_schema import json_schema
from faultproxy.config.loader import ConfigError, load
from faultproxy.config.schema import Config
from faultproxy.daemon import CannotListen, Daemon, Overrides
from faultproxy.demo import demo_console, run_demo
from faultproxy.journal.events import Journal
from faultproxy.journal.log import LogWriter

_COULD_NOT_RUN, _BAD_CONFIG, _UNMET = 1, 2, 3
_FLUSH_S = 1.0
_FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A TCP proxy that injects faults: refused, reset, half-closed, by rule, and told in the log."""


@main.command()
@click.argument("file", type=_FILE)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Draw from this seed, whatever the file says.")
@click.option("--log-format", type=click.Choice(["json", "console"]), help="Whatever the file says.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Whatever the file says.")
@click.option("--expect", is_flag=True, help="Exit 3 if a rule fired fewer or more times than its expect says.")
def run(file: Path, seed: int | None, log_format: str | None, log_level: str | None, expect: bool) -> None:
    """Run the proxies of FILE until SIGTERM or SIGINT; a second signal ends it at once."""
    config = _load(file)
    overrides = Overrides(seed, log_format, log_level)
    writer = LogWriter()
    log = overrides.log(config.log)
    daemon = Daemon(file, config, overrides, Journal(writer, log.format, log.level))
    try:
        trio.run(_run, daemon)
    except CannotListen as error:
        _fail(str(error), _COULD_NOT_RUN)
    finally:
        writer.close(_FLUSH_S)
    unmet = daemon.unmet() if expect else []
    if unmet:
        _fail("\n".join(unmet), _UNMET)


@main.command()
@click.argument("files", metavar="FILE...", type=_FILE, nargs=-1, required=True)
def check(files: tuple[Path, ...]) -> None:
    """Validate each FILE; say what is wrong with it, and where."""
    ok = True
    for file in files:
        try:
            config = load(file)
        except ConfigError as error:
            ok = False
            click.echo("\n".join(error.errors), err=True)
        else:
            rules = sum(len(proxy.rules) for proxy in config.proxies.values())
            click.echo(f"{file}: ok, {_many(len(config.proxies), 'proxy', 'proxies')}, {_many(rules, 'rule', 'rules')}")
    if not ok:
        sys.exit(_BAD_CONFIG)


@main.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    click.echo(orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2))


@main.command()
def demo() -> None:
    """Meet every fault once, with nothing to set up: a proxy and a client for each, and what the client caught."""
    is_right = False
    try:
        is_right = trio.run(run_demo, demo_console())
    except* KeyboardInterrupt:
        click.echo("Aborted!", err=True)
    if not is_right:
        sys.exit(_COULD_NOT_RUN)


async def _run(daemon: Daemon) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        await daemon.run(signals)


def _load(file: Path) -> Config:
    try:
        return load(file)
    except ConfigError as error:
        _fail("\n".join(error.errors), _BAD_CONFIG)


def _fail(text: str, code: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(code)


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
