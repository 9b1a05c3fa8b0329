"""The commands, one function each. Only this module runs trio, and only this one exits."""

import gc
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from ipaddress import IPv6Address, ip_address
from itertools import compress
from pathlib import Path
from pwd import getpwnam
from typing import Any, BinaryIO, NoReturn

import click
import orjson
import trio
from pydantic_core import PydanticCustomError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from faultproxy import __version__, daemon, failures
from faultproxy.addresses import Address, TcpAddress, parse_listen, parse_upstream
from faultproxy.config.json_schema import json_schema
from faultproxy.config.loader import STANDARD_INPUT, ConfigError, examine, load
from faultproxy.config.schema import Config
from faultproxy.control.http.metrics import Scraping
from faultproxy.control.http.security import ANYBODY, Access, BadToken, read_token
from faultproxy.control.http.toxiproxy.answers import VERSION
from faultproxy.control.http.toxiproxy.flags import USAGE, BadFlag, HelpAsked, log_level
from faultproxy.control.http.toxiproxy.flags import parse as parse_flags
from faultproxy.control.manager import CommandLine, Manager
from faultproxy.ctl.commands import ctl
from faultproxy.events.bus import Bus
from faultproxy.events.log import Log, LogWriter
from faultproxy.events.stats import Stats
from faultproxy.failures import CannotListen
from faultproxy.kernel import capabilities
from faultproxy.kernel.sockets import family_of
from faultproxy.report.html import as_html
from faultproxy.report.log_reader import LogReader
from faultproxy.report.recorder import Recorder
from faultproxy.report.report import as_json as report_as_json
from faultproxy.report.text import as_text
from faultproxy.rules.conditions.base import Stage
from faultproxy.rules.explain import Forecast, Reason, forecast
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.rule import BaseRule
from faultproxy.rules.rule_set import RuleSet
from faultproxy.tools import intercept as interception
from faultproxy.tools.demo.page import run_page
from faultproxy.tools.demo.table import run_demo
from faultproxy.tools.doctor import run_doctor
from faultproxy.tools.replay import CannotReplay, read_log
from faultproxy.units import format_duration, parse_duration, quote

_COULD_NOT_RUN, _BAD_CONFIG, _UNMET = 1, 2, 3
_FLUSH_S = 1.0
_ECHO_S = 0.1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_ALLOWED_HOSTS = "FAULTPROXY_ALLOWED_HOSTS"  # of a container whose command is another's to choose; apart by spaces
_GARBAGE = 10_000  # containers made and not given up, before those are searched for cycles; Python's own is 700
_WIDTH, _DEMO_WIDTH = 120, 110  # the demo is as wide as a screenshot
_FILE = click.Path(path_type=Path, readable=False)  # the loader says better why a file cannot be read


