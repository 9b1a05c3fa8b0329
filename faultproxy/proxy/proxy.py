"""One proxy: its listener, its rules, its connections, and the clock that its windows run on."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import trio

from faultproxy.events.stats import Stats
from faultproxy.events.types import ListenFailed, ProxyDraining, ProxyStatus, ProxyStopped, State
from faultproxy.faults.base import ListenerMode, Verdict
from faultproxy.listener.unix_listener import AnyListener
from faultproxy.proxy.acceptor import Acceptor
from faultproxy.proxy.connections import Connections
from faultproxy.proxy.notices import Notices
from faultproxy.proxy.schedule import Schedule
from faultproxy.proxy.settings import ProxySettings, Services
from faultproxy.report.expectations import unmet_by_clients
from faultproxy.report.report import RetryReport
from faultproxy.rules.expect import Expect
from faultproxy.rules.rule import BaseRule
from faultproxy.rules.rule_set import RuleSet
from faultproxy.units import format_duration
from faultproxy.upstream.dial import Target, error_name

_RETRY_LISTEN_S = 1.0
_REST = 9  # after a look at the windows, so many times as long goes to everything else


class Past(NamedTuple):
    """What a proxy leaves behind when an edit removes it: the number of its last client, and what is expected of it."""

    accepted: int = 0
    expected: Mapping[str, Expect] = MappingProxyType({})


NO_PAST = Past()


class RunningProxy:
    """Accepts clients until it is drained. Its connections may outlive that; ProxyStopped follows the last.

    Owns the listener; an edit may take it away, and give it another. ``past`` is what an earlier proxy of this name has
    left.
    """

    def __init__(
        self, name: str, settings: ProxySettings, listener: AnyListener, services: Services, past: Past = NO_PAST
    ) -> None:
        self.name = name
        self.listener = listener
        self._services = services
        self._limit = services.limit.add(settings.max_connections)
        registry = services.registry
        self._connections = Connections(self._on_empty, registry.add_closed if registry is not None else None)
        if registry is not None:
            registry.add_proxy(name, self._connections)
        self._acceptor = Acceptor(name, services, self._limit, self._connections, past.accepted)
        self._notices = Notices(name, services.bus)
        self._expected: dict[str, Expect | None] = dict(past.expected)
        self._rest = trio.CancelScope()
        self._is_draining = False
        self._has_failed = False
        self._has_stopped = False
        self._use(settings, RuleSet.open(name, settings.seed, settings.rules, trio.current_time()), frozenset())
        listener.set_keepalive(settings.keepalive_s)
        listener.follow_tproxy(on=settings.upstream.is_original)
        self._acceptor.attach(listener)
        self._apply_schedule()
        services.nursery.start_soon(self._run)

    @property
    def accepted(self) -> int:
        """The number of the last client."""
        return self._acceptor.accepted

    @property
    def rules(self) -> RuleSet:
        """The rules that decide now, with what they have counted."""
        return self._rules

    @property
    def injected(self) -> dict[str, int]:
        """How often faults of each rule were injected; rules of which none was are not in it."""
        return self._services.stats.injected(self.name)

    @property
    def dry_runs(self) -> dict[str, int]:
        """How often faults of each dry-run rule would have been injected; rules without any are left out."""
        return self._services.stats.dry_runs(self.name)

    @property
    def degraded(self) -> Mapping[str, Sequence[str]]:
        """Why faults of its rules are degraded on this host, and which."""
        return self._notices.degraded

    @property
    def matched(self) -> dict[str, int]:
        """How many connections each rule matched."""
        return {name: state.matched for name, state in self._rules.states.items()}

    @property
    def state(self) -> State:
        """Whether it accepts clients now, and if not, why."""
        if self._is_draining:
            return "draining"
        if not self._schedule.is_enabled:
            return "disabled"
        if self._has_failed:
            return "failed"
        return "outage" if self._notices.has_outage else "open"

    @property
    def open(self) -> int:
        """How many connections are open, and how many clients are still waited for to say something."""
        return len(self._connections)

    @property
    def connections(self) -> Connections:
        """Its open connections, and what they and those before have done."""
        return self._connections

    @property
    def upstream(self) -> Target:
        """What new connections are made to."""
        return self._acceptor.upstream

    @property
    def expected(self) -> Mapping[str, Expect]:
        """How often faults of its rules should be injected, where anything is expected; also of rules that are gone."""
        return {name: expect for name, expect in self._expected.items() if expect is not None}

    @property
    def past(self) -> Past:
        """What it leaves to the next of its name."""
        return Past(self.accepted, self.expected)

    def status(self) -> ProxyStatus:
        """How it stands now."""
        now = trio.current_time()
        edge = self._schedule.next_edge(now, of_all=True)
        injected, states = self.injected, self._rules.states
        return ProxyStatus(
            proxy=self.name,
            state=self.state,
            open=self.open,
            rules={
                rule.name: {
                    "considered": states[rule.name].considered,
                    "matched": states[rule.name].matched,
                    "injected": injected.get(rule.name, 0),
                }
                for rule in self._rules.rules
            },
            next_window_edge=format_duration(round(edge - now, 3)) if edge < math.inf else None,
        )

    def reset_counts(self) -> None:
        """Have the ordinals and counts of all rules begin anew; those are expected that there are now."""
        for state in self._rules.states.values():
            state.considered = state.matched = 0
        self._expected = {rule.name: rule.expect for rule in self._rules.rules}
        self._services.stats.reset(self.name)

    def update(self, settings: ProxySettings, listener: AnyListener) -> int:
        """Take new settings, and perhaps another listener, between two clients. They are in force when it returns.

        Call judge_waiting() before, or hand_over() or close_listener() if the listener is another. Returns how many
        open connections the changed triggered faults do not reach.
        """
        before = self._rules
        rules = before.edited(settings.seed, settings.rules, trio.current_time())
        self.listener = listener
        listener.set_keepalive(settings.keepalive_s)
        listener.follow_tproxy(on=settings.upstream.is_original)
        self._use(settings, rules, self._schedule.open_windows - {rule.name for rule in rules.changed(before)})
        unaffected = self._connections.follow_edit(before, rules)
        self._acceptor.attach(listener)
        if _has_shapes(before) or _has_shapes(self._rules):
            self._connections.reshape(self._rules)
        self._apply_schedule()
        if not settings.is_enabled:
            self._connections.reset("fault")
            unaffected = 0
        self._rest.cancel()
        return unaffected

    def reset_connections(self) -> None:
        """Reset those that are open now, as a server that is restarted does."""
        self._connections.reset("fault")

    def judge_waiting(self) -> None:
        """Judge those who have come by now, before an edit changes the rules; who is held by a rule stays so."""
        self._acceptor.judge_waiting()

    def hand_over(self) -> None:
        """Accept and judge those who have come by now, and nobody else before update()."""
        self._acceptor.detach()

    def take_back(self) -> None:
        """Accept again after hand_over(), when there will be no update()."""
        self._acceptor.attach(self.listener)

    def close_listener(self) -> None:
        """Give the address back. Those who wait already are still accepted."""
        self.listener.close()
        self._acceptor.accept()

    def pause(self) -> None:
        """Refuse those who come from now on, until resume() or update()."""
        self.listener.set_mode(ListenerMode.CLOSED)
        self._acceptor.accept()

    def resume(self) -> None:
        """Have the listener in the mode that the rules ask for again."""
        self._apply_schedule()
        self._rest.cancel()

    def drain(self) -> None:
        """Accept no more, now that the listener was handed over or closed.

        Windows still open and close for the open connections.
        """
        self._services.bus.publish(ProxyDraining(proxy=self.name, open=len(self._connections)))
        self._services.limit.remove(self._limit)
        self._is_draining = True
        if not self._connections:
            self._on_empty()

    def _use(self, settings: ProxySettings, rules: RuleSet, open_windows: frozenset[str]) -> None:
        self._rules = rules
        self._schedule = Schedule(rules, is_enabled=settings.is_enabled, open_before=open_windows)
        self._expected |= {rule.name: rule.expect for rule in settings.rules}
        self._limit.max_connections = settings.max_connections
        self._acceptor.use(settings, rules)

    async def _run(self) -> None:
        """Follow the windows until the proxy has stopped; cancelled, reset what is still open."""
        try:
            while not self._has_stopped:
                started = trio.current_time()
                edge = self._apply_schedule()
                rest_until = trio.current_time() + _REST * (trio.current_time() - started)
                with trio.CancelScope() as self._rest:
                    await trio.sleep_until(max(edge, rest_until))
        finally:
            self._connections.reset("drain")

    def _apply_schedule(self) -> float:
        """Bring the listener and the open connections up to date; when to do so again."""
        now = trio.current_time()
        for rule in self._schedule.opened(now):
            self._connections.inject(rule, self._rules)
        if self._schedule.shapes_by_time:
            self._connections.reshape(self._rules)
        edge = self._schedule.next_edge(now)
        self._acceptor.edge = edge
        if not self._is_draining and not self._set_mode(now):
            return now + _RETRY_LISTEN_S
        return edge

    def _set_mode(self, now: float) -> bool:
        """Have the listener in the mode that is due; False if its port is another's meanwhile."""
        mode, otherwise = self._schedule.modes(now)
        try:
            self.listener.set_mode(mode, otherwise)
        except OSError as error:
            listen = str(self.listener.address)
            self._services.bus.publish(ListenFailed(proxy=self.name, listen=listen, error=error_name(error)))
            self._has_failed = True
            return False
        self._has_failed = False
        self._acceptor.accept()
        has_lockout = self.listener.mode in {ListenerMode.CLOSED, ListenerMode.SILENT}
        self._notices.outage(self._schedule.lockout(now) if has_lockout else None)
        listener = self.listener
        self._notices.unavailable(self._rules, listener.why_not_intercepting, has_syns=listener.has_syns)
        return True

    def _on_empty(self) -> None:
        if not self._is_draining or self._has_stopped:
            return
        self._has_stopped = True
        if self._services.registry is not None:
            self._services.registry.remove_proxy(self._connections)
        never = {rule.name: 0 for rule in self._rules.rules if _injects(rule)}
        faults = never | self._services.stats.injected(self.name)
        self._services.bus.publish(ProxyStopped(proxy=self.name, connections=self.accepted, faults=faults))
        self._rest.cancel()
        self._services.poller.yield_soon = True


def unmet(proxy: str, expected: Mapping[str, Expect], stats: Stats, report: RetryReport | None) -> list[str]:
    """What is not as expected of a proxy's rules, each as a sentence; of clients, if there is a report of them."""
    found = stats.unmet(proxy, {rule: (expect.min, expect.max) for rule, expect in expected.items()})
    for rule, expect in expected.items():
        if report is not None and expect.is_of_clients:
            recovery_s = expect.recovery.max if expect.recovery is not None else None
            attempts = (expect.attempts.min, expect.attempts.max) if expect.attempts is not None else (None, None)
            found += unmet_by_clients(
                report, proxy, rule, backoff=expect.backoff, recovery_s=recovery_s, attempts=attempts
            )
    return found


def _injects(rule: BaseRule) -> bool:
    """Whether it has a fault that is carried out: it is no dry run, and holds more than ``pass``."""
    return not rule.dry_run and any(not isinstance(fault, Verdict) for fault in rule.faults)


def _has_shapes(rules: RuleSet) -> bool:
    return any(rule.faults.shapes for rule in rules.rules)
