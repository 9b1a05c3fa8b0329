"""The commands of `faultproxy ctl`, a function each.

Exit codes: 0 done; 1 the API cannot be reached, or refuses; 2 what was asked for is not valid.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem
from rich.console import RenderableType

from faultproxy.ctl import tables
from faultproxy.ctl.client import (
    DEFAULT,
    ApiAddress,
    ApiClient,
    ApiRefused,
    BadAddress,
    CannotReach,
    parse_address,
    segment,
)

_WIDTH = 160
_COMPLETE_S = 0.5
_FAULTS = (
    *("abort", "bandwidth", "blackhole", "broken_pipe", "close", "corrupt", "half_close", "hang", "latency", "loss"),
    *("noop", "reset", "slice", "slow_close"),
)
_YAML = "application/yaml"

_F = TypeVar("_F", bound=Callable[..., Any])


class _Failed(click.ClickException):
    """Said on standard error as it is."""

    def show(self, file: Any = None) -> None:
        click.echo(self.message, err=True, file=file)


class _NotValid(_Failed):
    exit_code = 2


class Session:
    """What the options of all commands say."""

    def __init__(self) -> None:
        self.given: ApiAddress | None = None
        self.token: str | None = None
        self.as_json = False

    @property
    def address(self) -> ApiAddress:
        """Where the API is."""
        if self.given is not None:
            return self.given
        try:
            return parse_address(os.environ.get("FAULTPROXY_API") or DEFAULT)
        except BadAddress as error:
            raise _NotValid(f"FAULTPROXY_API: {error}") from None

    @property
    def client(self) -> ApiClient:
        """Who asks."""
        return ApiClient(self.address, self.token)

    def show(self, answer: Any, table: Callable[[Any], RenderableType]) -> None:
        """Print an answer: as it is for programs, as a table for people."""
        if self.as_json:
            click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
            return
        try:
            shown = table(answer)
        except (KeyError, TypeError, AttributeError, IndexError):
            raise self.not_ours() from None
        tables.console(_WIDTH).print(shown)

    def not_ours(self) -> CannotReach:
        """Why an answer cannot be shown."""
        return CannotReach(f"what listens at {self.address} answers as no API of this version does")


def _session(context: click.Context) -> Session:
    return context.ensure_object(Session)


def _api(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        try:
            _session(context).given = parse_address(value)
        except BadAddress as error:
            raise click.BadParameter(str(error)) from None


def _token_file(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    try:
        token = Path(value).read_text("ascii").strip()
    except OSError as error:
        raise click.BadParameter(f"{value}: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token:
        raise click.BadParameter(f"{value}: holds no token; it has one line, without space")
    _session(context).token = token


def _as_json(context: click.Context, _: click.Parameter, value: bool) -> None:  # as click calls it
    if value:
        _session(context).as_json = True


_REACHING = (
    click.option(
        "--api",
        metavar="URL",
        expose_value=False,
        is_eager=True,
        callback=_api,
        help="Where the API is: http://HOST:PORT or unix:/path; else $FAULTPROXY_API, else http://127.0.0.1:8474.",
    ),
    click.option(
        "--token-file",
        metavar="FILE",
        expose_value=False,
        is_eager=True,
        callback=_token_file,
        help="Send the token in FILE.",
    ),
)
_JSON = click.option("--json", is_flag=True, expose_value=False, callback=_as_json, help="Print JSON, for programs.")


def _reaching(function: _F) -> _F:
    """A command that asks the API: where it is may be said behind the command too."""
    for option in reversed(_REACHING):
        function = option(function)
    return function


def _command(group: click.Group, name: str, help: str, *, has_json: bool = True) -> Callable[[_F], click.Command]:  # noqa: A002  # as click calls it
    def make(function: _F) -> click.Command:
        asking = click.pass_context(_telling(function))
        return group.command(name, short_help=help)(_reaching(_JSON(asking) if has_json else asking))

    return make


def _telling(function: Callable[..., Any]) -> Callable[..., Any]:
    """Call it with the session; what the API says of an error is said on standard error."""

    def call(context: click.Context, **options: Any) -> None:
        try:
            function(_session(context), **options)
        except ApiRefused as error:
            raise (_NotValid if error.is_ours else _Failed)(str(error)) from None
        except CannotReach as error:
            raise _Failed(str(error)) from None

    call.__doc__ = function.__doc__
    call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    return call


def _names(path: str, key: str, name: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """What the shell completes: names that the API has, if it answers at once. The path may have ``{proxy}`` in it."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            proxy = segment(context.params.get("proxy") or "")
            found = _session(context).client.ask("GET", path.format(proxy=proxy), timeout_s=_COMPLETE_S)[key]
            names = [str(each[name]) for each in found]
        except (CannotReach, ApiRefused, KeyError, TypeError):
            return []
        return [CompletionItem(each) for each in names if each.startswith(incomplete)]

    return complete


def _fault_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(each) for each in _FAULTS if each.startswith(incomplete)]


