"""One proxy: its listener, its connections, its rules, and the clock that their windows run on."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from time import monotonic

import trio

from faultproxy import host
from faultproxy.config.schema import ProxyConfig
from faultproxy.connection import Admission, Connection
from faultproxy.dial import error_name
from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.events.types import (
    AcceptPaused,
    AcceptResumed,
    ConnectionCrashed,
    FaultUnavailable,
    ListenFailed,
    OutageEnded,
    OutageStarted,
    ProxyDraining,
    ProxyStopped,
)
from faultproxy.faults.base import ListenerMode, Need, Verdict
from faultproxy.listener import Accepted, Listener
from faultproxy.listener.handshake import Handshake, HandshakeContext
from faultproxy.listener.limits import ConnectionLimit, OutOfResources
from faultproxy.relay import Poller
from faultproxy.rules.conditions.counts import Bounds
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import Match, Plan
from faultproxy.rules.rule import BaseRule
from faultproxy.rules.rule_set import RuleSet

_BATCH = 64
_RETRY_ACCEPT_S = 0.1
_RETRY_LISTEN_S = 1.0
_INSTANT_S = 1e-6
_NOT_JUDGED = "it came before its SYN could be judged"


class Proxy:
    """Accepts clients, decides what becomes of each, and lets it live.

    Connections run in ``nursery`` and outlive serve(). Whoever made the listener has it closed by close_listener().
    """

    def __init__(
        self,
        name: str,
        config: ProxyConfig,
        seed: int,
        listener: Listener,
        bus: Bus,
        stats: Stats,
        poller: Poller,
        limit: ConnectionLimit,
        nursery: trio.Nursery,
    ) -> None:
        self.name = name
        self.config = config
        self.listener = listener
        self.bus = bus
        self.poller = poller
        self.accepted = 0
        self._stats = stats
        self._process_limit = limit
        self._limit = limit.add()
        self._nursery = nursery
        self._book = RuleSet.open(name, seed, config.rules, trio.current_time())
        self._expected: dict[str, Bounds | None] = {}
        self._expect(config.rules)
        self._handshake = Handshake(
            HandshakeContext(
                proxy=name,
                upstream=config.upstream,
                dial_timeout_s=config.dial_timeout,
                poller=poller,
                nursery=nursery,
                limit=self._limit,
                bus=bus,
                decide=self._decide_on_syn,
                still_refuses=self._still_refuses,
            )
        )
        self._unavailable: dict[str, list[str]] = {}
        self._examined: tuple[RuleSet, str | None] | None = None
        self._connections: dict[Connection, None] = {}
        self._open_windows: set[str] = set()
        self._outage: BaseRule | None = None
        self._clock = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._seeing_out = trio.CancelScope()
        self._edge = float("inf")
        self._shortage: OutOfResources | None = None
        self._is_retired = False
        self._attach()

    @property
    def open_connections(self) -> int:
        """Connections that are not over."""
        return len(self._connections)

    @property
    def seed(self) -> int:
        """What the draws are made from."""
        return self._book.seed

    def decide(self, arrival: ConnectionFacts) -> Plan | None:
        """What becomes of a connection; None as long as more of the client's first bytes could change it."""
        return None if self._book.needs_more_bytes(arrival) else self._book.decide(arrival)

    def reshape(self, connection: Connection) -> None:
        """Have it travel through the shapes that act on it now."""
        connection.reshape(*self._book.reshape(self._now(connection), connection.decision))

    @property
    def matched(self) -> dict[str, int]:
        """How many connections each rule matched."""
        return {rule.name: self._book.states[rule.name].matched for rule in self._book.rules}

    def unmet(self) -> list[str]:
        """The rules that did not inject as many faults as their ``expect`` says, each as a sentence.

        A rule that an edit has removed is still expected to have done so.
        """
        bounds = {name: (expect.min, expect.max) for name, expect in self._expected.items() if expect is not None}
        return self._stats.unmet(self.name, bounds)

    async def serve(self) -> None:
        """Keep the listener as the rules want it until the proxy retires."""
        with self._serving:
            while True:
                with trio.CancelScope() as self._clock:
                    self._edge = self._tick()
                    self._clock.deadline = self._edge
                    await trio.sleep_forever()

    def update(self, config: ProxyConfig, seed: int, listener: Listener) -> None:
        """Take a new configuration, and perhaps another listener, between two connections."""
        now = trio.current_time()
        book = self._book.edited(seed, config.rules, now)
        is_moved = listener is not self.listener
        self.listener = listener
        self._set_mode(*_modes(config, book, now))  # before the rules change: those who wait came under the old ones
        had_shapes = _shapes(self._book)
        self.config, self._book = config, book
        self._handshake.context = replace(
            self._handshake.context, upstream=config.upstream, dial_timeout_s=config.dial_timeout
        )
        if is_moved:
            self._attach()
        self._expect(config.rules)
        if had_shapes or _shapes(book):
            self._reshape_all()
        self._clock.cancel()
        if not config.enabled:
            for connection in tuple(self._connections):
                connection.break_off()

    def shut_listener(self) -> None:
        """Refuse whoever comes from now on, but not those who wait already."""
        self._set_mode(ListenerMode.CLOSED, ListenerMode.OPEN)

    def close_listener(self) -> None:
        """Give the address back. Those who wait already are still taken."""
        self.listener.close()
        self._accept(0)

    def hand_over(self) -> None:
        """Another proxy may be given the listener: those who wait at it still came to this one."""
        self.listener.detach()
        self._accept(0)

    def retire(self) -> None:
        """Accept no more. Windows still open and close for the open connections; ``proxy.stopped`` follows the last."""
        self.bus.publish(ProxyDraining(proxy=self.name, open=self.open_connections))
        self._serving.cancel()
        self.hand_over()
        self._process_limit.remove(self._limit)
        self._is_retired = True
        if self._connections:
            self._nursery.start_soon(self._see_out)
        self._tell_if_stopped()

    def look_again(self) -> None:
        """Bring the listener up to date, as after it was shut for a while."""
        self._set_mode(*_modes(self.config, self._book, trio.current_time()))
        self._clock.cancel()

    def _tick(self) -> float:
        """Bring the listener and the live rules up to date; when to look again."""
        now = trio.current_time()
        self._follow_windows(now)
        if not self._set_mode(*_modes(self.config, self._book, now)):
            return now + _RETRY_LISTEN_S
        lockout = self._book.lockout(now) if self.config.enabled else None
        is_outage = lockout is not None and lockout.mode_for_all is self.listener.mode
        self._tell_outage(lockout if is_outage else None)
        self._tell_unavailable()
        return min(self._next_edges(now), default=float("inf"))

    async def _see_out(self) -> None:
        """Keep the clock for those who are still here, until the last is gone."""
        with self._seeing_out:
            while True:
                now = trio.current_time()
                self._follow_windows(now)
                await trio.sleep_until(min(self._next_edges(now), default=float("inf")))

    def _follow_windows(self, now: float) -> None:
        self._strike_open_connections(now)
        if any(rule.window is not None for rule in _shapes(self._book)):
            self._reshape_all()

    def _arrival(self, host: str) -> ConnectionFacts:
        now = trio.current_time()
        self.accepted += 1
        return ConnectionFacts(
            self.accepted,
            host,
            min(now, self._edge - _INSTANT_S),  # until the clock has struck, it is before the edge
            self.open_connections + self.listener.on_the_way + 1,
        )

    def _expect(self, rules: Iterable[BaseRule]) -> None:
        self._expected |= {rule.name: rule.expect for rule in rules}

    def _decide_unheard(self, arrival: ConnectionFacts) -> Plan | None:
        return self.decide(replace(arrival, heard_all=False)) if self._book.peeks else self._book.decide(arrival)

    def _decide_on_syn(self, host: str) -> tuple[ConnectionFacts, Plan]:
        arrival = self._arrival(host)
        judged, decision = self._book.decide_on_syn(arrival)
        return replace(arrival, judged=judged), decision

    def _still_refuses(self, match: Match) -> bool:
        return any(rule.name == match.rule and rule.connect == match.connect for rule in self._book.rules)

    def _attach(self) -> None:
        self.listener.attach(self.poller, self._on_acceptable, self._handshake.on_syn)

    def _set_mode(self, mode: ListenerMode, otherwise: ListenerMode) -> bool:
        """Whether the listener has taken the mode, or what can be had instead."""
        try:
            self.listener.set_mode(mode, otherwise)
        except OSError as error:
            self.bus.publish(ListenFailed(proxy=self.name, listen=str(self.listener.address), error=error_name(error)))
            return False
        self._accept(0)
        return True

    def _tell_unavailable(self) -> None:
        """Say which faults of the rules this host does not allow, and why, unless that was said already."""
        if self._examined == (self._book, self.listener.why_not_intercepting):
            return
        self._examined = self._book, self.listener.why_not_intercepting
        before, self._unavailable = self._unavailable, {}
        for rule, fault, need in self._book.needs():
            reason = self.listener.why_not_intercepting if need is Need.GATE else host.unmet(need)
            if reason is not None and not (
                rule.mode_for_all is ListenerMode.SILENT and host.unmet(Need.FILTER) is None
            ):
                faults = self._unavailable.setdefault(reason, [])
                if fault.key not in faults:
                    faults.append(fault.key)
        for reason, faults in self._unavailable.items():
            if before.get(reason) != faults:
                self.bus.publish(FaultUnavailable(proxy=self.name, faults=tuple(faults), reason=reason))

    def _tell_outage(self, outage: BaseRule | None) -> None:
        before, self._outage = self._outage, outage
        if before is not None and (outage is None or outage.name != before.name):
            self.bus.publish(OutageEnded(proxy=self.name, rule=before.name, fault=_fault_of(before)))
        if outage is not None and (before is None or outage.name != before.name):
            self.bus.publish(OutageStarted(proxy=self.name, rule=outage.name, fault=_fault_of(outage)))

    def _next_edges(self, now: float) -> Iterator[float]:
        for rule in self._book.rules:
            if rule.window is not None and (rule.live or rule.meets_everybody or rule.shapes):
                elapsed = self._book.elapsed(rule, now)
                edge = rule.window.next_edge(elapsed)
                if edge is not None:
                    yield now + edge - elapsed

    def _strike_open_connections(self, now: float) -> None:
        before, self._open_windows = self._open_windows, set()
        for rule in self._book.rules:
            if not rule.live or rule.window is None or not rule.window.is_open(self._book.elapsed(rule, now)):
                continue
            self._open_windows.add(rule.name)
            if rule.name not in before:
                for connection in self._decided():
                    if connection.awaits(rule.name):
                        continue
                    hit = self._book.match_open(rule, self._now(connection), connection.decision)
                    if hit is not None:
                        connection.strike([hit])

    def _reshape_all(self) -> None:
        for connection in self._decided():
            self.reshape(connection)

    def _decided(self) -> list[Connection]:
        """The open connections, oldest first, but for those whose first bytes are still waited for."""
        return [connection for connection in self._connections if connection.is_decided]

    def _now(self, connection: Connection) -> ConnectionFacts:
        return replace(connection.arrival, at_s=trio.current_time(), open_connections=self.open_connections)

    def _on_acceptable(self) -> None:
        try:
            self._accept(self._limit.room(_BATCH))
        except OutOfResources as error:
            if self._shortage is None:
                self.bus.publish(AcceptPaused(error=error.error, open=self.open_connections))
            self._shortage = error
            self.listener.pause()
            self.poller.call_at(monotonic() + _RETRY_ACCEPT_S, self._resume)
            return
        if self._shortage is not None:
            self.bus.publish(AcceptResumed(error=self._shortage.error, open=self.open_connections))
            self._shortage = None

    def _resume(self) -> None:
        if not self._is_retired:
            self.listener.resume()

    def _accept(self, most: int) -> None:
        """Take those who waited when the mode changed, and up to so many others."""
        for accepted in self.listener.accept(most):
            self._welcome(accepted)
            self.poller.yield_soon = True

    def _welcome(self, accepted: Accepted) -> None:
        now = trio.current_time()
        judged = self._handshake.lookup(accepted.half_open)
        if judged is None:
            arrival = self._arrival(accepted.host)
            admission = Admission(self.listener.why_not_intercepting or _NOT_JUDGED)
            decision = self._decide_unheard(arrival)
        else:
            arrival = replace(judged.facts, at_s=now)
            admission = Admission(None if judged.is_exact else _NOT_JUDGED, judged.faults, judged.take_server())
            decision = self._decide_unheard(arrival) if arrival.judged else judged.plan
        connection = Connection(
            self,
            self.config.upstream,
            self.config.dial_timeout,
            accepted.sock,
            accepted.port,
            arrival,
            decision,
            self.config.peek_timeout,
            admission,
        )
        self._connections[connection] = None
        self._limit.acquire()
        self._nursery.start_soon(self._live, connection)

    async def _live(self, connection: Connection) -> None:
        try:
            await connection.run()
        except Exception as error:  # noqa: BLE001  # a bug must not end the other connections; it is told
            self.bus.publish(ConnectionCrashed.because_of(error, proxy=self.name, connection=connection.id))
        finally:
            del self._connections[connection]
            self._limit.release()
            self._tell_if_stopped()

    def _tell_if_stopped(self) -> None:
        if self._is_retired and not self._connections:
            self._seeing_out.cancel()
            never = {rule.name: 0 for rule in self._book.rules if _injects(rule)}
            faults = never | self._stats.injected(self.name)
            self.bus.publish(ProxyStopped(proxy=self.name, connections=self.accepted, faults=faults))


def open_at_start(listener: Listener, config: ProxyConfig) -> None:
    """Give a new listener the mode that its proxy begins with. Raises OSError."""
    listener.set_mode(*_modes(config, RuleSet.open("", 0, config.rules, 0.0), 0.0))


def _modes(config: ProxyConfig, book: RuleSet, now: float) -> tuple[ListenerMode, ListenerMode]:
    """The mode that a listener is to have now, and the one where it may not intercept."""
    lockout = book.lockout(now)
    for_all = ListenerMode.OPEN if lockout is None or lockout.mode_for_all is None else lockout.mode_for_all
    if not config.enabled or for_all is ListenerMode.CLOSED:
        return ListenerMode.CLOSED, ListenerMode.OPEN
    return ListenerMode.INTERCEPTING if book.needs_syns else ListenerMode.OPEN, for_all


def _injects(rule: BaseRule) -> bool:
    return rule.mode != "shadow" and any(not isinstance(fault, Verdict) for fault in rule.faults)


def _fault_of(outage: BaseRule) -> str:
    return outage.faults[0].key


def _shapes(book: RuleSet) -> list[BaseRule]:
    return [rule for rule in book.rules if rule.shapes]
