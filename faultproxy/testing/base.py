"""What proxies in tests have in common: they are asked what happened, and judged by it."""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Self, Unpack

from faultproxy.addresses import Address, TcpAddress
from faultproxy.config.loader import ConfigError, load
from faultproxy.control.edits import rebase
from faultproxy.control.manager import Draining, Manager
from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.events.types import ConnectionClosed
from faultproxy.faults.base import Verdict
from faultproxy.report.recorder import Recorder
from faultproxy.report.report import RetryReport
from faultproxy.testing.history import Fault, History
from faultproxy.testing.runner import NOT_RUNNING, Runner
from faultproxy.testing.settings import Changes, Options, Overrides, Rules, Settings
from faultproxy.testing.waiting import News
from faultproxy.units import quote

MustFire = bool | str | Sequence[str]

_ANY_PORT = "127.0.0.1:0"
_ALL_ADDRESSES: Mapping[str, str] = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class FaultNotSeen(AssertionError):
    """A fault that was waited for was not injected in time. The text says what did happen."""


class ExpectationUnmet(AssertionError):
    """A rule injected fewer or more faults than it should have. The text says which, and what did happen."""


class BaseProxy:
    """What a proxy in a test is made of and reports, whichever way it is waited for.

    ``name`` is what its connections are called after (``proxy#1``), ``seed`` what all draws are made from.
    """

    def __init__(
        self,
        upstream: str,
        rules: Rules = (),
        *,
        name: str = "proxy",
        seed: int = 0,
        must_fire: MustFire = False,
        **options: Unpack[Options],
    ) -> None:
        """Validate, and open nothing yet.

        The arguments are those of a proxy in a file (rules as mappings). It listens at a free port of 127.0.0.1 unless
        ``listen`` says otherwise. ``seed`` is 0 unless another is given, so that a test gets the same faults each
        time. ``must_fire`` names a rule or several, or says that all are meant, of which each must have injected a
        fault by the end, or would have in a dry run. Raises ConfigError.
        """
        __tracebackhide__ = True
        self.name = name
        self.seed = seed
        self._settings = Settings(name, seed, {"listen": _ANY_PORT, "upstream": upstream, **options, "rules": rules})
        self._must_fire = must_fire
        self._stats = Stats()
        self._news = News()
        self._history = History(self._stats, self._news.publish)
        config = self._settings.config({})
        self._recorder = Recorder()
        self._manager = Manager(config, Bus(self._stats, self._recorder, self._history))  # who waits finds all recorded
        self._settings.adopt(config, {})
        self._runner = Runner(name, self._manager, self._stats)

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        proxy: str | None = None,
        *,
        must_fire: MustFire = False,
        **overrides: Unpack[Overrides],
    ) -> Self:
        """A proxy of a configuration file, with its name and the file's seed; the only one, or the one of this name.

        ``overrides`` stand above the file. It listens at a free port of 127.0.0.1, whatever the file says, unless
        ``listen`` is among them. Raises ConfigError, for a name that the file does not have too.
        """
        __tracebackhide__ = True
        config = load(Path(path))
        names = tuple(config.proxies)
        name = names[0] if proxy is None and len(names) == 1 else proxy
        if name not in config.proxies:
            wrong = "which proxy is not said" if name is None else f"no proxy is called {quote(name)}"
            raise ConfigError((f"{path}: {wrong}; write proxy={' or '.join(map(repr, names))}",))
        seed = config.seed or 0
        mapping = {"seed": seed, **config.proxies[name].dump(), "listen": _ANY_PORT, **overrides}
        return cls(**mapping, name=name, must_fire=must_fire)

    def __repr__(self) -> str:
        listen = f"at {self.address}" if self._runner.addresses else "not started"
        return f"<{type(self).__name__} {self.name!r} {listen}, for {self._settings['upstream']}>"

    @property
    def host(self) -> str:
        """The host that it listens at, or this host's own address if it is all of them."""
        return self._listens_at_port().host

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._listens_at_port().port

    @property
    def address(self) -> str:
        """Host and port, such as ``127.0.0.1:41234``, or ``unix:/path``."""
        return str(self._listens())

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that were injected so far, in order; the last 10,000."""
        return self._history.faults

    @property
    def dry_runs(self) -> tuple[Fault, ...]:
        """The faults that dry-run rules would have injected so far; the last 10,000."""
        return self._history.dry_runs

    @property
    def connections(self) -> tuple[ConnectionClosed, ...]:
        """The connections that are over, in the order of their ends; the last 1,000."""
        return self._history.connections

    def times(self, rule: str) -> int:
        """How often faults of a rule were injected so far. Raises ValueError for a rule that never was."""
        self._settings.check_rule(rule)
        return self._history.count(rule=rule)

    def report(self) -> RetryReport:
        """What the clients did about the faults so far: their attempts, their backoff, when they recovered.

        ``proxy.report().client("127.0.0.1").backoff.kind``; ``str()`` of it is for people. See docs/testing.md.
        """
        return self._recorder.report()

    def summary(self) -> str:
        """What happened so far, for people.

        Where it listens; how many connections each rule matched, and how many faults it injected into them; the
        faults; the connections that are over; and what the clients did, if one tried again.
        """
        listen = self.address if self._runner.addresses else self._settings["listen"]
        matched = self._manager.matched(self.name)  # without the rules that an update has removed
        rules = ", ".join(
            f"{name!r} {f'matched {matched[name]}, ' if name in matched else ''}injected {self.times(name)}"
            for name in self._settings.rules
        )
        head = f"{self.name}: {listen} for {self._settings['upstream']}, seed {self.seed}; rules: {rules or 'none'}"
        report = self.report()
        has_retries = any(episode.gaps_s for client in report.clients for episode in client.episodes)
        clients = str(report) if has_retries else ""
        return "\n".join(filter(None, [head, self._history.report(), clients]))

    def check(self) -> None:
        """Raise ExpectationUnmet if a rule's ``expect``, or ``must_fire``, does not hold at this moment."""
        __tracebackhide__ = True
        unmet = self.unmet()
        if unmet:
            raise ExpectationUnmet("\n".join([*unmet, self.summary()]))

    def unmet(self) -> list[str]:
        """The rules of which ``expect`` or ``must_fire`` does not hold at this moment, each as a sentence.

        Raises RuntimeError if a bug of faultproxy's own has shown.
        """
        if self._runner.crash is not None:
            raise RuntimeError("the proxy ended by itself") from self._runner.crash
        crashes = self._history.crashes
        if crashes:
            raise RuntimeError(f"a bug in faultproxy ended {len(crashes)} connections; the first:\n{crashes[0]}")
        unmet = self._manager.unmet(self.report())
        for name in self._those_that_must_fire():
            if name not in self._settings.rules:
                unmet.append(f'{self.name}: there never was a rule "{name}", which must fire')
            elif not self.times(name) and name not in self._stats.dry_runs(self.name):
                unmet.append(f'{self.name}: "{name}" injected no fault, and must have')
        return unmet

    async def _update(self, changes: Changes) -> None:
        """Change what is given. Runs in the proxy's thread, one at a time."""
        config = self._settings.config(changes)
        try:
            await self._manager.apply(rebase(config), "python")
        except Draining:
            raise RuntimeError(NOT_RUNNING) from None
        self._settings.adopt(config, changes)

    def _check_started(self) -> None:
        if self._runner.thread is None:
            raise RuntimeError(NOT_RUNNING)

    def _listens(self) -> Address:
        if not self._runner.addresses:
            raise RuntimeError("the proxy has not been started; use it in a with statement")
        address = self._runner.addresses[self.name]
        if isinstance(address, TcpAddress):
            return TcpAddress(_ALL_ADDRESSES.get(address.host, address.host), address.port)
        return address

    def _listens_at_port(self) -> TcpAddress:
        listens = self._listens()
        if isinstance(listens, TcpAddress):
            return listens
        raise RuntimeError(f"the proxy listens at {listens}, which has no host and port; connect to its path")

    def _those_that_must_fire(self) -> Iterator[str]:
        if isinstance(self._must_fire, bool):
            rules = self._settings.rules.values() if self._must_fire else ()
            yield from (rule.name for rule in rules if not all(isinstance(fault, Verdict) for fault in rule.faults))
        else:
            yield from [self._must_fire] if isinstance(self._must_fire, str) else self._must_fire


def no_fault(proxy: BaseProxy, fault: str | None, rule: str | None, count: int, timeout: float) -> FaultNotSeen:
    """What is raised when a fault was waited for in vain."""
    of_rule = f" of {rule!r}" if rule is not None else ""
    times = f" {count} times" if count > 1 else ""
    return _in_vain(proxy, f"{fault or 'a fault'}{of_rule} to be injected{times}", timeout)


def no_end(proxy: BaseProxy, count: int, timeout: float) -> FaultNotSeen:
    """What is raised when connections were waited for in vain to be over."""
    return _in_vain(proxy, f"{count} connections to be over" if count > 1 else "a connection to be over", timeout)


def _in_vain(proxy: BaseProxy, what: str, timeout: float) -> FaultNotSeen:
    return FaultNotSeen(f"waited {timeout:g} s in vain for {what}\n{proxy.summary()}")
