"""The commands. Only they run trio and end the process. Each is loaded when it is asked for."""

import io
import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

from faultproxy import __version__, failures
from faultproxy.cli.output import COULD_NOT_RUN, fail, give_up_output
from faultproxy.kernel import capabilities


class _Command(click.Command):
    """What the list of commands says of one, and the module of the package that has it, under its name."""

    def __init__(self, name: str, module: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self.module = module

    def load(self) -> click.Command:
        """The command itself. That takes up to half a second, in which SIGINT ends the process and shows nothing."""
        handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            command: click.Command = getattr(import_module(f"faultproxy.{self.module}"), str(self.name))
        finally:
            signal.signal(signal.SIGINT, handler)
        return command


class _Commands(click.Group):
    """The commands. What the system refuses ends one with a sentence on standard error and exit code 1."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, _Command) else command, rest

    def main(self, *args: Any, **kwargs: Any) -> Any:
        if sys.stdin is None:  # whoever runs this has closed it
            sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115  # it stays open, and is the descriptor 0
        if isinstance(sys.stdout, io.TextIOWrapper):  # a character that a terminal's encoding lacks is escaped
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **kwargs)
        except Exception as error:
            sentence = failures.sentence(error)
            if sentence is None:
                raise
            give_up_output()
            fail(sentence, COULD_NOT_RUN)


@click.group(
    cls=_Commands,
    commands=[
        _Command("run", "cli.run", "Run the proxies of a file."),
        _Command("toxiproxy", "cli.toxiproxy", "Stand in for Toxiproxy's server."),
        _Command("check", "cli.check", "Find the errors of files, and where they are."),
        _Command("explain", "cli.explain", "Forecast what each rule will do, and why."),
        _Command("replay", "cli.logs", "Make a configuration from a log, to repeat its faults."),
        _Command("report", "cli.logs", "Say what the clients did about the faults."),
        _Command("intercept", "cli.intercept", "Lead clients to the proxy that know nothing of it."),
        _Command("schema", "cli.check", "Print the JSON Schema of the file, for editors."),
        _Command("demo", "cli.trials", "Show every fault once, with nothing to set up."),
        _Command("doctor", "cli.trials", "Find out which faults are exact on this host."),
        _Command("ctl", "ctl.commands", "See and change what a running faultproxy does, over its API."),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__)
def main() -> None:
    """A TCP proxy that injects faults into connections, as the rules of a YAML file say, and logs each one."""
    capabilities.use_permitted()
