"""The daemon: proxies, their configuration while it runs, and the end of it all."""

import errno
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGHUP

import trio

from faultproxy.config.loader import ConfigError, load
from faultproxy.config.schema import Config, LogOptions, ProxyConfig, TcpAddress
from faultproxy.dial import error_name
from faultproxy.events.bus import Bus
from faultproxy.events.log import Log
from faultproxy.events.stats import Stats
from faultproxy.events.types import ConfigLoaded, ConfigRejected, ProxyStarted
from faultproxy.kernel.holder import holder
from faultproxy.listener import Listener
from faultproxy.listener.limits import ConnectionLimit
from faultproxy.listener.syn_intercept import SynSockets
from faultproxy.proxy import Proxy, open_at_start
from faultproxy.relay import Poller

_LOOK_EVERY_S = 0.25
Stamp = tuple[int, int, int, int] | None


class CannotListen(Exception):
    """An address cannot be had. The text says which, why, and who may hold it."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line said, which stands above the file."""

    seed: int | None = None
    log_format: str | None = None
    log_level: str | None = None

    def log(self, options: LogOptions) -> LogOptions:
        """How the log is written, all things considered."""
        given = {"format": self.log_format, "level": self.log_level}
        return LogOptions.model_validate(options.model_dump() | {key: value for key, value in given.items() if value})


