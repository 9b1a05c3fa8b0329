"""The handshake: what becomes of a client before it has a connection. Its SYN is judged, reported, held, answered.

While SYNs are intercepted, what the upstream says to the proxy is what ``connect()`` says to the client: the upstream
is dialled first (predialled), and if that fails, ``connect()`` fails in the same way.
"""

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

import trio

from faultproxy.addresses import host_port
from faultproxy.events.bus import Bus
from faultproxy.events.types import ConnectionCrashed, EndedBy, FaultInjected
from faultproxy.faults.base import Connect, ConnectDelay
from faultproxy.kernel import sockets
from faultproxy.listener.limits import ProxyLimit
from faultproxy.listener.predialled import PREDIALLED_S, Predialled
from faultproxy.listener.syn_table import HalfOpen
from faultproxy.publisher import Publisher
from faultproxy.relay import Poller
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import UNTOUCHED, Match, Plan
from faultproxy.upstream.dial import error_name
from faultproxy.upstream.dialler import Dial, Dialler

_MOST_HELD = 4096
_TOO_MANY = f"it is accepted at once: {_MOST_HELD} clients are held already"


@dataclass(frozen=True, slots=True)
class HandshakeContext:
    """What a handshake knows of its proxy.

    ``decide`` numbers a client whose SYN has come, and reads the rules for it as far as a SYN allows;
    ``still_refuses`` says whether a rule still has the connect fault that it had when it matched; ``turned_away`` is
    told of a client that gets no connection, and why. Tasks run in ``nursery``.
    """

    proxy: str
    dialler: Dialler
    nursery: trio.Nursery
    bus: Bus
    decide: Callable[[HalfOpen], tuple[ConnectionFacts, Plan]]
    still_refuses: Callable[[Match], bool]
    turned_away: Callable[["Judged", EndedBy], None]


class Judged:
    """What is known of a client from its SYN on.

    ``is_exact`` says that its faults before the handshake were carried out as asked, ``faults`` which these were.
    """

    __slots__ = ("_handshake", "facts", "failure", "faults", "is_exact", "plan")

    def __init__(self, handshake: "Handshake", facts: ConnectionFacts, plan: Plan) -> None:
        self._handshake = handshake
        self.facts = facts
        self.plan = plan
        self.is_exact = False
        self.faults: tuple[FaultInjected, ...] = ()
        self.failure: str | None = None

    def belongs_to(self, handshake: "Handshake") -> bool:
        """Whether it was judged by this proxy."""
        return self._handshake is handshake

    def let_through(self) -> None:
        """It is accepted after all, untouched."""
        self.facts, self.plan = self.facts._replace(judged={}), UNTOUCHED


