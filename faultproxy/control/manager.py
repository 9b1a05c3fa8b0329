"""The proxies that run, and the one way to change them."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import trio

from faultproxy.addresses import Address, TcpAddress, UnixAddress
from faultproxy.config.schema import Config, LogOptions
from faultproxy.control.changes import Difference
from faultproxy.control.listeners import make_listeners
from faultproxy.events.bus import Bus
from faultproxy.events.types import ConfigLoaded, ProxyStarted
from faultproxy.kernel import memory
from faultproxy.listener.syn_intercept import SynSockets
from faultproxy.listener.unix_listener import AnyListener
from faultproxy.proxy.proxy import RunningProxy
from faultproxy.proxy.settings import ProxySettings, Services
from faultproxy.relay import Poller
from faultproxy.upstream.dial import Target

_SHARE_OF_MEMORY = 4

Edit = Callable[[Config], Config]
Source = Literal["file", "api", "python"]


class Draining(Exception):
    """No edit takes effect any more: the proxies are being drained."""


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

    ``configure_log`` is called with the log's options at each edit.
    """

    def __init__(
        self,
        config: Config,
        bus: Bus,
        overrides: CommandLine = CommandLine(),
        configure_log: Callable[[LogOptions], object] = lambda _: None,
    ) -> None:
        self.config = config
        self.bus = bus
        self.seed = overrides.seed_of(config, drawn=secrets.randbits(32))
        self.proxies: dict[str, RunningProxy] = {}
        self._overrides = overrides
        self._configure_log = configure_log
        self._run_id = secrets.token_hex(4)
        self._accepted: dict[str, int] = {}  # by proxies that were removed: whoever takes the name goes on numbering
        self._editing = trio.Lock()
        self._is_draining = False

    @property
    def addresses(self) -> dict[str, Address]:
        """Where each proxy really listens."""
        return {name: proxy.listener.address for name, proxy in self.proxies.items()}

    def matched(self, name: str) -> dict[str, int]:
        """How many connections each rule of a proxy matched; rules that an edit has removed are not in it."""
        return self.proxies[name].matched if name in self.proxies else {}

    def publish_status(self) -> None:
        """Report how each proxy stands now."""
        for proxy in self.proxies.values():
            self.bus.publish(proxy.status())

    def unmet(self) -> list[str]:
        """The rules that did not inject as many faults as their ``expect`` says, each as a sentence."""
        return [sentence for proxy in self.proxies.values() for sentence in proxy.unmet()]

    async def listen(self, poller: Poller) -> None:
        """Take the addresses; clients wait until start(). Raises CannotListen; then nothing listens."""
        self._syn_sockets = SynSockets(poller)
        _, self._listeners = await make_listeners(self.config.proxies, {}, self._syn_sockets)

    def start(self, services: Services) -> None:
        """Begin to accept."""
        self._services = services
        for name, listener in self._listeners.items():
            self._add(name, listener)
        self._note_listeners()

    async def apply(self, edit: Edit, source: Source, file: str | None = None) -> None:
        """Change what runs, whole or not at all; when it returns, the change is in force. Edits wait for one another.

        ``edit`` returns the new configuration for the one that runs; what it raises is passed on. Raises CannotListen,
        and Draining once drain() was called. Nothing has changed then.
        """
        async with self._editing:
            config = edit(self.config)
            changes = Difference.between(self.config, config)
            if self._is_draining:
                raise Draining
            kept, new = await make_listeners(config.proxies, self.proxies, self._syn_sockets)
            if self._is_draining:
                for listener in new.values():
                    listener.close()
                raise Draining
            moved = [
                f"proxy {name}: now at {listener.address}"
                for name, listener in new.items()
                if listener.address != listener.configured and name in self.proxies
            ]
            before = self.config
            try:
                unaffected = self._swap(config, kept | new)
            except Exception:  # a bug: what runs goes on as far as it can
                self.config = before
                for proxy in self.proxies.values():
                    proxy.take_back()
                for listener in new.values():
                    if all(proxy.listener is not listener for proxy in self.proxies.values()):
                        listener.close()
                raise
            dumps = {name: proxy.dump() for name, proxy in config.proxies.items() if name in changes.proxies}
            texts = (*changes.texts, *moved)
            loaded = ConfigLoaded(source=source, file=file, changes=texts, config=dumps, unaffected=unaffected)
            self.bus.publish(loaded)

    def drain(self) -> None:
        """Give the addresses back and accept no more; open connections go on in the services' nursery."""
        self._is_draining = True
        for proxy in self.proxies.values():
            proxy.close_listener()
            proxy.drain()

    def _swap(self, config: Config, listeners: Mapping[str, AnyListener]) -> int:
        """Have the proxies of this configuration run at these listeners. There is no checkpoint in between.

        Returns how many open connections the changed triggered faults do not reach.
        """
        kept = {id(listener) for listener in listeners.values()}
        for name, proxy in tuple(self.proxies.items()):
            if listeners.get(name) is proxy.listener:
                proxy.judge_waiting()
            elif id(proxy.listener) in kept:
                proxy.hand_over()
            else:
                proxy.close_listener()
            if name not in config.proxies:
                del self.proxies[name]
                proxy.drain()
                self._accepted[name] = proxy.accepted
        self.config, self.seed = config, self._overrides.seed_of(config, drawn=self.seed)
        self._configure_log(self._overrides.log(config.log))
        self._services.poller.memory.limit = memory_limit(config)
        unaffected = 0
        for name in config.proxies:
            if name in self.proxies:
                unaffected += self.proxies[name].update(self._settings(name), listeners[name])
            else:
                self._add(name, listeners[name])
        self._note_listeners()
        return unaffected

    def _add(self, name: str, listener: AnyListener) -> None:
        config = self.config.proxies[name]
        self.bus.publish(
            ProxyStarted(
                proxy=name,
                listen=str(listener.address),
                upstream=str(config.upstream),
                rules=len(config.rules),
                seed=self.seed,
                run=self._run_id,
                config=config.dump(),
            )
        )
        accepted = self._accepted.pop(name, 0)
        self.proxies[name] = RunningProxy(name, self._settings(name), listener, self._services, accepted)

    def _settings(self, name: str) -> ProxySettings:
        config = self.config.proxies[name]
        keepalive_s = config.keepalive
        if isinstance(config.upstream, UnixAddress):
            upstream = Target.unix(config.upstream.path)
        else:
            upstream = Target.tcp(config.upstream.host, config.upstream.port, keepalive_s)
        return ProxySettings(
            upstream,
            config.dial_timeout,
            config.peek_timeout,
            keepalive_s,
            config.max_connections,
            config.enabled,
            self.seed,
            config.rules,
        )

    def _note_listeners(self) -> None:
        listeners = [proxy.listener for proxy in self.proxies.values()]
        self._services.limit.set_listeners(len(listeners) + self._syn_sockets.descriptors)
        self._services.circles.ports = frozenset(
            address.port for listener in listeners if isinstance(address := listener.address, TcpAddress)
        )


def memory_limit(config: Config) -> int:
    """The most bytes that may be held for all connections together."""
    return config.memory if config.memory is not None else memory.available() // _SHARE_OF_MEMORY