class _Number(click.IntRange):
    """A whole number; the error says what to write."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number: int = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{quote(str(value))} is not a number from {self.min} to {self.max}; write one, such as 42")
        return number


_SEED = _Number(0, 2**63 - 1)
_PORT = _Number(1, 65535)
_SEED_HELP = "Draw from this seed, whatever the file says."


def _address(_: click.Context, __: click.Parameter, value: str) -> str:
    """An IP address; one that is IPv4-mapped is IPv4."""
    try:
        address = ip_address(value)
    except ValueError:
        raise click.BadParameter(f"{quote(value)} is not an IP address; write one such as 10.0.0.1") from None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _duration(_: click.Context, __: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value)
    except PydanticCustomError as error:
        raise click.BadParameter(str(error)) from None


def _listen(_: click.Context, __: click.Parameter, value: str | None) -> Address | None:
    try:
        return parse_listen(value) if value is not None else None
    except PydanticCustomError as error:
        raise click.BadParameter(str(error)) from None


def _destination(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, int]:
    try:
        address = parse_upstream(value) if value is not None else None
    except PydanticCustomError as error:
        raise click.BadParameter(str(error)) from None
    if address is None:
        return "", 0
    if not isinstance(address, TcpAddress) or family_of(address.host) is None:
        raise click.BadParameter(
            f"{quote(str(address))} is not an IP address and a port; write one such as 10.0.0.1:5432"
        )
    return address.host, address.port


def _ports(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    """Ports, apart by commas, each once."""
    texts = [text.strip() for value in values for text in value.split(",")]
    return tuple(sorted({_PORT.convert(text, parameter, context) for text in texts}))


def _user(_: click.Context, __: click.Parameter, value: str | None) -> int:
    """The number of a user; without one, of who runs this, be it by sudo."""
    if value is None:
        value = os.environ.get("SUDO_UID", str(os.geteuid()))
    try:
        return int(value) if value.isdecimal() else getpwnam(value).pw_uid
    except KeyError:
        raise click.BadParameter(f"there is no user {quote(value)} here; write one, or a number") from None


def _token(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        return read_token(Path(value)) if value is not None else None
    except BadToken as error:
        raise click.BadParameter(str(error)) from None


class _Commands(click.Group):
    """The commands. What the system refuses ends one with a sentence on standard error and exit code 1."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except Exception as error:
            sentence = failures.sentence(error)
            if sentence is None:
                raise
            _give_up_output()
            _fail(sentence, _COULD_NOT_RUN)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A TCP proxy that injects faults into connections, as the rules of a YAML file say, and logs each one."""
    capabilities.use_permitted()


@main.command(short_help="Run the proxies of a file.")
@click.argument("file", type=_FILE, required=False)
@click.option("--seed", type=_SEED, help=_SEED_HELP)
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
@click.option("--api", metavar="ADDRESS", callback=_listen, help="Serve the API at HOST:PORT or unix:/path.")
@click.option(
    "--allowed-host",
    "allowed_hosts",
    metavar="NAME",
    multiple=True,
    envvar=_ALLOWED_HOSTS,
    help="Let the API be asked for by this name of the host too; may be given several times.",
)
@click.option(
    "--api-token-file",
    "token",
    metavar="FILE",
    callback=_token,
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
    config = _load(file, has_api=api is not None) if file is not None else Config()
    recorder = Recorder() if expect else None
    manager = _serve(
        config,
        CommandLine(seed, log_format, log_level),
        file=None if file == STANDARD_INPUT else file,
        api=api or config.api,
        access=Access(frozenset(name.lower() for name in allowed_hosts), token),
        announce=_complain if api is not None else lambda _: None,
        recorder=recorder,
    )
    unmet = manager.unmet(recorder.report()) if recorder is not None else []
    if unmet:
        _fail("\n".join(unmet), _UNMET)


class _GoCommand(click.Command):
    """A command whose arguments are all its own to parse."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["arguments"] = tuple(args)
        return []


@main.command(cls=_GoCommand, short_help="Stand in for Toxiproxy's server.", add_help_option=False)
def toxiproxy(arguments: tuple[str, ...]) -> None:
    """Take the place of Toxiproxy's server: its API on port 8474, and its flags in Go's syntax; -help names them."""
    try:
        flags = parse_flags(arguments)
        address = parse_listen(flags.listen)
    except HelpAsked:
        click.echo(USAGE, err=True, nl=False)
        return
    except BadFlag as error:
        _fail(f"{error}\n{USAGE}".rstrip(), _BAD_CONFIG)
    except PydanticCustomError as error:
        _fail(f"-host and -port: {error}", _BAD_CONFIG)
    if flags.version:
        click.echo(f"toxiproxy-server version {VERSION} (faultproxy {__version__})")
        return
    level, wrong = log_level(os.environ)
    if wrong is not None:
        _complain(wrong)
    hosts = frozenset(os.environ.get(_ALLOWED_HOSTS, "").lower().split())
    _serve(
        Config.model_validate({"drain": "0s"}),  # Toxiproxy ends at once
        CommandLine(flags.seed, None, level),
        api=address,
        access=Access(hosts),
        populate=Path(flags.config) if flags.config else None,
        extra_metrics=frozenset(compress(("toxiproxy", "process"), (flags.proxy_metrics, flags.runtime_metrics))),
    )


