"""The proxies that run, and the one way to change them."""

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trio

from faultproxy.addresses import Address, OriginalDestination, TcpAddress, UnixAddress
from faultproxy.config.loader import ConfigError, check_together
from faultproxy.config.schema import Config, LogOptions, ProxyConfig
from faultproxy.control.changes import Difference
from faultproxy.control.edits import Edit
from faultproxy.control.layers import Layers
from faultproxy.control.listeners import make_listeners
from faultproxy.control.loop import in_batches, let_begin
from faultproxy.events.bus import Bus
from faultproxy.events.types import ConfigLoaded, ConfigRejected, ProxyStarted
from faultproxy.failures import CannotListen
from faultproxy.kernel import memory
from faultproxy.listener.syn_intercept import SynSockets
from faultproxy.listener.unix_listener import AnyListener
from faultproxy.proxy.proxy import NO_PAST, Past, RunningProxy, unmet
from faultproxy.proxy.settings import ProxySettings, Services
from faultproxy.relay import Poller
from faultproxy.report.report import RetryReport
from faultproxy.upstream.dial import Target

_BATCH = 50
_SHARE_OF_MEMORY = 4

Source = Literal["file", "api", "python"]


class Draining(Exception):
    """No edit takes effect any more: the proxies are being drained."""


class Conflict(Exception):
    """What runs is no longer what the edit was meant for."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What the command line said, which stands above the file."""

    seed: int | None = None
    log_format: str | None = None
    log_level: str | None = None

    def log(self, options: LogOptions) -> LogOptions:
        """How the log is written, all things considered."""
        given = {"format": self.log_format, "level": self.log_level}
        return LogOptions.model_validate(options.model_dump() | {key: value for key, value in given.items() if value})

    def seed_of(self, config: Config, drawn: int) -> int:
        """What draws are made from; ``drawn`` if nobody says."""
        given = self.seed if self.seed is not None else config.seed
        return given if given is not None else drawn


