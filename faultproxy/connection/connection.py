"""One connection's life, from top to bottom: dialled, relayed, faults injected, ended, reported.

A connection that waits for nothing but bytes lives in the poller alone. Whatever has to wait (a dial, a trigger, data
that is not acknowledged yet) is done by a task, which ends when there is nothing more to wait for.
"""

import errno
import socket
from collections.abc import Callable, Sequence

import trio

from faultproxy.connection import closing, preamble
from faultproxy.connection.context import Context, Greeting
from faultproxy.connection.injector import Edited, Injector
from faultproxy.connection.peers import Peers
from faultproxy.connection.record import Carried, ConnectionRecord
from faultproxy.connection.reports import Reports
from faultproxy.connection.sleeper import Sleeper
from faultproxy.events.types import EndedBy
from faultproxy.faults.base import Fault, Side
from faultproxy.kernel import sockets
from faultproxy.relay import Relay
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import BY_HAND, UNTOUCHED, Faults, Match, Plan
from faultproxy.upstream.dial import error_name
from faultproxy.upstream.dialler import Dial


class Connection:
    """A client that was accepted, and what was decided for it.

    Owns the client's socket, and the server's. It is reported as opened when it is made; ``on_end`` is called once both
    sockets are closed and the end is reported. ``ended_by`` is who ended it; it may still be open.
    """

    __slots__ = (
        "_context", "_dial", "_dial_at", "_dialling", "_greeting", "_injector", "_is_over",
        "_make_up_for", "_on_end", "_peers", "_reports", "_sleeper", "ended_by", "facts", "plan",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        client: socket.socket,
        facts: ConnectionFacts,
        plan: Plan,
        greeting: Greeting,
        on_end: Callable[["Connection"], None],
    ) -> None:
        self.facts = facts
        self.plan = plan
        self._context = context
        self._greeting = greeting
        self._on_end = on_end
        self._peers = Peers(context.poller, client)
        self._reports = Reports(context, facts, self._peers)
        self._injector: Injector | None = None
        self._dial: Dial | None = None  # that has begun
        self._make_up_for: str | None = None  # why its SYN was not judged, where rules ask for that
        self._dial_at = 0.0
        self._dialling: trio.CancelScope | None = None
        self.ended_by: EndedBy = "drain"
        self._is_over = False
        self._sleeper: Sleeper | None = None  # of the task, while there is one
        self._reports.injected = greeting.faults
        self._reports.opened()

    def start(self) -> None:
        """Begin. Never raises: a bug ends this connection and is reported."""
        try:
            self._start()
        except Exception as error:  # noqa: BLE001  # a bug must not end the other connections
            self._crash(error)

    def inject(self, matches: Sequence[Match]) -> None:
        """Have the triggered faults of these rules wait for their triggers, in a connection that is open already."""
        if not self._is_over:
            for match in matches:
                self._reports.matched(match)
            self._injecting().add(matches)
            if self._dialling is not None:
                self._dialling.cancel()  # a fault that is due does not wait for the server
            self._work()

    def let_go(self, edited: Edited) -> None:
        """Rules were changed or removed: what they did ends, as far as it can."""
        answers = self.plan.answers
        if any(rule in answers for rule in edited.rejudged):
            kept = {rule: answer for rule, answer in answers.items() if rule not in edited.rejudged}
            self.plan = self.plan._replace(answers=kept)
        if self._injector is not None and not self._is_over:
            self._injector.let_go(edited)
            if self._sleeper is not None or self._injector.has_pending:
                self._work()

    def awaits(self, rule: str) -> bool:
        """Whether a fault of this rule waits for its trigger."""
        return self._injector is not None and self._injector.awaits(rule)

    def inject_by_hand(self, faults: Sequence[Fault]) -> None:
        """Have these faults wait for their triggers, or shape from now on, although no rule asks for it.

        A shape takes the place of one of its kind that was injected by hand before.
        """
        match = Match(BY_HAND, 0, Faults(faults))
        if not self._is_over:
            if match.faults.shapes:
                self._injecting().shape_by_hand(match)
            if match.faults.triggered:
                self.inject([match])

    def let_go_by_hand(self) -> None:
        """End what was injected by hand and still acts, and withdraw what still waits for its trigger."""
        if self._injector is not None and not self._is_over:
            self._injector.shape_by_hand(None)
            by_hand = frozenset({BY_HAND})
            self.let_go(Edited(by_hand, by_hand, by_hand, frozenset()))

    @property
    def carried(self) -> Carried:
        """The bytes that it has carried so far."""
        return self._peers.carried()

    def record(self, ended_at_s: float | None = None) -> ConnectionRecord:
        """How it stands now, or stood at its end."""
        context, reports, verdict = self._context, self._reports, self.plan.verdict
        return ConnectionRecord(
            context.proxy,
            context.dialler.target,
            self.facts,
            reports.rule,
            verdict.rule if verdict is not None else None,
            reports.injected,
            self._peers.carried(),
            ended_at_s,
            self.ended_by if ended_at_s is not None else None,
        )

    def reshape(self, plan: Plan, matches: Sequence[Match]) -> None:
        """Travel through the shapes of these rules from now on; what is under way arrives as it set out."""
        if self._is_over or (not matches and self._injector is None):
            self.plan = plan
            return
        for match in matches:
            if match.rule not in self.plan.answers:
                self._reports.matched(match)
        self.plan = plan
        self._injecting().shape(matches)

    def reset(self, ended_by: EndedBy) -> None:
        """Reset both sides now, as a server does that is stopped; as a fault, if its proxy was disabled."""
        if self._is_over:
            return
        if ended_by == "fault":
            self._reports.disabled(self._peers.client_on_rst())
        self.ended_by = ended_by
        if self._sleeper is not None:
            self._sleeper.scope.cancel()
            closing.reset_all(self._peers)
        else:
            self._end()

    # ---- in the poller ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        plan, greeting = self.plan, self._greeting
        if plan is not UNTOUCHED:
            for match in plan.matches:
                self._reports.matched(match)
            if plan.matches or plan.dry_runs:
                injector = self._injecting()
                if greeting.not_intercepted is not None and _asks_before_handshake(plan):
                    self._make_up_for = greeting.not_intercepted
                    self._work()
                    return
                injector.begin(plan)
                if injector.has_pending:
                    self._work()
                    return
        server: socket.socket | Dial | None = greeting.server
        try:
            if server is not None:
                self._context.dialler.enter(greeting.through)
            else:
                server = self._begin_to_dial()
        except OSError as error:
            self._upstream_failed(error)
            return
        if isinstance(server, Dial):
            self._dial = server
            self._work()
        else:
            self._connect(server)

    def _connect(self, server: socket.socket) -> None:
        relay = self._peers.connect(server, self._on_change)
        relay.upstream.was_reset = self._greeting.client_was_reset
        if self._context.send_proxy is not None:
            relay.downstream.was_reset = not preamble.send(server, self._context.send_proxy, self.facts)
        if self._injector is not None:
            self._injector.install()
        relay.start()

    def _begin_to_dial(self) -> socket.socket | Dial:
        return self._context.dialler.begin(self._greeting.through, in_small_packets=self.plan.loses_downstream())

    def _on_change(self) -> None:
        """A peer has reset, both directions have ended, or a limit is reached."""
        try:
            relay = self._peers.relay
            assert relay is not None  # which calls this
            if self._sleeper is not None:
                self._sleeper.wake()
            elif relay.error is not None:
                raise relay.error
            elif relay.broken is not None:
                self.ended_by = relay.broken
                if closing.must_flush(self._peers, relay.broken):
                    self._work()
                else:
                    self._end()
            elif relay.is_finished:
                self._finish(relay)
        except Exception as error:  # noqa: BLE001  # a bug must not end the other connections
            self._crash(error)

    # ---- in a task --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """See to what is to be waited for: wake the task, or start one."""
        if self._sleeper is not None:
            self._sleeper.wake()
        elif not self._is_over:
            self._sleeper = Sleeper(self._context.poller)
            self._context.nursery.start_soon(self._run, self._sleeper)
            self._context.poller.yield_soon = True

    @trio.lowlevel.enable_ki_protection  # it would be lost where pydantic calls a function, as for a fault's options
    async def _run(self, sleeper: Sleeper) -> None:
        is_parked = False
        try:
            with sleeper.scope:
                is_parked = await self._work_until_parked(sleeper)
        except Exception as error:  # noqa: BLE001  # a bug must not end the other connections
            self._crash(error)
        finally:
            self._sleeper = None
            if not is_parked:
                self._end()

    async def _work_until_parked(self, sleeper: Sleeper) -> bool:
        """Do what there is to wait for; whether the connection goes on in the poller."""
        peers = self._peers
        self._dial_at = trio.current_time()
        if self._make_up_for is not None and not self._make_up(self._make_up_for):
            return False
        while peers.is_open:
            injector = self._injector
            if injector is not None:
                await injector.inject_due()
                if not peers.is_open:
                    self.ended_by = "fault"
                    await closing.end_politely(peers)
                    return False
            relay = peers.relay
            if relay is None:
                if not await self._reach_server():
                    return False
            elif relay.error is not None:
                raise relay.error
            elif relay.broken is not None:
                self.ended_by = relay.broken
                await closing.propagate_reset(peers, Side(relay.broken))
                return False
            elif relay.is_finished:
                self._finish(relay)
                return False
            elif injector is None or not injector.has_pending:
                return True
            else:
                await sleeper.sleep(injector.next_deadline())
        return False

    def _make_up(self, reason: str) -> bool:
        """Do what was asked for before the handshake, as near as can be; whether the client was accepted."""
        injector = self._injecting()
        delay_s = injector.make_up(self.plan, reason)
        if delay_s is None:
            self.ended_by = "fault"
            return False
        self._dial_at += delay_s
        injector.begin(self.plan)
        return True

    async def _reach_server(self) -> bool:
        """Dial, unless a fault is due before; whether the upstream has not failed."""
        dial_by = self._dial_at + self._context.dialler.timeout_s
        due = self._injector.next_deadline() if self._injector is not None else float("inf")
        if trio.current_time() >= dial_by:
            self._upstream_failed(OSError(errno.ETIMEDOUT, "timed out"))
            return False
        with trio.CancelScope(deadline=min(dial_by, due)) as self._dialling:
            if self._dial_at > trio.current_time():
                await trio.sleep_until(self._dial_at)
            dial, self._dial = self._dial, None
            try:
                server = self._greeting.server
                if server is None:
                    begun = dial or self._begin_to_dial()
                    server = await begun.finish() if isinstance(begun, Dial) else begun
                else:
                    self._context.dialler.enter(self._greeting.through)
            except OSError as error:
                self._upstream_failed(error)
                return False
            if self._peers.is_open:
                self._connect(server)
            elif server is not self._greeting.server:  # it was reset just when the dial was over
                sockets.end(server)
        self._dialling = None
        return True

    # ---- the end ----------------------------------------------------------------------------------------------------

    def _upstream_failed(self, error: OSError) -> None:
        self.ended_by = "upstream_error"
        self._reports.upstream_failed(error_name(error))
        if self._sleeper is None:
            self._end()

    def _finish(self, relay: Relay) -> None:
        self.ended_by = "client" if relay.first_ended is relay.upstream else "server"
        closing.close_all(self._peers)
        if self._sleeper is None:
            self._end()

    def _crash(self, error: Exception) -> None:
        self._reports.crashed(error)
        if self._sleeper is None:
            self._end()

    def _end(self) -> None:
        """Whatever is still open is reset, and the end reported. Once."""
        if self._is_over:
            return
        self._is_over = True
        closing.reset_all(self._peers)
        if self._dial is not None:
            self._dial.give_up()
        if self._greeting.server is not None and self._greeting.server is not self._peers.server:
            sockets.end(self._greeting.server)
        bytes_changed = self._injector.end() if self._injector is not None else 0
        self._reports.closed(self.ended_by, bytes_changed)
        self._on_end(self)

    def _injecting(self) -> Injector:
        if self._injector is None:
            self._injector = Injector(self._context, self.facts, self._peers, self._reports)
        return self._injector


def _asks_before_handshake(plan: Plan) -> bool:
    """Whether a rule asks for something that comes before the handshake."""
    return any(match.faults.connect or match.faults.connect_delay for match in (*plan.matches, *plan.dry_runs))
