"""One connection's life, from top to bottom: decided, dialled, relayed, struck, recorded."""

import select
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import trio

from faultproxy.config.schema import UpstreamAddress
from faultproxy.dial import dial, error_name
from faultproxy.events.bus import Bus
from faultproxy.events.types import (
    ConnectionClosed,
    ConnectionOpened,
    EndedBy,
    FaultDryRun,
    FaultInjected,
    UpstreamFailed,
)
from faultproxy.faults.base import Direction, Ending, Fault, Shape, Side, Trigger, options
from faultproxy.faults.pattern import Search
from faultproxy.kernel import sockets
from faultproxy.link import Link
from faultproxy.relay import UNLIMITED, Poller, Relay
from faultproxy.rules.draw import draw
from faultproxy.rules.facts import MOST_FIRST_BYTES, ConnectionFacts
from faultproxy.rules.plan import UNTOUCHED, Match, Plan
from faultproxy.shaping import Shaping

_LOOK_S = 0.05


class Home(Protocol):
    """What a connection needs of the proxy it belongs to."""

    name: str
    bus: Bus
    poller: Poller

    @property
    def seed(self) -> int:
        """What the draws are made from."""

    def decide(self, arrival: ConnectionFacts) -> Plan | None:
        """What becomes of a connection; None as long as more of the client's first bytes could change it."""

    def reshape(self, connection: "Connection") -> None:
        """Have it travel through the shapes that act on it now."""


@dataclass(frozen=True, slots=True)
class Admission:
    """How a client got in.

    ``unscreened`` is why nothing was done to its SYN, whatever was asked; None if that was done. ``faults`` are those
    it has met already, ``server`` its upstream, if that was dialled first.
    """

    unscreened: str | None = None
    faults: Sequence[str] = ()
    server: socket.socket | None = None


@dataclass(slots=True, eq=False)
class Pending:
    """An ending that waits for its trigger."""

    hit: Match
    ending: Ending
    search: Search | None = None

    @property
    def is_shadow(self) -> bool:
        """Whether it is told of, and not carried out."""
        return self.hit.dry_run


