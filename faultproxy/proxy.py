"""One proxy: its gate, its connections, its rules, and the clock that their windows run on."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

import trio

from faultproxy import host
from faultproxy.capacity import Capacity, OutOfResources
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
from faultproxy.gate import Gate, Newcomer
from faultproxy.reception import Reception
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
_BEFORE_THE_GATE = "it came before its SYN could be judged"


class Proxy:
    """Accepts clients, decides what becomes of each, and lets it live.

    Connections run in ``nursery`` and outlive serve(). Whoever made the gate has it closed by close_gate().
    """

    def __init__(
        self,
        name: str,
        config: ProxyConfig,
        seed: int,
        gate: Gate,
        bus: Bus,
        stats: Stats,
        poller: Poller,
        capacity: Capacity,
        nursery: trio.Nursery,
    ) -> None:
        self.name = name
        self.config = config
        self.gate = gate
        self.bus = bus
        self.poller = poller
        self.accepted = 0
        self._stats = stats
        self._capacity = capacity
        self._nursery = nursery
        self._book = RuleSet.open(name, seed, config.rules, trio.current_time())
        self._expected: dict[str, Bounds | None] = {}
        self._expect(config.rules)
        self._reception = Reception(self, nursery)
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
        self._reception.attend(gate.syns)  # at once: until serve() runs another proxy, which had the gate, would judge

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

    def admit(self, host: str) -> tuple[ConnectionFacts, Plan]:
        """Number a client that comes now, and read the rules for it as far as its SYN can tell."""
        arrival = self._arrival(host)
        judged, decision = self._book.decide_on_syn(arrival)
        return replace(arrival, judged=judged), decision

    def would_still(self, hit: Match) -> bool:
        """Whether the rule still has the connect fault that it had when it hit."""
        return any(rule.name == hit.rule and rule.connect == hit.connect for rule in self._book.rules)

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
        """Keep the gate as the rules want it, and accept while it is open, until the proxy retires."""
        with self._serving:
            while True:
                with trio.CancelScope() as self._clock:
                    self._edge = self._tick()
                    self._clock.deadline = self._edge
                    await self._accept()

    def update(self, config: ProxyConfig, seed: int, gate: Gate) -> None:
        """Take a new configuration, and perhaps another gate, between two connections."""
        now = trio.current_time()
        book = self._book.edited(seed, config.rules, now)
        if gate is self.gate and gate.syns is not None:
            self._reception.meet_waiting(gate.syns)  # before the rules change: those who wait came under the old ones
        if gate is not self.gate:
            self._hand_over()
            self.gate = gate
        if not config.enabled or _closing(book, now) is not None:
            self.shut_gate()
        had_shapes = _shapes(self._book)
        self.config, self._book = config, book
        self._expect(config.rules)
        if had_shapes or _shapes(book):
            self._reshape_all()
        if config.enabled and _closing(book, now) is None:
            self._open()
        self._clock.cancel()
        if not config.enabled:
            for connection in tuple(self._connections):
                connection.break_off()

    def shut_gate(self) -> None:
        """Refuse whoever comes from now on, but not those who wait already."""
        if self.gate.syns is not None:
            self._reception.meet_waiting(self.gate.syns)
            self._reception.turn_away()
        self._welcome(self.gate.shut())

    def close_gate(self) -> None:
        """Give the address back. Those who wait already are still taken."""
        self.shut_gate()
        self.gate.close()

    def retire(self) -> None:
        """Accept no more. Windows still open and close for the open connections; ``proxy.stopped`` follows the last."""
        self.bus.publish(ProxyDraining(proxy=self.name, open=self.open_connections))
        self._serving.cancel()
        self._hand_over()
        self._reception.attend(None)
        self._is_retired = True
        if self._connections:
            self._nursery.start_soon(self._see_out)
        self._tell_if_stopped()

    def look_again(self) -> None:
        """Bring the gate up to date, as after it was shut for a while."""
        if self.config.enabled and _closing(self._book, trio.current_time()) is None:
            self._open()
        self._clock.cancel()

    def _tick(self) -> float:
        """Bring the gate and the live rules up to date; when to look again."""
        now = trio.current_time()
        self._follow_windows(now)
        outage = _closing(self._book, now)
        if outage is not None or not self.config.enabled:
            self.shut_gate()
        elif not self._open():
            return now + _RETRY_LISTEN_S
        blackout = self._book.lockout(now) if self.gate.is_silent else None
        self._tell_outage(outage or blackout if self.config.enabled else None)
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
            self.open_connections + self.gate.on_the_way(now) + 1,
        )

    def _expect(self, rules: Iterable[BaseRule]) -> None:
        self._expected |= {rule.name: rule.expect for rule in rules}

    def _decide_unheard(self, arrival: ConnectionFacts) -> Plan | None:
        return self.decide(replace(arrival, heard_all=False)) if self._book.peeks else self._book.decide(arrival)

    def _open(self) -> bool:
        self._screen()
        if self.gate.syns is None and self._book.lockout(trio.current_time()) is not None:
            self._welcome(self.gate.silence())
        else:
            self.gate.speak()
        try:
            self.gate.open()
        except OSError as error:
            self.bus.publish(ListenFailed(proxy=self.name, listen=str(self.gate.address), error=error_name(error)))
            return False
        return True

    def _screen(self) -> None:
        """Have SYNs judged if, and only if, a rule acts on them; no client is lost or judged twice on the way."""
        gate, reception = self.gate, self._reception
        if not self._book.needs_syns:
            syns = gate.unscreen()
            if syns is not None:
                reception.meet_waiting(syns, is_sure=False)
                reception.let_in()
                syns.close()
        elif gate.syns is None and gate.screen() and gate.syns is not None and gate.is_open:
            reception.meet_waiting(gate.syns, is_sure=False)
        reception.attend(gate.syns)

    def _tell_unavailable(self) -> None:
        """Say which faults of the rules this host does not allow, and why, unless that was said already."""
        if self._examined == (self._book, self.gate.why_unscreened):
            return
        self._examined = self._book, self.gate.why_unscreened
        before, self._unavailable = self._unavailable, {}
        for rule, fault, need in self._book.needs():
            reason = self.gate.why_unscreened if need is Need.GATE else host.unmet(need)
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

    async def _accept(self) -> None:
        while self.gate.is_open:
            try:
                await self.gate.knock(self.poller)
                await trio.lowlevel.checkpoint_if_cancelled()  # an edit may have given the gate to another proxy
                newcomers = self.gate.take(self._capacity.room(_BATCH))
            except OutOfResources as error:
                if self._shortage is None:
                    self.bus.publish(AcceptPaused(error=error.error, open=self.open_connections))
                self._shortage = error
                await trio.sleep(_RETRY_ACCEPT_S)
                continue
            if self._shortage is not None:
                self.bus.publish(AcceptResumed(error=self._shortage.error, open=self.open_connections))
                self._shortage = None
            self._welcome(newcomers)
        await trio.sleep_forever()

    def _hand_over(self) -> None:
        """Another proxy may be given the gate: those who wait at it still came to this one."""
        self._reception.let_in()
        with suppress(OutOfResources):
            while newcomers := self.gate.take(self._capacity.room(_BATCH)):
                self._welcome(newcomers)

    def _welcome(self, newcomers: list[Newcomer]) -> None:
        for newcomer in newcomers:
            client, host, port = newcomer
            now = trio.current_time()
            visit = self._reception.recognise(self.gate.recall(newcomer, now))
            if visit is None:
                arrival, admission = self._arrival(host), Admission(self.gate.why_unscreened or _BEFORE_THE_GATE)
                decision = self._decide_unheard(arrival)
            else:
                arrival = replace(visit.arrival, at_s=now)
                unscreened = None if visit.is_exact else _BEFORE_THE_GATE
                admission = Admission(unscreened, visit.faults, visit.take_server())
                decision = self._decide_unheard(arrival) if arrival.judged else visit.decision
            connection = Connection(
                self,
                self.config.upstream,
                self.config.dial_timeout,
                client,
                port,
                arrival,
                decision,
                self.config.peek_timeout,
                admission,
            )
            self._connections[connection] = None
            self._capacity.connections += 1
            self._nursery.start_soon(self._live, connection)

    async def _live(self, connection: Connection) -> None:
        try:
            await connection.run()
        except Exception as error:  # noqa: BLE001  # a bug must not end the other connections; it is told
            self.bus.publish(ConnectionCrashed.because_of(error, proxy=self.name, connection=connection.id))
        finally:
            del self._connections[connection]
            self._capacity.connections -= 1
            self._tell_if_stopped()

    def _tell_if_stopped(self) -> None:
        if self._is_retired and not self._connections:
            self._seeing_out.cancel()
            never = {rule.name: 0 for rule in self._book.rules if _injects(rule)}
            faults = never | self._stats.injected(self.name)
            self.bus.publish(ProxyStopped(proxy=self.name, connections=self.accepted, faults=faults))


def open_at_start(gate: Gate, config: ProxyConfig) -> None:
    """Open a new gate, unless its proxy is disabled or begins with an outage; screened, if rules act on SYNs.

    Raises OSError.
    """
    book = RuleSet.open("", 0, config.rules, 0.0)
    if config.enabled and _closing(book, 0.0) is None:
        if book.needs_syns and not gate.screen() and book.lockout(0.0) is not None:
            gate.silence()
        gate.open()


def _closing(book: RuleSet, now: float) -> BaseRule | None:
    lockout = book.lockout(now)
    return lockout if lockout is not None and lockout.mode_for_all is ListenerMode.CLOSED else None


def _injects(rule: BaseRule) -> bool:
    return not rule.dry_run and any(not isinstance(fault, Verdict) for fault in rule.faults)


def _fault_of(outage: BaseRule) -> str:
    return outage.faults[0].key


def _shapes(book: RuleSet) -> list[BaseRule]:
    return [rule for rule in book.rules if rule.shapes]
