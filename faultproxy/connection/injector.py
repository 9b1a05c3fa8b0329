"""Carries out the faults of the rules that match a connection: shapes from now on, the others at their triggers."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

import trio

from faultproxy.connection.context import Context
from faultproxy.connection.peers import Peers
from faultproxy.connection.reports import Reports
from faultproxy.connection.shaping import Shaping
from faultproxy.connection.triggers import NEVER, Delivered, LastByte, Pending, Triggers
from faultproxy.faults.base import Direction, Shape, Side
from faultproxy.relay import BUFFER_SIZE, UNLIMITED
from faultproxy.rules.draw import draw
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import Match, Plan

_LOOK_S = 0.05
_LOOK_FOR_S = 2.0  # after the last byte: a lost packet is sent again within a second, and is then a byte


@dataclass(frozen=True, slots=True)
class Edited:
    """The names of the rules that an edit has changed or removed; of these those that are gone, and that are live.

    A rule counts as live if it was before the edit, or is since. ``rejudged`` are live ones that are gone, or whose
    conditions are others: what they have said of a connection no longer holds.
    """

    rules: frozenset[str]
    removed: frozenset[str]
    live: frozenset[str]
    rejudged: frozenset[str]


class Injector:
    """The faults of one connection. ``install`` is to be called once the relay exists."""

    __slots__ = (
        "_context", "_discarding", "_facts", "_hung_by", "_incomplete", "_look_until", "_looks", "_peers", "_reports",
        "_revoked", "_shaping", "_triggers",
    )  # fmt: skip

    def __init__(self, context: Context, facts: ConnectionFacts, peers: Peers, reports: Reports) -> None:
        self._context = context
        self._facts = facts
        self._peers = peers
        self._reports = reports
        self._triggers = Triggers(facts.at_s)
        self._shaping = Shaping(peers, self._draw, self._report_shape, context.lines)
        self._hung_by: str | None = None
        self._discarding: dict[str, frozenset[Direction]] = {}
        self._incomplete: dict[str, frozenset[Direction]] = {}  # what rules threw away that are changed or gone now
        self._revoked: frozenset[str] = frozenset()
        self._look_until = 0.0
        self._looks = False

    def make_up(self, plan: Plan, reason: str) -> float | None:
        """The client's SYN was not judged: do after the handshake, as near as can be, what was asked for before it.

        Returns by how many seconds the dial is delayed; None if the client was refused, and so reset.
        """
        for match in plan.dry_runs:
            if match.faults.connect is not None:
                self._reports.fault(match, match.faults.connect, "connect", match.faults.connect.connect_returns())
            if match.faults.connect_delay is not None:
                self._reports.fault(
                    match, match.faults.connect_delay, "connect", match.faults.connect_delay.client_sees
                )
        if plan.verdict is not None and plan.refusal is not None:
            degraded = f"the connection is accepted, then reset: {reason}"
            self._peers.stop()
            self._reports.fault(plan.verdict, plan.refusal, "connect", self._peers.client_on_rst(), degraded)
            self._peers.rst(Side.CLIENT)
            return None
        delay_s = 0.0
        for match in plan.matches:
            delay = match.faults.connect_delay
            if delay is not None:
                delay_s += delay.delay
                degraded = f"the server is dialled later: {reason}"
                self._reports.fault(match, delay, "connect", delay.client_sees, degraded)
        return delay_s

    def begin(self, plan: Plan) -> None:
        """Let the faults of a plan wait for their triggers, and its shapes act."""
        for match in plan.dry_runs:
            for shape in match.faults.shapes:
                self._report_shape(match, shape)
        self._triggers.add((*plan.matches, *plan.dry_runs), trio.current_time())
        self._shaping.set(plan.matches)
        self.install()

    def add(self, matches: Iterable[Match]) -> None:
        """Let the triggered faults of these rules wait for their triggers too, which count from now on."""
        delivered = {direction: self._peers.delivered(direction) for direction in Direction}
        self._triggers.add(matches, trio.current_time(), delivered)
        self._set_limits()

    def let_go(self, edited: Edited) -> None:
        """End a hang of edited rules, even one that only begins now: every byte goes on.

        Where they have thrown bytes away the connection is closed, unless they go on with it. What live ones hold goes
        on at once, and their triggers are waited for no more.
        """
        self._revoked = edited.rules
        self._incomplete |= {rule: ways for rule, ways in self._discarding.items() if rule in edited.rules}
        self._triggers.withdraw(edited.live)
        self._triggers.forget(edited.removed)
        self._shaping.release(edited.live)
        self._set_limits()
        self._end_revoked_hang()

    def shape(self, matches: Iterable[Match]) -> None:
        """Let the shapes of these rules act from now on; what is under way arrives as it set out."""
        self._shaping.set(matches)
        if self._peers.is_open:
            self.install()

    def shape_by_hand(self, match: Match | None) -> None:
        """Let these shapes act too until the connection ends, whatever the rules say; None: those so far no more."""
        self._shaping.set_by_hand(match)
        if self._peers.is_open:
            self.install()

    def install(self) -> None:
        """Put shapes, limits and searches on the pipes that exist."""
        self._shaping.install()
        self._set_limits()

    def awaits(self, rule: str) -> bool:
        """Whether a fault of this rule is pending."""
        return self._triggers.awaits(rule)

    @property
    def has_pending(self) -> bool:
        """Whether a fault waits for its trigger, or a hang for its end."""
        return bool(self._triggers or self._incomplete) or self._peers.frozen_until not in (None, math.inf)

    def next_deadline(self) -> float:
        """When inject_due() is to be called next, whatever happens; infinity for never."""
        if self._incomplete:
            return -math.inf
        frozen_until = self._peers.frozen_until
        triggered_at = self._triggers.next_deadline(self._last_byte_at())
        return triggered_at if frozen_until is None else min(triggered_at, frozen_until)

    async def inject_due(self) -> None:
        """Inject the faults that are due, one after the other; end the connection politely if one has ended it."""
        peers = self._peers
        if peers.frozen_until is not None and peers.frozen_until <= trio.current_time():
            peers.thaw()
        while peers.is_open and (pending := self._take_due()) is not None:
            await self._inject(pending)
        if self._incomplete and peers.is_open:
            peers.stop()
        if peers.is_open:
            self._set_limits()

    def end(self) -> int:
        """Report what is not reported yet: packets that were lost. Returns how many bytes were changed."""
        self._shaping.look()
        return self._shaping.bytes_changed

    async def _inject(self, pending: Pending) -> None:
        match, fault, peers = pending.match, pending.fault, self._peers
        sees, sees_instead = fault.client_sees(peers), fault.client_sees_instead(peers)
        trigger = str(fault.after)
        if match.dry_run:
            self._reports.fault(match, fault, trigger, sees)
            return
        is_reported = False

        def report(degraded: str | None) -> None:
            nonlocal is_reported
            if not is_reported:
                is_reported = True
                self._reports.fault(match, fault, trigger, sees if degraded is None else sees_instead, degraded)

        self._revoked = frozenset()
        until = self._triggers.next_deadline(self._last_byte_at(), dry_runs=False)
        await fault.inject(peers, report, until)
        if fault.discards:
            self._discarding[match.rule] = fault.discards
            if fault.discards >= self._incomplete.get(match.rule, fault.discards):
                self._incomplete.pop(match.rule, None)
        if peers.frozen_until is not None:
            self._hung_by = match.rule
            self._end_revoked_hang()  # by an edit meanwhile

    def _end_revoked_hang(self) -> None:
        if self._hung_by in self._revoked and self._peers.frozen_until is not None and self._peers.is_open:
            self._peers.thaw()

    def _take_due(self) -> Pending | None:
        return self._triggers.take_due(trio.current_time(), self._delivered(), self._last_byte_at())

    def _last_byte_at(self) -> LastByte:
        """When the last byte was delivered each way, if a fault waits for idle time."""
        if self._peers.relay is None or not self._triggers.await_idle:
            return NEVER
        offset_s = trio.current_time() - monotonic()
        return {direction: self._peers.pipe(direction).written_at_s + offset_s for direction in Direction}

    def _delivered(self) -> Delivered | None:
        if self._peers.relay is None:
            return None
        return {direction: self._peers.delivered(direction) for direction in Direction}

    def _set_limits(self) -> None:
        if self._peers.relay is None or not self._peers.is_open:
            return
        is_lossy = self._shaping.expects_loss
        watch = [_Watch(self._on_bytes if is_lossy else _nothing)] if is_lossy or self._triggers.await_idle else []
        for direction in Direction:
            pipe = self._peers.pipe(direction)
            if not pipe.is_shut:
                pipe.set_matchers([*self._triggers.matchers(direction, pipe.bytes_read), *watch])
                limit = self._triggers.limit(direction)
                pipe.set_limit(UNLIMITED if limit is None else limit)
        if is_lossy:
            self._on_bytes()

    def _on_bytes(self) -> None:
        """Look for lost packets for a while: an idle connection costs nothing."""
        self._look_until = trio.current_time() + _LOOK_FOR_S
        if not self._looks:
            self._looks = True
            self._context.poller.call_at(monotonic() + _LOOK_S, self._look)

    def _look(self) -> None:
        self._looks = False
        self._shaping.look()
        if not self._shaping.expects_loss:
            self._set_limits()
        elif self._peers.is_open and trio.current_time() < self._look_until:
            self._looks = True
            self._context.poller.call_at(monotonic() + _LOOK_S, self._look)

    def _report_shape(self, match: Match, shape: Shape, degraded: str | None = None) -> None:
        self._reports.fault(match, shape, "data", shape.client_sees if degraded is None else "nothing", degraded)

    def _draw(self, rule: str, *what: object) -> float:
        return draw(self._context.seed, self._context.proxy, rule, self._facts.number, *what)


def _nothing() -> None:
    """A callback that does nothing: it is enough that the pipe notes when bytes pass."""


@dataclass(frozen=True, slots=True)
class _Watch:
    """A matcher that matches nothing, and calls a function for each piece."""

    on_bytes: Callable[[], None]
    max_read: int = BUFFER_SIZE

    def __call__(self, data: bytes) -> None:
        self.on_bytes()