def _serve(
    config: Config,
    overrides: CommandLine,
    *,
    file: Path | None = None,
    api: Address | None = None,
    access: Access = ANYBODY,
    announce: Callable[[str], object] = lambda _: None,
    recorder: Recorder | None = None,
    populate: Path | None = None,
    extra_metrics: frozenset[str] = frozenset(),
) -> Manager:
    """Run the daemon until it is told to end; returns what has run."""
    writer = LogWriter(complain=_complain)
    options, stats = overrides.log(config.log), Stats()
    log = Log(writer, stats, options.format, options.level)
    bus = Bus(stats, log, recorder) if recorder is not None else Bus(stats, log)
    manager = Manager(config, bus, overrides, lambda options: log.configure(options.format, options.level))
    prepare: Callable[[], Awaitable[None]] | None = None
    if populate is not None:
        from faultproxy.control.http.toxiproxy.populate import populate as make  # noqa: PLC0415  # as the daemon does

        prepare = partial(make, manager, populate)
    # What is loaded by now stays: it need not be searched for garbage while bytes wait.
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    try:
        scraping = Scraping(lambda: writer.dropped, extra_metrics)
        how = {"access": access, "announce": announce, "prepare": prepare, "scraping": scraping}
        trio.run(partial(_run, manager, stats, file=file, api=api, **how))
    except CannotListen as error:
        _fail(str(error), _COULD_NOT_RUN)
    except ConfigError as error:
        _fail("\n".join(error.errors), _BAD_CONFIG)
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the log's last lines are still to be written
        writer.close(_FLUSH_S)
    return manager


@main.command(short_help="Find the errors of files, and where they are.")
@click.argument("files", metavar="FILE...", type=_FILE, nargs=-1, required=True)
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
        sys.exit(_BAD_CONFIG)