_proxy_names = _names("/v1/proxies", "proxies", "name")
_connection_names = _names("/v1/connections?state=open", "connections", "connection")
_rule_names = _names("/v1/proxies/{proxy}", "rules", "name")
_PROXY = click.argument("proxy", shell_complete=_proxy_names)
_CONNECTION = click.argument("connection", shell_complete=_connection_names)


@click.group
@_reaching
def ctl() -> None:
    """See and change what a running faultproxy does, over its API (faultproxy run --api ADDRESS)."""


@_command(ctl, "status", "How the whole stands.")
def _status(session: Session) -> None:
    """Print how the whole stands: version, seed, uptime, what is degraded on this host and why."""
    session.show(session.client.ask("GET", "/v1/status"), tables.status)


@_command(ctl, "proxies", "The proxies, or one with its rules.")
@click.argument("proxy", required=False, shell_complete=_proxy_names)
def _proxies(session: Session, proxy: str | None) -> None:
    """Print the proxies, or PROXY with its rules and what they have done."""
    if proxy is not None:
        session.show(session.client.ask("GET", f"/v1/proxies/{segment(proxy)}"), tables.proxy)
    else:
        session.show(session.client.ask("GET", "/v1/proxies"), lambda answer: tables.proxies(answer["proxies"]))


@_command(ctl, "rules", "The rules of a proxy: what each does and has done.")
@_PROXY
def _rules(session: Session, proxy: str) -> None:
    """Print the rules of PROXY in their order, with what they have done."""
    answer = session.client.ask("GET", f"/v1/proxies/{segment(proxy)}")
    session.show(answer["rules"], tables.rules)


@ctl.group(short_help="Add a rule, change one, or take one away.")
@_reaching
def rule() -> None:
    """Add a rule to a proxy, change one, or take one away."""


@_command(rule, "add", "Add a rule, or change one.")
@_PROXY
@click.argument("name", shell_complete=_rule_names)
@click.argument("yaml")
@click.option("--before", metavar="RULE", help="Put it before this rule; else a new rule stands first.")
def _rule_add(session: Session, proxy: str, name: str, yaml: str, before: str | None) -> None:
    """Add a rule to PROXY, or change the one of this NAME.

    YAML is the rule as a file has it, such as 'reset: {after: 4KiB}'; if it is -, standard input is read.
    """
    body = _standard_input() if yaml == "-" else os.fsencode(yaml)
    path = f"/v1/proxies/{segment(proxy)}/rules/{segment(name)}"
    answer = session.client.ask("PUT", path, body, query={"before": before}, content_type=_YAML, name="rule")
    session.show(answer, lambda one: tables.rules([one]))


@_command(rule, "remove", "Take a rule away.", has_json=False)
@_PROXY
@click.argument("name", shell_complete=_rule_names)
def _rule_remove(session: Session, proxy: str, name: str) -> None:
    """Take the rule of this NAME away from PROXY."""
    session.client.ask("DELETE", f"/v1/proxies/{segment(proxy)}/rules/{segment(name)}")


def _switch(session: Session, proxies: tuple[str, ...], *, enabled: bool) -> None:
    body = json.dumps({"enabled": enabled}).encode()
    answers: list[Any] = []
    try:
        for proxy in proxies:
            answers.append(session.client.ask("PATCH", f"/v1/proxies/{segment(proxy)}", body))  # noqa: PERF401  # see below
    finally:  # what was done is said, also before why the rest was not
        if answers:
            session.show(answers, tables.proxies)


@_command(ctl, "enable", "Have proxies listen again.")
@click.argument("proxies", metavar="PROXY...", nargs=-1, required=True, shell_complete=_proxy_names)
def _enable(session: Session, proxies: tuple[str, ...]) -> None:
    """Have each PROXY accept clients again."""
    _switch(session, proxies, enabled=True)


@_command(ctl, "disable", "Have proxies refuse, as stopped servers do.")
@click.argument("proxies", metavar="PROXY...", nargs=-1, required=True, shell_complete=_proxy_names)
def _disable(session: Session, proxies: tuple[str, ...]) -> None:
    """Have each PROXY refuse clients, and reset those it has, as a stopped server does."""
    _switch(session, proxies, enabled=False)


