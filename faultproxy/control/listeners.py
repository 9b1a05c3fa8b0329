"""The listeners of a configuration: those that have an address already are kept, the others made."""

import errno
from collections.abc import Collection, Mapping
from pathlib import Path

import trio

from faultproxy.addresses import Address, OriginalDestination, TcpAddress, UnixAddress
from faultproxy.config.schema import ProxyConfig
from faultproxy.failures import CannotListen
from faultproxy.kernel.port_owner import find_port_owner
from faultproxy.listener.listener import Listener
from faultproxy.listener.syn_intercept import SynSockets
from faultproxy.listener.unix_listener import AnyListener, UnixListener
from faultproxy.proxy.proxy import RunningProxy
from faultproxy.proxy.schedule import Schedule
from faultproxy.rules.rule_set import RuleSet
from faultproxy.upstream.dial import error_name
from faultproxy.upstream.resolver import resolve

_BATCH = 50
_RESOLVE_WITHIN_S = 10.0
_FIND_OWNER_WITHIN_S = 1.0
_MAY_PASS = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


async def make_listeners(
    proxies: Mapping[str, ProxyConfig],
    running: Mapping[str, RunningProxy],
    syn_sockets: SynSockets,
    moving: Collection[str] = (),
) -> tuple[dict[str, AnyListener], dict[str, AnyListener]]:
    """For each proxy the listener that has its address already, whoever uses it; or a new one. Returns (kept, new).

    A port 0 is the number that the kernel gave before, but another for the proxies ``moving``. A running proxy whose
    listener is in the way of a new one (127.0.0.1:80 becomes :80) is paused. Raises
    CannotListen; then none is new, and nobody is paused. After the last new one there is no checkpoint.
    """
    kept = _kept(proxies, running, moving)
    missing = {name: config for name, config in proxies.items() if name not in kept}
    hosts = {name: await resolve_listen(_key(name), config.listen) for name, config in missing.items()}
    ports = {_port(config.listen) for config in missing.values()} - {None}
    in_the_way = [
        proxy
        for proxy in running.values()
        if _port(proxy.listener.address) in ports and proxy.listener not in kept.values()
    ]
    new: dict[str, AnyListener] = {}
    name = ""
    try:
        for proxy in in_the_way:
            proxy.pause()
        for name, config in missing.items():
            new[name] = _listen(config, hosts[name], syn_sockets)
            if not in_the_way and len(new) % _BATCH == 0 and len(new) < len(missing):
                await trio.lowlevel.checkpoint()  # connections do not wait meanwhile
    except BaseException as error:
        for listener in new.values():
            listener.close()
        for proxy in in_the_way:
            proxy.resume()
        if isinstance(error, OSError) and name in missing:
            raise await cannot_listen(_key(name), missing[name].listen, error) from error
        raise
    return kept, new


def _kept(
    proxies: Mapping[str, ProxyConfig], running: Mapping[str, RunningProxy], moving: Collection[str]
) -> dict[str, AnyListener]:
    by_address = {proxy.listener.configured: proxy.listener for proxy in running.values()}
    kept: dict[str, AnyListener] = {}
    for name, config in proxies.items():
        old = running.get(name)
        if _port(config.listen) != 0 and config.listen in by_address:
            kept[name] = by_address[config.listen]
        elif old is not None and old.listener.configured == config.listen and name not in moving:
            kept[name] = old.listener
    return kept


def _port(address: Address) -> int | None:
    return address.port if isinstance(address, TcpAddress) else None


def _listen(config: ProxyConfig, host: str, syn_sockets: SynSockets) -> AnyListener:
    """A new listener, in the mode that the rules begin with. Raises OSError."""
    listener: AnyListener
    if isinstance(config.listen, UnixAddress):
        listener = UnixListener(config.listen)
    else:
        listener = Listener(config.listen, host, syn_sockets)
    try:
        listener.set_keepalive(config.keepalive)
        listener.follow_tproxy(on=isinstance(config.upstream, OriginalDestination))
        rules = RuleSet.open("", 0, config.rules, 0.0)
        listener.set_mode(*Schedule(rules, is_enabled=config.enabled).modes(0.0))
    except BaseException:
        listener.close()
        raise
    return listener


def _key(name: str) -> str:
    return f"proxies.{name}.listen"


async def resolve_listen(key: str, listen: Address) -> str:
    """The IP address of the host to listen at; empty for all, and for a Unix socket. Raises CannotListen.

    ``key`` is what the text of the error begins with: where the address stands in the file.
    """
    if isinstance(listen, UnixAddress) or not listen.host:
        return ""
    try:
        with trio.fail_after(_RESOLVE_WITHIN_S):
            (_, address), *_ = await resolve(listen.host, listen.port)
    except trio.TooSlowError:
        text = f"{key}: nobody says within {_RESOLVE_WITHIN_S:g} s which address {listen.host} is"
        raise CannotListen(f"{text}; write the address", may_pass=True) from None
    except OSError as error:
        raise await cannot_listen(key, listen, error) from error
    return str(address[0])


async def cannot_listen(key: str, listen: Address, error: OSError) -> CannotListen:
    """The error that says which address could not be had, why, who may hold it, and what to do about it."""
    text = f"{key}: cannot listen on {listen}: {error.strerror or error} ({error_name(error)})"
    cure = await _cure_of_tcp(listen, error) if isinstance(listen, TcpAddress) else _cure_of_unix(listen, error)
    if error.errno == errno.EMFILE:
        cure = "raise the limit of open files with ulimit -n"
    return CannotListen(f"{text}; {cure}" if cure else text, may_pass=error.errno in _MAY_PASS)


async def _cure_of_tcp(listen: TcpAddress, error: OSError) -> str | None:
    if error.errno == errno.EADDRINUSE:
        return f"{await _owner(listen.port) or 'another process'} holds it: stop that, or choose another port"
    if error.errno == errno.EACCES:
        return f"ports below {_first_free_port()} take CAP_NET_BIND_SERVICE: choose a higher port, or grant it"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this host has no such address: write one that it has, or :{listen.port} for all"
    return None


async def _owner(port: int) -> str | None:
    with trio.move_on_after(_FIND_OWNER_WITHIN_S):
        for owner in find_port_owner(port):
            if owner is not None:
                return owner
            await trio.lowlevel.checkpoint()  # connections do not wait meanwhile
    return None


def _cure_of_unix(listen: UnixAddress, error: OSError) -> str | None:
    folder = Path(listen.path).parent
    cures = {
        errno.EADDRINUSE: "another process listens there: stop that, or choose another path",
        errno.EEXIST: "the file there is no socket: remove it, or choose another path",
        errno.ENOENT: f"there is no folder {folder}: make it",
        errno.EACCES: f"it takes the permission to write in {folder}, and in a socket that is there already",
    }
    return cures.get(error.errno or 0)


def _first_free_port() -> int:
    """The lowest port that everybody may listen on (ip(7), ip_unprivileged_port_start)."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024