@main.command(short_help="Forecast what each rule will do, and why.")
@click.argument("file", type=_FILE)
@click.option("--proxy", metavar="NAME", help="Forecast this proxy only.")
@click.option(
    "--connections",
    type=_Number(1, 1_000_000),
    default=20,
    show_default=True,
    help="Forecast so many connections of each proxy.",
)
@click.option(
    "--client", metavar="IP", callback=_address, default="127.0.0.1", show_default=True, help="The clients' address."
)
@click.option(
    "--destination",
    metavar="IP:PORT",
    callback=_destination,
    help="Where the clients want to go, for conditions that ask.",
)
@click.option(
    "--at",
    metavar="TIME",
    callback=_duration,
    default="0s",
    show_default=True,
    help="The clients connect so long after the start.",
)
@click.option("--says", metavar="TEXT", default="", help="The clients' first bytes, for conditions that look at them.")
@click.option("--seed", type=_SEED, help=_SEED_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per connection.")
def explain(
    file: Path,
    proxy: str | None,
    connections: int,
    client: str,
    destination: tuple[str, int],
    at: float,
    says: str,
    seed: int | None,
    as_json: bool,
) -> None:
    """Print what would happen to the next connections to the proxies of FILE, and why. Nothing is opened.

    The connections come one after another, each when the one before it has ended.
    """
    config = _load(file)
    if proxy is not None and proxy not in config.proxies:
        _fail(f"{file}: there is no proxy {proxy}; it has {', '.join(config.proxies)}", _BAD_CONFIG)
    seed = seed if seed is not None else config.seed
    if seed is None:
        seed = secrets.randbits(32)
        rules: list[BaseRule] = [rule for its in config.proxies.values() for rule in its.rules]
        if any(one.stage is Stage.CHANCE for rule in rules for one in rule.conditions):
            click.echo(f"{file} has no seed; this is the forecast for {seed}: run it with --seed {seed}", err=True)
    console = _console()
    for name, its in config.proxies.items():
        if proxy not in (None, name):
            continue
        one = ConnectionFacts(
            1, client, at, 1, os.fsencode(says), destination=destination[0], destination_port=destination[1]
        )
        coming = (one._replace(number=number) for number in range(1, connections + 1))
        forecasts = forecast(RuleSet.open(name, seed, its.rules, 0.0), coming, enabled=its.enabled)
        if as_json:
            for each in forecasts:
                click.echo(orjson.dumps(_forecast_line(name, each)))
        else:
            when = f"{format_duration(at)} after the start" if at else "from the start"
            console.print(
                _forecast_table(f"{name}: {its.listen} for {its.upstream}; clients from {client}, {when}", forecasts)
            )


@main.command(short_help="Make a configuration from a log, to repeat its faults.")
@click.argument("log", type=click.File("rb"))
def replay(log: BinaryIO) -> None:
    """Print a configuration that injects the same faults as in LOG into the same connections.

    LOG is the JSON that `faultproxy run` wrote. If LOG is -, standard input is read.
    """
    try:
        recorded = read_log(log)
    except CannotReplay as error:
        _fail(f"{log.name}: {error}", _COULD_NOT_RUN)
    for note in recorded.notes:
        click.echo(f"{log.name}: {note}", err=True)
    click.echo(recorded.yaml(), nl=False)


@main.command(short_help="Say what the clients did about the faults.")
@click.argument("logs", metavar="LOG...", type=click.File("rb"), nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=click.File("wb"), help="Write a page with pictures to this file.")
def report(logs: tuple[BinaryIO, ...], *, as_json: bool, html: BinaryIO | None) -> None:
    """Print what the clients in each LOG did about the faults: whether they retried, how, and when they recovered.

    LOG is the JSON that `faultproxy run --log-level debug` wrote. If LOG is -, standard input is read.
    """
    reader = LogReader()
    gc.disable()  # millions of small values, and no cycle among them
    try:
        for log in logs:
            try:
                reader.read(log)
            except OSError as error:
                _fail(f"{log.name}: cannot be read: {error.strerror}", _COULD_NOT_RUN)
        result = reader.report()
    finally:
        gc.enable()
    if html is not None:
        html.write(as_html(result).encode())
        if html.name == "<stdout>":  # nothing may stand behind the page
            html.write(b"\n")
            return
    click.echo(orjson.dumps(report_as_json(result), option=orjson.OPT_INDENT_2) if as_json else as_text(result))


@main.command(short_help="Lead clients to the proxy that know nothing of it.")
@click.option(
    "--port",
    "ports",
    metavar="PORT[,PORT]...",
    callback=_ports,
    multiple=True,
    help="Lead connections to these ports to the proxy.",
)
@click.option("--to", type=_PORT, help="The proxy listens at this port, with upstream: original.")
@click.option(
    "--user", metavar="USER", callback=_user, help="The proxy runs as this user, who is not led. Default: yourself."
)
@click.option(
    "--tproxy", is_flag=True, help="Translate no address, so that connect faults are exact. Takes CAP_NET_RAW."
)
@click.option("--apply", is_flag=True, help="Carry the rules out. Takes CAP_NET_ADMIN.")
@click.option("--remove", is_flag=True, help="Take back what was applied. Takes CAP_NET_ADMIN.")
def intercept(ports: tuple[int, ...], to: int | None, user: int, tproxy: bool, apply: bool, remove: bool) -> None:
    """Print rules of nftables that lead connections to a proxy with upstream: original, or carry them out.

    They act on connections that begin in this network namespace: on this machine, or in this pod.
    """
    if remove and (apply or ports or to is not None):
        raise click.UsageError("--remove takes back all; write it alone")
    if not remove and (not ports or to is None):
        raise click.UsageError("it takes both --port and --to, such as --port 5432 --to 15432")
    if to in ports:
        raise click.UsageError(f"--to {to} is among the ports that are led there; have the proxy listen at another")
    try:
        if remove:
            interception.remove()
        else:
            assert to is not None
            rules = interception.Interception(ports, to, user, tproxy)
            if apply:
                rules.apply()
            else:
                click.echo(rules.script(), nl=False)
    except interception.CannotIntercept as error:
        _fail(str(error), _COULD_NOT_RUN)


@main.command(short_help="Print the JSON Schema of the file, for editors.")
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    click.echo(orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2))