@_command(ctl, "connections", "Who is connected, or one connection and why.")
@click.argument("connection", required=False, shell_complete=_connection_names)
@click.option("--proxy", metavar="NAME", shell_complete=_proxy_names, help="Those of this proxy.")
@click.option("--state", type=click.Choice(["open", "closed"]), help="Only those; else both, open ones first.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
def _connections(session: Session, connection: str | None, proxy: str | None, state: str | None, limit: int) -> None:
    """Print the open connections and the last closed; or CONNECTION (redis#17), and what each rule said to it."""
    if connection is not None:
        session.show(session.client.ask("GET", f"/v1/connections/{segment(connection)}"), tables.connection)
        return
    query = {"proxy": proxy, "state": state, "limit": limit}
    session.show(session.client.ask("GET", "/v1/connections", query=query), tables.connections)


@_command(ctl, "inject", "Inject a fault into an open connection, now.")
@_CONNECTION
@click.argument("fault", shell_complete=_fault_names)
@click.argument("options", metavar="[OPTION=VALUE]...", nargs=-1)
@click.option("--after", metavar="WHEN", help="Let it strike later: after a size (4KiB) or a time (2s).")
def _inject(session: Session, connection: str, fault: str, options: tuple[str, ...], after: str | None) -> None:
    """Inject FAULT into an open CONNECTION (redis#17), now, with the options that a file has: to=client delay=2s."""
    given: dict[str, Any] = dict(map(_option, options))
    if after is not None:
        given["after"] = after
    body = json.dumps({fault: given or None}).encode()
    answer = session.client.ask("POST", f"/v1/connections/{segment(connection)}/faults", body, name="fault")
    if session.as_json:
        session.show(answer, tables.status)
    else:
        click.echo(f"{connection}: {fault} injected", err=True)


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.UsageError(f"{text!r} is no option of a fault; write one such as to=client")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


@_command(ctl, "release", "End what was injected by hand.", has_json=False)
@_CONNECTION
def _release(session: Session, connection: str) -> None:
    """End what was injected by hand into CONNECTION and still acts or waits, such as a hang."""
    session.client.ask("DELETE", f"/v1/connections/{segment(connection)}/faults")


@_command(ctl, "events", "What has happened; with -f, what happens.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--event", metavar="NAME", help="Those of this kind: fault.injected; several with commas.")
@click.option("--proxy", metavar="NAME", shell_complete=_proxy_names, help="Those of this proxy.")
@click.option("--rule", metavar="NAME", help="Those of this rule.")
@click.option("--level", type=click.Choice(["debug", "info", "warning", "error"]), help="From this level up.")
@click.option("--since", type=click.IntRange(0), metavar="ID", help="Those after this one.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many past ones."
)
def _events(session: Session, *, follow: bool, since: int | None, limit: int, **filters: str | None) -> None:
    """Print the last events, a line each; with --json, an object a line."""
    answer = session.client.ask("GET", "/v1/events", query={**filters, "since": since, "limit": limit})
    try:
        found, last = list(answer["events"]), answer["last"]
    except (KeyError, TypeError):
        raise session.not_ours() from None
    with suppress(KeyboardInterrupt) if follow else nullcontext():
        for one in found:
            _print_event(session, one)
        if follow:
            for one in _following(session, {**filters, "since": last}):
                _print_event(session, one)


def _following(session: Session, query: dict[str, Any]) -> Iterator[Any]:
    for kind, data in session.client.events(query):
        one = json.loads(data)
        yield {"event": kind, **one} if isinstance(one, dict) else {"event": kind}


def _print_event(session: Session, one: Any) -> None:
    if session.as_json:
        click.echo(json.dumps(one, ensure_ascii=False))
    else:
        tables.console(_WIDTH).print(tables.event(one), soft_wrap=True)


@ctl.group(invoke_without_command=True, short_help="Print what runs, run something else, or go back to the file.")
@_reaching
@_JSON
@click.pass_context
def config(context: click.Context) -> None:
    """Print what runs, in YAML, ready to be saved as a file."""
    if context.invoked_subcommand is None:
        _telling(_print_config)(context)


def _print_config(session: Session) -> None:
    answer = session.client.ask("GET", "/v1/config", accept="application/json" if session.as_json else _YAML)
    if session.as_json:
        session.show(answer, tables.status)
    elif isinstance(answer, str):
        click.echo(answer, nl=False)
    else:
        raise session.not_ours()


@_command(config, "put", "Run this file instead.")
@click.argument("file")
def _config_put(session: Session, file: str) -> None:
    """Have FILE run instead of what runs; if it is -, standard input is read. The file itself is not changed."""
    try:
        body = _standard_input() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None
    answer = session.client.ask("PUT", "/v1/config", body, content_type=_YAML, name="<stdin>" if file == "-" else file)
    _show_changes(session, answer)


@_command(config, "reset", "Go back to the file.")
def _config_reset(session: Session) -> None:
    """Drop what the API has changed: the file runs again as it is."""
    _show_changes(session, session.client.ask("DELETE", "/v1/overlay"))


def _show_changes(session: Session, answer: Any) -> None:
    session.show(answer, tables.changes)


@_command(ctl, "explain", "Forecast what the rules that run will do, and why.")
@click.option("--proxy", metavar="NAME", shell_complete=_proxy_names, help="Forecast this proxy only.")
@click.option("--connections", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Forecast so many.")
@click.option("--client", metavar="IP", help="The clients' address.  [default: 127.0.0.1]")
@click.option("--at", metavar="TIME", help="The clients connect so long after the start.  [default: 0s]")
@click.option("--says", metavar="TEXT", help="The clients' first bytes.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Draw from this seed.")
def _explain(session: Session, **query: Any) -> None:
    """Print what would happen to coming connections by the rules that run, from the start. Nothing is opened."""
    session.show(session.client.ask("POST", "/v1/explain", query=query), tables.forecasts)


def _standard_input() -> bytes:
    return sys.stdin.buffer.read()
