"""explain: what the rules of a file will do."""

import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import click
import orjson
from rich import box
from rich.table import Table
from rich.text import Text

from faultproxy.addresses import TcpAddress, parse_upstream
from faultproxy.cli.check import load_config
from faultproxy.cli.options import FILE, Number, parsed, seed_option
from faultproxy.cli.output import BAD_CONFIG, fail
from faultproxy.ctl.tables import console
from faultproxy.kernel.sockets import family_of
from faultproxy.rules.conditions.base import Stage
from faultproxy.rules.explain import Forecast, forecast
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.rule_set import RuleSet
from faultproxy.units import format_duration, parse_duration, quote

_WIDTH = 120


def _client(text: str) -> str:
    """An IP address; one that is IPv4-mapped is IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{quote(text)} is not an IP address; write one such as 10.0.0.1") from None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _destination(text: str) -> TcpAddress:
    address = parse_upstream(text)
    if not isinstance(address, TcpAddress) or family_of(address.host) is None:
        raise ValueError(f"{quote(str(address))} is not an IP address and a port; write one such as 10.0.0.1:5432")
    return address


@click.command
@click.argument("file", type=FILE)
@click.option("--proxy", metavar="NAME", help="Forecast this proxy only.")
@click.option(
    "--connections",
    type=Number(1, 1_000_000),
    default=20,
    show_default=True,
    help="Forecast so many connections of each proxy.",
)
@click.option(
    "--client",
    metavar="IP",
    callback=parsed(_client),
    default="127.0.0.1",
    show_default=True,
    help="The clients' address.",
)
@click.option(
    "--destination",
    metavar="IP:PORT",
    callback=parsed(_destination),
    help="Where the clients want to go, for conditions that ask.",
)
@click.option(
    "--at",
    metavar="TIME",
    callback=parsed(parse_duration),
    default="0s",
    show_default=True,
    help="The clients connect so long after the start.",
)
@click.option("--says", metavar="TEXT", default="", help="The clients' first bytes, for conditions that look at them.")
@seed_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per connection.")
def explain(
    file: Path,
    proxy: str | None,
    connections: int,
    client: str,
    destination: TcpAddress | None,
    at: float,
    says: str,
    seed: int | None,
    as_json: bool,
) -> None:
    """Print what would happen to the next connections to the proxies of FILE, and why. Nothing is opened.

    The connections come one after another, each when the one before it has ended.
    """
    config = load_config(file)
    if proxy is not None and proxy not in config.proxies:
        fail(f"{file}: there is no proxy {proxy}; it has {', '.join(config.proxies)}", BAD_CONFIG)
    seed = seed if seed is not None else config.seed
    if seed is None:
        seed = secrets.randbits(32)
        conditions = (one for its in config.proxies.values() for rule in its.rules for one in rule.conditions)
        if any(one.stage is Stage.CHANCE for one in conditions):
            click.echo(f"{file} has no seed; this is the forecast for {seed}: run it with --seed {seed}", err=True)
    output = console(_WIDTH)
    for name, its in config.proxies.items():
        if proxy not in (None, name):
            continue
        one = ConnectionFacts(1, client, at, 1, os.fsencode(says))
        if destination is not None:
            one = one._replace(destination=destination.host, destination_port=destination.port)
        coming = (one._replace(number=number) for number in range(1, connections + 1))
        forecasts = forecast(RuleSet.open(name, seed, its.rules, 0.0), coming, enabled=its.enabled)
        if as_json:
            for each in forecasts:
                click.echo(orjson.dumps(_forecast_line(name, each)))
        else:
            when = f"{format_duration(at)} after the start" if at else "from the start"
            output.print(
                _forecast_table(f"{name}: {its.listen} for {its.upstream}; clients from {client}, {when}", forecasts)
            )


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
        styles = ((reason, ("bold", "") if reason.holds else ("dim", "dim")) for reason in each.reasons)
        lines = (Text.assemble((one.rule, rule), (f": {one.because}", why)) for one, (rule, why) in styles)
        table.add_row(
            str(each.connection), Text(each.text, "bold red" if each.faults else "green"), Text("\n").join(lines)
        )
    return table