@main.command(short_help="Show every fault once, with nothing to set up.")
@click.option("--page", is_flag=True, help="Show them again and again, with a page to look at, until Ctrl-C.")
def demo(*, page: bool) -> None:
    """Show every fault once, with nothing to set up: for each a proxy, a real client, and what the client caught."""
    if not page:
        _show(run_demo, _console(_DEMO_WIDTH))
        return
    try:
        trio.run(run_page, lambda url: click.echo(f"{url} shows what happens. Ctrl-C ends it."))
    except* KeyboardInterrupt:
        pass


@main.command(short_help="Find out which faults are exact on this host.")
def doctor() -> None:
    """Try every fault on this host: which are exact, which are degraded and why, and what would make them exact."""
    _show(run_doctor, _console())


main.add_command(ctl)


def _show(play: Callable[[Console], Awaitable[bool]], console: Console) -> None:
    is_right = False
    try:
        is_right = trio.run(play, console)
    except* KeyboardInterrupt:
        click.echo("Aborted!", err=True)
    if not is_right:
        sys.exit(_COULD_NOT_RUN)


async def _run(manager: Manager, stats: Stats, **options: Any) -> None:
    early: list[int] = []  # until somebody listens; and what comes when nobody listens any more changes nothing
    for number in _SIGNALS:
        signal.signal(number, lambda came, _: early.append(came))
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        for came in tuple(early):
            signal.raise_signal(came)
        await daemon.run(manager, stats, _without_echoes(signals), **options)


async def _without_echoes(signals: AsyncIterator[int]) -> AsyncIterator[int]:
    """All SIGHUPs and SIGUSR1s, and of the signals that end it those that come 100 ms or more after the one before.

    Who presses Ctrl-C once may send two: the terminal's, and the one that a wrapper forwards.
    """
    meant_at = float("-inf")
    async for number in signals:
        now = trio.current_time()
        if number in {signal.SIGHUP, signal.SIGUSR1}:
            yield number
        elif now >= meant_at + _ECHO_S:
            meant_at = now
            yield number


def _forecast_line(proxy: str, each: Forecast) -> dict[str, Any]:
    return {
        "proxy": proxy,
        "connection": each.connection,
        "faults": [asdict(fault) for fault in each.faults],
        "rules": [asdict(reason) for reason in each.reasons],
    }


def _forecast_table(title: str, forecasts: Iterable[Forecast]) -> Table:
    table = Table(
        box=box.HORIZONTALS,
        title=Text(title, "bold"),
        title_justify="left",
        show_lines=True,
        expand=True,
        pad_edge=False,
    )
    table.add_column("#", justify="right")
    table.add_column("what happens", ratio=2)
    table.add_column("what the rules say", ratio=5)
    for each in forecasts:
        reasons = Text("\n").join(
            Text.assemble((reason.rule, "bold" if reason.holds else "dim"), (f": {reason.because}", _tone(reason)))
            for reason in each.reasons
        )
        table.add_row(str(each.connection), Text(each.text, "bold red" if each.faults else "green"), reasons)
    return table


def _tone(reason: Reason) -> str:
    return "" if reason.holds else "dim"


def _console(width: int = _WIDTH) -> Console:
    """Standard output; so wide where no terminal says how wide it is."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = width
    return console


def _load(file: Path, *, has_api: bool = False) -> Config:
    try:
        return load(file, has_api=has_api)
    except ConfigError as error:
        _fail("\n".join(error.errors), _BAD_CONFIG)


def _give_up_output() -> None:
    """What is still buffered goes nowhere, if it cannot go out: Python would complain of that at the end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(text: str) -> None:
    """Say it on standard error, if there is one."""
    with suppress(OSError, ValueError):
        click.echo(text, err=True)


def _fail(text: str, code: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(code)