class Handshake:
    """Judges the clients of one proxy whose SYNs its listener has heard. ``context`` is set first, and may change."""

    context: HandshakeContext

    def __init__(self, poller: Poller, limit: ProxyLimit) -> None:
        self.predialled = Predialled(poller, limit)
        self._poller = poller
        self._held = 0

    def on_syn(self, half_open: HalfOpen) -> None:
        """Judge a SYN that has no answer yet. Never raises: a bug is reported, and the client is accepted."""
        try:
            judged = half_open.note
            if not isinstance(judged, Judged) or not judged.belongs_to(self):
                judged = half_open.note = Judged(self, *self.context.decide(half_open))
            if judged.is_exact:
                self._decide_again(half_open, judged)
            elif not half_open.is_doubtful:
                judged.is_exact = True
                self._decide(half_open, judged)
            elif judged.plan.refusal is None:
                half_open.accept()
            else:
                half_open.ignore()  # unless the kernel has accepted it, its SYN comes again
        except Exception as error:  # noqa: BLE001  # no packet may stop the others
            self._crashed(half_open, error)

    def lookup(self, half_open: HalfOpen | None) -> Judged | None:
        """What is known of a client that is accepted now; None if this proxy has not judged its SYN."""
        judged = half_open.note if half_open is not None else None
        if not isinstance(judged, Judged) or not judged.belongs_to(self):
            return None
        if judged.is_exact and judged.plan.refusal is not None:  # ignored, until SYNs were no longer intercepted
            judged.let_through()
        return judged

    def _decide(self, half_open: HalfOpen, judged: Judged) -> None:
        plan = judged.plan
        for match in plan.dry_runs:
            for fault in (match.faults.connect, match.faults.connect_delay):
                if fault is not None:
                    self._publish_fault(judged, match, fault)
        refusal = plan.refusal
        if plan.verdict is not None and refusal is not None:
            refusal.answer(half_open)
            self._publish_fault(judged, plan.verdict, refusal)
            self.context.turned_away(judged, "fault")
            return
        delay_s = 0.0
        degraded = _TOO_MANY if self._held >= _MOST_HELD else None
        for match in plan.matches:
            delay = match.faults.connect_delay
            if delay is not None:
                delay_s += delay.delay
                self._publish_fault(judged, match, delay, degraded)
        self._hold(half_open, judged, delay_s)

    def _decide_again(self, half_open: HalfOpen, judged: Judged) -> None:
        if half_open.is_held:
            return
        verdict = judged.plan.verdict
        if verdict is not None and judged.plan.refusal is not None:
            if self.context.still_refuses(verdict):
                half_open.ignore()
                return
            judged.let_through()  # an edit has taken away what kept the client out
        self._hold(half_open, judged, 0.0)

    def _hold(self, half_open: HalfOpen, judged: Judged, delay_s: float) -> None:
        if self._held >= _MOST_HELD:
            half_open.accept()
        elif delay_s:
            self._held += 1
            half_open.hold()
            self._poller.call_at(monotonic() + delay_s, partial(self._finish_delay, half_open, judged))
        else:
            self._predial(half_open, judged)

    def _finish_delay(self, half_open: HalfOpen, judged: Judged) -> None:
        self._held -= 1
        if half_open.is_answered:  # the listener's mode has changed
            return
        try:
            self._predial(half_open, judged)
        except Exception as error:  # noqa: BLE001  # the poller goes on
            self._crashed(half_open, error)

    def _predial(self, half_open: HalfOpen, judged: Judged) -> None:
        """Accept the client once the upstream is reached, where that is to be tried."""
        if not self._may_predial(judged):
            half_open.accept()
            return
        dialler = self._dialler(judged)
        try:
            through = dialler.circles.through(*half_open.key[:2])
            dial = dialler.begin(through, in_small_packets=judged.plan.loses_downstream())
        except OSError as error:
            self._fail(half_open, judged, error)
            return
        self.predialled.begin()
        if not isinstance(dial, Dial):  # a task would cost the client a way through trio
            self.predialled.keep(judged, dial)
            half_open.accept()
            return
        self._held += 1
        half_open.hold()
        self.context.nursery.start_soon(self._finish_dial, half_open, judged, dial)
        self._poller.yield_soon = True

    def _dialler(self, judged: Judged) -> Dialler:
        return self.context.dialler.towards(judged.facts.destination, judged.facts.destination_port)

    async def _finish_dial(self, half_open: HalfOpen, judged: Judged, dial: Dial) -> None:
        server = None
        try:
            server = await self._dial(half_open, judged, dial)
        except Exception as error:  # noqa: BLE001  # a bug must not keep a client out
            self._crashed(half_open, error)
        finally:
            self._held -= 1
            if server is None:
                self.predialled.give_up()
        if server is None:
            return
        if half_open.is_answered:  # the listener's mode has changed meanwhile
            sockets.end(server)
            self.predialled.give_up()
        else:
            self.predialled.keep(judged, server)
            half_open.accept()

    async def _dial(self, half_open: HalfOpen, judged: Judged, dial: Dial) -> socket.socket | None:
        """The upstream; None if it is not reached in time, or not at all: the client has got the error."""
        timeout_s = dial.dialler.timeout_s
        patience = trio.move_on_after(min(timeout_s, PREDIALLED_S))
        try:
            with patience:
                return await dial.finish()
        except OSError as error:
            self._fail(half_open, judged, error)
        if patience.cancelled_caught and not half_open.is_answered:
            if timeout_s > PREDIALLED_S:
                half_open.accept()
            else:
                half_open.ignore()
                self._publish_failure(judged, "ETIMEDOUT")
        return None

    def _fail(self, half_open: HalfOpen, judged: Judged, error: OSError) -> None:
        """Have ``connect()`` fail as the dial did, unless the client has an answer meanwhile."""
        if half_open.is_answered:
            return
        if error.errno == errno.ECONNREFUSED:
            half_open.refuse()
        elif error.errno == errno.EHOSTUNREACH:
            half_open.unreachable("host")
        elif error.errno == errno.ENETUNREACH:
            half_open.unreachable("net")
        elif error.errno == errno.ETIMEDOUT:
            half_open.ignore()
        else:
            half_open.accept()  # no answer to a SYN says this; its connection will
            return
        self._publish_failure(judged, error_name(error))

    def _may_predial(self, judged: Judged) -> bool:
        if not self.predialled.has_room():
            return False
        faults = (fault for match in judged.plan.matches for fault in match.faults.triggered)
        return not any(fault.after.at_once and not fault.touches_server for fault in faults)

    def _publish_failure(self, judged: Judged, error: str) -> None:
        """Once for a connection, however often its SYN comes again."""
        if judged.failure == error:
            return
        if judged.failure is None:
            self.context.turned_away(judged, "upstream_error")
        judged.failure = error
        self._publisher(judged).upstream_failed(error)

    def _publish_fault(
        self, judged: Judged, match: Match, fault: Connect | ConnectDelay, degraded: str | None = None
    ) -> None:
        sees = fault.connect_returns() if isinstance(fault, Connect) else fault.client_sees
        publisher = self._publisher(judged)
        publisher.fault(match, fault, "connect", sees if degraded is None else "nothing", degraded)
        judged.faults += publisher.injected

    def _publisher(self, judged: Judged) -> Publisher:
        context = self.context
        return Publisher(context.bus, context.proxy, self._dialler(judged).target, judged.facts)

    def _crashed(self, half_open: HalfOpen, error: Exception) -> None:
        connection = host_port(*half_open.key[:2])
        self.context.bus.publish(ConnectionCrashed.because_of(error, proxy=self.context.proxy, connection=connection))
        half_open.accept()
