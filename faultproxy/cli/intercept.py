"""intercept: rules of nftables that lead clients to the proxy."""

import os
from pwd import getpwnam

import click

from faultproxy.cli.options import Number, parsed
from faultproxy.cli.output import COULD_NOT_RUN, fail
from faultproxy.tools.intercept import CannotIntercept, Interception, remove
from faultproxy.units import quote

_PORT = Number(1, 65535)


def _ports(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    """Ports, apart by commas, each once."""
    texts = [text.strip() for value in values for text in value.split(",")]
    return tuple(sorted({_PORT.convert(text, parameter, context) for text in texts}))


def _user(name: str) -> int:
    """The number of a user."""
    try:
        return int(name) if name.isdecimal() else getpwnam(name).pw_uid
    except KeyError:
        raise ValueError(f"there is no user {quote(name)} here; write one, or a number") from None


@click.command
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
    "--user",
    metavar="USER",
    callback=parsed(_user),
    default=lambda: os.environ.get("SUDO_UID", str(os.geteuid())),  # who runs this, be it by sudo
    help="The proxy runs as this user, who is not led. Default: yourself.",
)
@click.option(
    "--tproxy", is_flag=True, help="Translate no address, so that connect faults are exact. Takes CAP_NET_RAW."
)
@click.option("--apply", is_flag=True, help="Carry the rules out. Takes CAP_NET_ADMIN.")
@click.option("--remove", "is_over", is_flag=True, help="Take back what was applied. Takes CAP_NET_ADMIN.")
def intercept(ports: tuple[int, ...], to: int | None, user: int, tproxy: bool, apply: bool, is_over: bool) -> None:
    """Print rules of nftables that lead connections to a proxy with upstream: original, or carry them out.

    They act on connections that begin in this network namespace: on this machine, or in this pod.
    """
    if is_over and (apply or ports or to is not None):
        raise click.UsageError("--remove takes back all; write it alone")
    if not is_over and (not ports or to is None):
        raise click.UsageError("it takes both --port and --to, such as --port 5432 --to 15432")
    if to in ports:
        raise click.UsageError(f"--to {to} is among the ports that are led there; have the proxy listen at another")
    try:
        if to is None:
            remove()
            return
        rules = Interception(ports, to, user, tproxy)
        if apply:
            rules.apply()
        else:
            click.echo(rules.script(), nl=False)
    except CannotIntercept as error:
        fail(str(error), COULD_NOT_RUN)