class Connection:
    """A client's connection. run() owns the client's socket, and returns when the connection is over."""

    def __init__(
        self,
        home: Home,
        upstream: UpstreamAddress,
        dial_timeout_s: float,
        client: socket.socket,
        client_port: int,
        arrival: ConnectionFacts,
        decision: Plan | None,
        peek_timeout_s: float,
        admission: Admission = Admission(),
    ) -> None:
        self.arrival = arrival
        self.decision = decision or UNTOUCHED
        self.is_decided = decision is not None
        self.ended_by: EndedBy = "drain"
        self._home = home
        self._upstream = upstream
        self._dial_timeout_s = dial_timeout_s
        self._dial_delay_s = 0.0
        self._unscreened = admission.unscreened
        self._client_port = client_port
        self._link = Link(client, home.poller)
        self._link.server = admission.server
        self._pending: list[Pending] = []
        self._peek_by = arrival.at_s + peek_timeout_s
        self._client_reset = False
        self._shaping = Shaping(self.decision.matches, self._roll, self._tell_shape)
        self._faults = [*admission.faults]
        self._picked_later: str | None = None
        self._sleep: trio.CancelScope | None = None

    async def run(self) -> None:
        """Live it. Cancelled, the connection is reset on both sides."""
        bus = self._home.bus
        if bus.wants(ConnectionOpened):
            bus.publish(ConnectionOpened(proxy=self._home.name, connection=self.id, client=self._client))
        try:
            await self._live()
        finally:
            self._shaping.look(self._link)
            self._link.abandon()
            if bus.wants(ConnectionClosed):
                self._record()

    def strike(self, hits: Sequence[Match]) -> None:
        """Give an open connection the endings of these hits, as a live rule does when its window opens."""
        self._note_rules(hits)
        self._add(hits)
        self._awake()

    def awaits(self, rule: str) -> bool:
        """Whether an ending of this rule waits for its trigger already."""
        return any(pending.hit.rule == rule for pending in self._pending)

    def reshape(self, decision: Plan, hits: Sequence[Match]) -> None:
        """Travel through the shapes of these hits from now on; what is under way arrives as it set out."""
        self._note_rules(hit for hit in hits if hit.rule not in self.decision.answers)
        self.decision = decision
        self._shaping.look(self._link)
        self._shaping.set(hits)
        if self._link.is_open:
            self._shaping.install(self._link)
            if self._looks:
                self._awake()

    def break_off(self) -> None:
        """Reset both sides now, as a server does that is stopped."""
        if self._link.is_open:
            self.ended_by = "fault"
            self._link.abandon()
            self._awake()

    @property
    def id(self) -> str:
        """What the log calls it, such as ``redis#17``."""
        return f"{self._home.name}#{self.arrival.number}"

    async def _live(self) -> None:
        if not self.is_decided:
            await self._listen()
        link, decision = self._link, self.decision
        self._shaping.install(link)
        if decision.matches or decision.dry_runs:
            await self._before_connecting()
        self._dial_at = trio.current_time() + self._dial_delay_s
        self._dial_by = self._dial_at + self._dial_timeout_s
        while link.is_open:
            if link.relay is None and trio.current_time() >= self._dial_by:
                self._upstream_failed("ETIMEDOUT")
                return
            if link.frozen_until is not None and link.frozen_until <= trio.current_time():
                link.thaw()
            self._shaping.look(link)
            if self._pending:
                await self._strike_what_is_due()
                if not link.is_open:
                    return
            with trio.CancelScope(deadline=self._next_due()) as self._sleep:
                if link.relay is None:
                    await self._reach_server()
                    if self._pending:
                        continue
                    self._sleep.deadline = self._next_due()  # one scope serves both: each costs a way through trio
                if link.relay is not None:
                    link.relay.start()
                    await link.changed()
                    self._shaping.look(link)
                    await self._see_the_end(link.relay)

    async def _listen(self) -> None:
        """Look at what the client says first, until the rules can decide, it ends, or the time is up."""
        client, opening, heard_all = self._link.client, b"", False
        decision = None
        while decision is None and self._link.is_open:
            heard_all = heard_all or len(opening) >= MOST_FIRST_BYTES
            self.arrival = replace(self.arrival, first_bytes=opening, heard_all=heard_all)
            decision = self._home.decide(self.arrival)
            if decision is None:
                sockets.report_from(client, len(opening) + 1)
                with trio.CancelScope(deadline=self._peek_by) as self._sleep:
                    await self._home.poller.wait(client, select.EPOLLIN)
                before, opening = opening, self._peek() or opening
                heard_all = self._sleep.cancelled_caught or len(opening) == len(before)
        if decision is not None:
            sockets.report_from(client, 1)
            self.decision = decision
            self.is_decided = True
            self._home.reshape(self)

    def _peek(self) -> bytes:
        try:
            return sockets.peek(self._link.client, MOST_FIRST_BYTES)
        except OSError:
            self._client_reset = True  # the kernel tells it once
            return b""

    async def _before_connecting(self) -> None:
        if self._unscreened is not None:
            await self._make_up_for_the_gate(self._unscreened)
            if not self._link.is_open:
                return
        for hit in self.decision.dry_runs:
            for shape in hit.shapes:
                self._tell_shape(hit, shape)
        self._add((*self.decision.matches, *self.decision.dry_runs))

    async def _make_up_for_the_gate(self, reason: str) -> None:
        """Its SYN was not judged: what the rules ask for before the handshake is done after it, as near as can be."""
        for hit in self.decision.dry_runs:
            if hit.connect is not None:
                self._tell(hit, hit.connect, "connect", hit.connect.connect_returns(), None)
            if hit.connect_delay is not None:
                self._tell(hit, hit.connect_delay, "connect", hit.connect_delay.client_sees, None)
        for hit in self.decision.matches:
            delay, refusal = hit.connect_delay, hit.connect
            if delay is not None and self.decision.refusal is None:
                self._dial_delay_s += delay.delay
                self._tell(hit, delay, "connect", delay.client_sees, f"the server is dialled later: {reason}")
            if refusal is not None:
                self.ended_by = "fault"
                degraded = f"the connection is accepted, then reset: {reason}"
                tell = partial(self._tell, hit, refusal, "connect", "ECONNRESET")
                self._link.on_effect = lambda _, tell=tell, degraded=degraded: tell(degraded)  # type: ignore[misc]
                await self._link.reset(Side.CLIENT)
                return

    def _add(self, hits: Iterable[Match]) -> None:
        self._pending += [Pending(hit, ending) for hit in hits for ending in hit.triggered]
        if self._link.is_open:
            self._set_limits()

    async def _reach_server(self) -> None:
        if self._dial_delay_s:
            await trio.sleep_until(self._dial_at)
        try:
            server = self._link.server or await dial(self._upstream, self._home.poller)
        except OSError as error:
            self._upstream_failed(error_name(error))
            return
        self._link.join(server).upstream.was_reset = self._client_reset
        self._shaping.install(self._link)
        if self._pending:
            self._set_limits()

    def _upstream_failed(self, error: str) -> None:
        self.ended_by = "upstream_error"
        self._home.bus.publish(
            UpstreamFailed(
                proxy=self._home.name,
                connection=self.id,
                client=self._client,
                upstream=str(self._upstream),
                error=error,
                elapsed_ms=self._elapsed_s() * 1000,
            )
        )
        self._link.abandon()

    async def _see_the_end(self, relay: Relay) -> None:
        if not self._link.is_open:
            return
        if relay.error is not None:
            raise relay.error
        if relay.broken is not None:
            self.ended_by = relay.broken
            await self._link.carry_reset(Side(relay.broken))
        elif relay.is_finished:
            self.ended_by = "client" if relay.first_ended is relay.upstream else "server"
            self._link.finish()

    async def _strike_what_is_due(self) -> None:
        while self._link.is_open:
            pending = next((pending for pending in self._pending if self._is_due(pending)), None)
            if pending is None:
                break
            self._pending.remove(pending)
            await self._strike(pending)
        if self._link.is_open:
            self._set_limits()

    async def _strike(self, pending: Pending) -> None:
        hit, ending, link = pending.hit, pending.ending, self._link
        sees, sees_instead = ending.client_sees(link), ending.client_sees_instead(link)
        trigger = str(ending.after)
        if pending.is_shadow:
            self._tell(hit, ending, trigger, sees, None)
            return
        link.drains = bool(ending.after.bytes or ending.after.match)
        others = (other.ending.after.time for other in self._pending if not other.is_shadow)
        times = (time for time in others if time is not None)
        link.drains_until = self.arrival.at_s + min(times, default=float("inf"))
        link.on_effect = lambda degraded: self._tell(
            hit, ending, trigger, sees if degraded is None else sees_instead, degraded
        )
        await ending.strike(link)
        if not link.is_open:
            self.ended_by = "fault"

    def _is_due(self, pending: Pending) -> bool:
        trigger = pending.ending.after
        if trigger.at_once:
            return self._link.relay is not None or not pending.ending.touches_server
        if trigger.time is not None:
            return self._elapsed_s() >= trigger.time
        if trigger.match is not None:
            end = pending.search.end if pending.search is not None else None
            return end is not None and self._delivered(trigger) >= end
        return self._delivered(trigger) >= (trigger.bytes or 0)

    def _delivered(self, trigger: Trigger) -> int:
        return self._link.delivered(trigger.direction)

    def _next_due(self) -> float:
        due = self._dial_by if self._link.relay is None else float("inf")
        if self._link.frozen_until is not None:
            due = min(due, self._link.frozen_until)
        if self._looks:
            due = min(due, trio.current_time() + _LOOK_S)
        for pending in self._pending:
            if pending.ending.after.time is not None and not pending.ending.after.at_once:
                due = min(due, self.arrival.at_s + pending.ending.after.time)
        return due

    def _set_limits(self) -> None:
        for direction in Direction:
            pipe = self._link.pipe(direction)
            if pipe is not None and not pipe.is_shut:
                waiting = [pending for pending in self._pending if pending.ending.after.direction is direction]
                for pending in waiting:
                    if pending.ending.after.match is not None and pending.search is None:
                        pending.search = Search(pending.ending.after.match, pipe.bytes_read)
                searches = [pending.search for pending in waiting if pending.search is not None]
                sizes = [pending.ending.after.bytes for pending in waiting] + [search.end for search in searches]
                pipe.set_matchers(searches)
                pipe.set_limit(min((size for size in sizes if size), default=UNLIMITED))

    def _roll(self, rule: str, *what: object) -> float:
        return draw(self._home.seed, self._home.name, rule, self.arrival.number, *what)

    def _tell_shape(self, hit: Match, shape: Shape, degraded: str | None = None) -> None:
        self._tell(hit, shape, "data", shape.client_sees if degraded is None else "nothing", degraded)

    def _tell(self, hit: Match, fault: Fault, trigger: str, sees: str, degraded: str | None) -> None:
        is_dry_run = hit.dry_run
        event = (FaultDryRun if is_dry_run else FaultInjected)(
            proxy=self._home.name,
            connection=self.id,
            client=self._client,
            upstream=str(self._upstream),
            rule=hit.rule,
            fault=fault.key,
            ordinal=hit.ordinal,
            options=options(fault),
            trigger=trigger,
            client_sees=sees,
            degraded=degraded,
            bytes_upstream=self._link.delivered(Direction.UPSTREAM),
            bytes_downstream=self._link.delivered(Direction.DOWNSTREAM),
            elapsed_ms=self._elapsed_s() * 1000,
        )
        if not is_dry_run:
            self._faults.append(fault.key)
        self._home.bus.publish(event)

    def _note_rules(self, hits: Iterable[Match]) -> None:
        for hit in hits:
            if not hit.dry_run:
                self._picked_later = hit.rule

    def _record(self) -> None:
        hits = self.decision.matches
        self._home.bus.publish(
            ConnectionClosed(
                proxy=self._home.name,
                connection=self.id,
                client=self._client,
                rule=self._picked_later or (hits[-1].rule if hits else None),
                faults=tuple(self._faults),
                bytes_upstream=self._link.delivered(Direction.UPSTREAM),
                bytes_downstream=self._link.delivered(Direction.DOWNSTREAM),
                duration_ms=self._elapsed_s() * 1000,
                ended_by=self.ended_by,
            )
        )

    @property
    def _client(self) -> str:
        host = self.arrival.client
        return f"[{host}]:{self._client_port}" if ":" in host else f"{host}:{self._client_port}"

    @property
    def _looks(self) -> bool:
        """Whether it looks for lost packets now and then; not while it dials, which that would only begin anew."""
        return self._shaping.is_waiting and self._link.relay is not None

    def _awake(self) -> None:
        if self._sleep is not None:
            self._sleep.cancel()

    def _elapsed_s(self) -> float:
        return trio.current_time() - self.arrival.at_s