class Manager:
    """Runs the proxies of a configuration. apply() changes what runs, whoever asks for it.

    ``layers`` are what runs, ``revision`` is the number of the edits that have changed them. ``api`` is where the API
    really listens, if it does: no proxy may dial it. ``file`` is the one that is followed, ``run_id`` is of this run
    alone. ``configure_log`` is called with the log's options at each edit.
    """

    def __init__(
        self,
        config: Config,
        bus: Bus,
        overrides: CommandLine = CommandLine(),
        configure_log: Callable[[LogOptions], object] = lambda _: None,
    ) -> None:
        self.layers = Layers.of(config)
        self.revision = 0
        self.api: Address | None = None
        self.file: Path | None = None
        self.run_id = secrets.token_hex(4)
        self.bus = bus
        self.seed = overrides.seed_of(config, drawn=secrets.randbits(32))
        self.proxies: dict[str, RunningProxy] = {}
        self._overrides = overrides
        self._configure_log = configure_log
        self._removed: dict[str, Past] = {}  # whoever takes the name goes on from there
        self._editing = trio.Lock()
        self._is_draining = False

    @property
    def config(self) -> Config:
        """The sum of the layers: what runs."""
        return self.layers.config

    @property
    def addresses(self) -> dict[str, Address]:
        """Where each proxy really listens."""
        return {name: proxy.listener.address for name, proxy in self.proxies.items()}

    def matched(self, name: str) -> dict[str, int]:
        """How many connections each rule of a proxy matched; rules that an edit has removed are not in it."""
        return self.proxies[name].matched if name in self.proxies else {}

    def unmet(self, report: RetryReport | None = None) -> list[str]:
        """What is not as the rules' ``expect`` says, each as a sentence; of clients, if there is a report of them.

        A rule that an edit has removed, by itself or with its proxy, is still expected to have done so.
        """
        expected = {name: proxy.expected for name, proxy in self.proxies.items()}
        expected |= {name: past.expected for name, past in self._removed.items()}
        return [text for name, its in expected.items() for text in unmet(name, its, self._services.stats, report)]

    def reset_counts(self, *names: str) -> None:
        """Have the ordinals and counts of these proxies begin anew, between two clients; without names, of all.

        Of those that were removed nothing is expected any more.
        """
        for name in names or (*self.proxies, *self._removed):
            if name in self.proxies:
                self.proxies[name].reset_counts()
            else:
                self._removed[name] = Past(self._removed[name].accepted)

    async def listen(self, poller: Poller) -> None:
        """Take the addresses; clients wait until start(). Raises CannotListen; then nothing listens."""
        self._syn_sockets = SynSockets(poller)
        _, self._listeners = await make_listeners(self.config.proxies, {}, self._syn_sockets)

    def note_api(self, address: Address) -> None:
        """The API really listens here. Raises ConfigError if a proxy dials it."""
        check_together(self.config, address)
        self.api = address

    def start(self, services: Services) -> None:
        """Begin to accept."""
        self._services = services
        self.started_at = trio.current_time()
        for name, listener in self._listeners.items():
            self._add(name, listener, self.config.proxies[name].dump())
        self._note_listeners()

    async def apply(
        self,
        edit: Edit,
        source: Source,
        file: str | None = None,
        *,
        revisions: Collection[int] | None = None,
        moving: Collection[str] = (),
    ) -> ConfigLoaded:
        """Change what runs, whole or not at all; when it returns, the change is in force. Edits wait for one another.

        ``edit`` returns the new layers for those that run; what it raises is passed on. Raises ConfigError if they are
        not valid, CannotListen, Conflict if ``revision`` is none of ``revisions``, and Draining once drain() was
        called. Nothing has changed then. Returns what is logged of it. What the API asks for in vain is logged; of a
        file, the caller does it. Of the proxies ``moving``, which ``edit`` may fill, those at port 0 get another port.
        """
        try:
            async with self._editing:
                if revisions is not None and self.revision not in revisions:
                    raise Conflict
                return await self._apply(edit, source, file, moving)
        except (ConfigError, CannotListen) as error:
            if source == "api":
                errors = error.errors if isinstance(error, ConfigError) else (str(error),)
                self.bus.publish(ConfigRejected(source=source, file=file, errors=errors))
            raise

    async def _apply(self, edit: Edit, source: Source, file: str | None, moving: Collection[str]) -> ConfigLoaded:
        layers = edit(self.layers)
        config = layers.config
        changes = Difference.between(self.config, config)
        if any(_moves(self.config.proxies.get(name), config.proxies[name]) for name in changes.proxies):
            check_together(config, self.api)
        if self._is_draining:
            raise Draining
        changed = [(name, proxy) for name, proxy in config.proxies.items() if name in changes.proxies]
        dumps = {name: proxy.dump() async for name, proxy in in_batches(changed, _BATCH)}
        kept, new = await make_listeners(config.proxies, self.proxies, self._syn_sockets, moving)
        if self._is_draining:
            for listener in new.values():
                listener.close()
            raise Draining
        moved = [
            f"proxy {name}: now at {listener.address}"
            for name, listener in new.items()
            if listener.address != listener.configured and name in self.proxies
        ]
        before = self.layers
        try:
            unaffected = self._swap(layers, kept | new, dumps)
        except Exception:  # a bug: what runs goes on as far as it can
            self.layers = before
            for proxy in self.proxies.values():
                proxy.take_back()
            for listener in new.values():
                if all(proxy.listener is not listener for proxy in self.proxies.values()):
                    listener.close()
            raise
        self.revision += bool(moved) or layers != before
        texts = (*changes.texts, *moved)
        loaded = ConfigLoaded(source=source, file=file, changes=texts, config=dumps, unaffected=unaffected)
        self.bus.publish(loaded)
        await let_begin()  # the tasks of connections that a live rule reaches
        return loaded

    def drain(self) -> None:
        """Give the addresses back and accept no more; open connections go on in the services' nursery."""
        self._is_draining = True
        for proxy in self.proxies.values():
            proxy.close_listener()
            proxy.drain()

    def _swap(
        self, layers: Layers, listeners: Mapping[str, AnyListener], changed: Mapping[str, Mapping[str, object]]
    ) -> int:
        """Have the proxies of this configuration run at these listeners. There is no checkpoint in between.

        Those that are not ``changed``, and have the same listener and seed, are left alone; of the others, their
        mappings are given. Returns how many open connections the changed triggered faults do not reach.
        """
        config = layers.config
        seed = self._overrides.seed_of(config, drawn=self.seed)
        in_use = {id(listener) for listener in listeners.values()}
        same = {
            name
            for name, proxy in self.proxies.items()
            if name not in changed and listeners.get(name) is proxy.listener and seed == self.seed
        }
        for name, proxy in tuple(self.proxies.items()):
            if name in same:
                continue
            if listeners.get(name) is proxy.listener:
                proxy.judge_waiting()
            elif id(proxy.listener) in in_use:
                proxy.hand_over()
            else:
                proxy.close_listener()
            if name not in config.proxies:
                del self.proxies[name]
                proxy.drain()
                self._removed[name] = proxy.past
        before, self.layers, self.seed = self.config, layers, seed
        self._configure_log(self._overrides.log(config.log))
        if config.memory != before.memory:
            self._services.poller.memory.limit = memory_limit(config)
        unaffected = 0
        for name in config.proxies:
            if name not in self.proxies:
                self._add(name, listeners[name], changed[name])
            elif name not in same:
                settings = proxy_settings(config.proxies[name], seed)
                unaffected += self.proxies[name].update(settings, listeners[name])
        self._note_listeners()
        return unaffected

    def _add(self, name: str, listener: AnyListener, dump: Mapping[str, object]) -> None:
        config = self.config.proxies[name]
        self.bus.publish(
            ProxyStarted(
                proxy=name,
                listen=str(listener.address),
                upstream=str(config.upstream),
                rules=len(config.rules),
                seed=self.seed,
                run=self.run_id,
                config=dump,
            )
        )
        past = self._removed.pop(name, NO_PAST)
        self.proxies[name] = RunningProxy(name, proxy_settings(config, self.seed), listener, self._services, past)

    def _note_listeners(self) -> None:
        listeners = [proxy.listener for proxy in self.proxies.values()]
        self._services.limit.set_listeners(len(listeners) + self._syn_sockets.descriptors)
        self._services.circles.ports = frozenset(
            address.port for listener in listeners if isinstance(address := listener.address, TcpAddress)
        )


def _moves(before: ProxyConfig | None, after: ProxyConfig) -> bool:
    return before is None or (before.listen, before.upstream) != (after.listen, after.upstream)


def proxy_settings(config: ProxyConfig, seed: int) -> ProxySettings:
    """What a proxy is given of its configuration."""
    keepalive_s = config.keepalive
    if isinstance(config.upstream, UnixAddress):
        upstream = Target.unix(config.upstream.path)
    elif isinstance(config.upstream, OriginalDestination):
        upstream = Target.original(keepalive_s)
    else:
        upstream = Target.tcp(config.upstream.host, config.upstream.port, keepalive_s)
    return ProxySettings(
        upstream,
        config.dial_timeout,
        config.peek_timeout,
        keepalive_s,
        config.max_connections,
        config.enabled,
        seed,
        config.rules,
        config.send_proxy,
        config.accept_proxy,
    )


def memory_limit(config: Config) -> int:
    """The most bytes that may be held for all connections together."""
    return config.memory if config.memory is not None else memory.available() // _SHARE_OF_MEMORY