class Daemon:
    """Runs the proxies of one file, and follows its edits; without a file, those that apply() brings."""

    def __init__(
        self,
        path: Path | None,
        config: Config,
        overrides: Overrides,
        bus: Bus,
        stats: Stats,
        log: Log | None = None,
    ) -> None:
        self._path = path
        self._config = config
        self._overrides = overrides
        self._bus = bus
        self._stats = stats
        self._log = log
        self._run_id = secrets.token_hex(4)
        self._seed = self._seed_of(config, drawn=secrets.randbits(32))
        self._limit = ConnectionLimit()
        self._proxies: dict[str, Proxy] = {}
        self._hangup = trio.Event()

    @property
    def addresses(self) -> dict[str, TcpAddress]:
        """Where each proxy really listens."""
        return {name: proxy.listener.address for name, proxy in self._proxies.items()}

    @property
    def seed(self) -> int:
        """What all draws are made from."""
        return self._seed

    async def run(self, signals: AsyncIterator[int], ready: Callable[[], object] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second one ends it at once. Raises CannotListen at the start.

        ``ready`` is called once clients may come.
        """
        with Poller() as poller:
            self._syn_sockets = SynSockets(poller)
            listeners = self._bind(self._config.proxies)
            async with trio.open_nursery() as services:
                services.start_soon(poller.run)
                async with trio.open_nursery() as connections:
                    async with trio.open_nursery() as serving:
                        services.start_soon(self._obey, signals, serving.cancel_scope, connections.cancel_scope)
                        self._start(listeners, poller, connections, serving)
                        if self._path is not None:
                            serving.start_soon(self._watch, self._path)
                        ready()
                    connections.cancel_scope.deadline = trio.current_time() + self._config.drain
                    for proxy in self._proxies.values():
                        proxy.close_listener()
                        proxy.retire()
                services.cancel_scope.cancel()

    def unmet(self) -> list[str]:
        """The rules that did not inject as many faults as they should have, each as a sentence."""
        return [sentence for proxy in self._proxies.values() for sentence in proxy.unmet()]

    def matched(self, proxy: str) -> dict[str, int]:
        """How many connections each rule of a proxy matched; empty while there is no such proxy."""
        return self._proxies[proxy].matched if proxy in self._proxies else {}

    async def apply(self, config: Config) -> None:
        """Make this the configuration, and return when it is in force. Raises CannotListen; then nothing changed."""
        self._edit(config)
        # Each proxy gives its listener its mode in the first step of its task: after two of ours all have had it.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()

    def _start(
        self, listeners: Mapping[str, Listener], poller: Poller, connections: trio.Nursery, serving: trio.Nursery
    ) -> None:
        def add(name: str, listener: Listener) -> None:
            config = self._config.proxies[name]
            proxy = Proxy(name, config, self._seed, listener, self._bus, self._stats, poller, self._limit, connections)
            self._proxies[name] = proxy
            self._bus.publish(
                ProxyStarted(
                    proxy=name,
                    listen=str(listener.address),
                    upstream=str(config.upstream),
                    rules=len(config.rules),
                    seed=self._seed,
                    run=self._run_id,
                    config=config.dump(),
                )
            )
            serving.start_soon(proxy.serve)

        self._add = add
        for name, listener in listeners.items():
            add(name, listener)
        self._count_listeners()

    async def _obey(self, signals: AsyncIterator[int], *scopes: trio.CancelScope) -> None:
        """SIGHUP looks at the file again; any other signal cancels the first scope, the next signal the second."""
        waiting = iter(scopes)
        async for number in signals:
            if number == SIGHUP:
                self._hangup.set()
            else:
                next(waiting, scopes[-1]).cancel()

    async def _watch(self, path: Path) -> None:
        """Look at the file four times a second, and load it once it has changed and come to rest."""
        loaded: Stamp = None  # it may have changed since it was read for the start, so it is read once more
        seen: Stamp = None
        while True:
            with trio.move_on_after(_LOOK_EVERY_S):
                await self._hangup.wait()
            before, seen = seen, await trio.to_thread.run_sync(_stamp, path)
            asked = self._hangup.is_set()
            if asked or (seen != loaded and seen == before):
                self._hangup = trio.Event()
                await self._reload(path, quietly=loaded is None and not asked)
                loaded = seen

    async def _reload(self, path: Path, *, quietly: bool = False) -> None:
        """Take the file for the configuration; ``quietly``: say nothing when it already is."""
        try:
            config = await trio.to_thread.run_sync(load, path)
            if not (quietly and config == self._config):
                self._edit(config)
        except ConfigError as error:
            self._bus.publish(ConfigRejected(file=str(path), errors=error.errors))
        except CannotListen as error:
            self._bus.publish(ConfigRejected(file=str(path), errors=(str(error),)))

    def _edit(self, config: Config) -> None:
        changes = self._swap(config)
        dumps = {name: proxy.dump() for name, proxy in config.proxies.items() if name in changes.proxies}
        self._bus.publish(
            ConfigLoaded(
                source="python" if self._path is None else "file",
                file=None if self._path is None else str(self._path),
                changes=changes.texts,
                config=dumps,
            )
        )

    def _swap(self, config: Config) -> "Changes":
        """Bring up what is new, then swap, with no checkpoint in between. Raises CannotListen: nothing changed."""
        changes = Changes.between(self._config, config)
        listeners = self._listeners_for(config.proxies)
        seed = self._seed_of(config, drawn=self._seed)
        moved = [
            f"proxy {name}: now at {listener.address}"
            for name, listener in listeners.items()
            if not listener.configured.port and name in self._proxies and self._proxies[name].listener is not listener
        ]
        kept = set(map(id, listeners.values()))
        for name, proxy in tuple(self._proxies.items()):
            if id(proxy.listener) not in kept:
                proxy.close_listener()
            elif listeners.get(name) is not proxy.listener:
                proxy.hand_over()
            if name not in config.proxies:
                del self._proxies[name]
                proxy.retire()
        self._config, self._seed = config, seed
        if self._log is not None:
            log = self._overrides.log(config.log)
            self._log.configure(log.format, log.level)
        for name, proxy_config in config.proxies.items():
            if name in self._proxies:
                self._proxies[name].update(proxy_config, seed, listeners[name])
            else:
                self._add(name, listeners[name])
        self._count_listeners()
        return replace(changes, texts=(*changes.texts, *moved))

    def _count_listeners(self) -> None:
        self._limit.set_listeners(len(self._proxies) + self._syn_sockets.descriptors)

    def _listeners_for(self, proxies: Mapping[str, ProxyConfig]) -> dict[str, Listener]:
        """A listener for each proxy: the one that listens there already, whoever has it, or a new one."""
        running = [proxy.listener for proxy in self._proxies.values()]
        free = {listener.configured: listener for listener in running if listener.configured.port}
        listeners = {}
        for name, config in proxies.items():
            old = self._proxies.get(name)
            if config.listen in free:
                listeners[name] = free.pop(config.listen)
            elif old is not None and old.listener.configured == config.listen:
                listeners[name] = old.listener  # port 0: the number that the kernel gave stays
        leaving = [proxy for proxy in self._proxies.values() if proxy.listener not in listeners.values()]
        missing = {name: config for name, config in proxies.items() if name not in listeners}
        ports = {config.listen.port for config in missing.values()}
        in_the_way = [proxy for proxy in leaving if proxy.listener.address.port in ports]
        for proxy in in_the_way:
            proxy.shut_listener()  # 127.0.0.1:80 becomes :80: the old listener must go before the new one can come
        try:
            return listeners | self._bind(missing)
        except CannotListen:
            for proxy in in_the_way:
                proxy.look_again()
            raise

    def _bind(self, proxies: Mapping[str, ProxyConfig]) -> dict[str, Listener]:
        """New listeners for these proxies, open where the rules have them so; all of them or none."""
        listeners: dict[str, Listener] = {}
        for name, config in proxies.items():
            try:
                listeners[name] = Listener(config.listen, self._syn_sockets)
                open_at_start(listeners[name], config)
            except OSError as error:
                for listener in listeners.values():
                    listener.close()
                raise CannotListen(_why_not(name, config.listen, error)) from error
        return listeners

    def _seed_of(self, config: Config, drawn: int) -> int:
        given = self._overrides.seed if self._overrides.seed is not None else config.seed
        return given if given is not None else drawn


@dataclass(frozen=True, slots=True)
class Changes:
    """What an edit changed: the proxies whose configuration is another, and a line on each change."""

    proxies: frozenset[str]
    texts: tuple[str, ...]

    @classmethod
    def between(cls, old: Config, new: Config) -> "Changes":
        """Compare two configurations."""
        texts = [f"{key} changed" for key in ("seed", "log", "drain") if getattr(old, key) != getattr(new, key)]
        changed = set()
        for name in [*old.proxies, *(name for name in new.proxies if name not in old.proxies)]:
            before, after = old.proxies.get(name), new.proxies.get(name)
            if before == after:
                continue
            if after is not None:
                changed.add(name)
            if before is None or after is None:
                texts.append(f"proxy {name} {'added' if before is None else 'removed'}")
            else:
                fields = [key for key in type(after).model_fields if getattr(before, key) != getattr(after, key)]
                texts.append(f"proxy {name}: {', '.join(fields)} changed")
        return cls(frozenset(changed), tuple(texts))


def _stamp(path: Path) -> Stamp:
    """What changes when a file is written, replaced, may be read again, or a link on its path is turned.

    None if it is not there. The time of its last change of any kind stands for that of its content, which a copy may
    have kept.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size


def _why_not(name: str, listen: TcpAddress, error: OSError) -> str:
    text = f"proxies.{name}.listen: cannot listen on {listen}: {error.strerror or error} ({error_name(error)})"
    if error.errno != errno.EADDRINUSE:
        return text
    who = holder(listen.port)
    return f"{text}; {who + ' holds it' if who else 'another process holds it'}: stop that, or choose another port"
