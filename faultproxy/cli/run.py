"""run: the proxies of a file, until a signal."""

from pathlib import Path

import click

from faultproxy.addresses import Address, parse_listen
from faultproxy.cli.check import load_config
from faultproxy.cli.options import FILE, parsed, seed_option
from faultproxy.cli.output import UNMET, complain, fail
from faultproxy.cli.serving import ALLOWED_HOSTS, serve
from faultproxy.config.loader import STANDARD_INPUT
from faultproxy.config.schema import Config
from faultproxy.control.http.security import Access, BadToken, read_token
from faultproxy.control.manager import CommandLine
from faultproxy.report.recorder import Recorder


def _token(text: str) -> str:
    try:
        return read_token(Path(text))
    except BadToken as error:
        raise click.BadParameter(str(error)) from None


@click.command
@click.argument("file", type=FILE, required=False)
@seed_option
@click.option(
    "--log-format",
    type=click.Choice(["json", "console"]),
    help="Write the log so, whatever the file says. If neither says, a terminal gets console, and all else json.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Log this level and above, whatever the file says.",
)
@click.option(
    "--expect", is_flag=True, help="Exit with 3 if a rule's expect does not hold: its faults, or what clients did."
)
@click.option(
    "--api", metavar="ADDRESS", callback=parsed(parse_listen), help="Serve the API at HOST:PORT or unix:/path."
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    metavar="NAME",
    multiple=True,
    envvar=ALLOWED_HOSTS,
    help="Let the API be asked for by this name of the host too; may be given several times.",
)
@click.option(
    "--api-token-file",
    "token",
    metavar="FILE",
    callback=parsed(_token),
    help="Ask the API's clients for the token in FILE (Authorization: Bearer).",
)
def run(
    file: Path | None,
    seed: int | None,
    log_format: str | None,
    log_level: str | None,
    expect: bool,
    api: Address | None,
    allowed_hosts: tuple[str, ...],
    token: str | None,
) -> None:
    """Run the proxies of FILE until SIGTERM or SIGINT. A second signal ends the run at once.

    Edits of FILE take effect while it runs. If FILE is -, standard input is read, once. Without FILE, the API begins
    with no proxies. SIGUSR1 logs how each proxy stands.
    """
    if file is None and api is None:
        raise click.UsageError("Missing argument 'FILE'; without one, write --api ADDRESS.")
    config = load_config(file, has_api=api is not None) if file is not None else Config()
    recorder = Recorder() if expect else None
    manager = serve(
        config,
        CommandLine(seed, log_format, log_level),
        file=None if file == STANDARD_INPUT else file,
        api=api or config.api,
        access=Access(frozenset(name.lower() for name in allowed_hosts), token),
        announce=complain if api is not None else lambda _: None,
        recorder=recorder,
    )
    unmet = manager.unmet(recorder.report()) if recorder is not None else []
    if unmet:
        fail("\n".join(unmet), UNMET)
