"""Accepts clients at a listener, has the rules decide, and hands each on to a connection of its own."""

import math
import socket
from time import monotonic

import trio

from faultproxy.addresses import host_port
from faultproxy.connection.connection import Connection
from faultproxy.connection.context import Context, Greeting
from faultproxy.connection.lines import Lines
from faultproxy.connection.record import NOTHING_CARRIED, ConnectionRecord
from faultproxy.events.types import (
    AcceptPaused,
    AcceptResumed,
    ConnectionCrashed,
    EndedBy,
    PeekTimedOut,
    ProxyHeaderRejected,
)
from faultproxy.kernel import sockets
from faultproxy.kernel.original_dst import original_destination
from faultproxy.listener.handshake import Handshake, HandshakeContext, Judged
from faultproxy.listener.limits import OutOfResources, ProxyLimit
from faultproxy.listener.listening_socket import Accepted
from faultproxy.listener.peek import FirstBytes, peek
from faultproxy.listener.proxy_header import NoHeader, read_header
from faultproxy.listener.syn_table import HalfOpen
from faultproxy.listener.unix_listener import AnyListener
from faultproxy.proxy.connections import Connections
from faultproxy.proxy.settings import ProxySettings, Services
from faultproxy.proxy_protocol import ConnectionEnds
from faultproxy.rules.facts import ConnectionFacts, Reading
from faultproxy.rules.plan import UNTOUCHED, Match, Plan
from faultproxy.rules.rule_set import RuleSet
from faultproxy.upstream.dial import Target
from faultproxy.upstream.dialler import Dialler

_BATCH = 64
_MOST_AT_ONCE = 4096
_RETRY_S = 0.1
_INSTANT_S = 1e-6
_NOT_ASKED = "", 0
_TOO_EARLY = "it came before its SYN could be judged"


class Acceptor:
    """The way of a proxy's clients. ``accepted`` is the number of the last one.

    Until ``edge`` (trio.current_time()), when a window opens or closes, clients count as those before it.
    """

    def __init__(
        self, proxy: str, services: Services, limit: ProxyLimit, connections: Connections, accepted: int
    ) -> None:
        self.accepted = accepted
        self.edge = math.inf
        self._proxy = proxy
        self._services = services
        self._limit = limit
        self._connections = connections
        self._keeps_readings = services.registry is not None
        self._shortage: str | None = None
        self._handshake = Handshake(services.poller, limit)
        self._lines = Lines()
        self._not_judged = Greeting()

    def use(self, settings: ProxySettings, rules: RuleSet) -> None:
        """Let these decide about the clients that come from now on."""
        services = self._services
        self._rules = rules
        self._peek_timeout_s = settings.peek_timeout_s
        dialler = Dialler(
            self._proxy,
            settings.upstream,
            settings.dial_timeout_s,
            services.poller,
            services.circles,
            services.registry.dials if services.registry is not None else None,
            settings.upstream.is_original,
        )
        self._context = Context(
            self._proxy,
            settings.seed,
            dialler,
            services.poller,
            services.bus,
            services.nursery,
            self._lines,
            settings.send_proxy,
        )
        self._accepts_header = settings.accept_proxy
        self._asks_destination = (
            settings.send_proxy is not None or settings.upstream.is_original or rules.asks_destination
        )
        self._lines.keep({rule.name for rule in rules.rules})
        self._handshake.context = HandshakeContext(
            self._proxy,
            dialler,
            services.nursery,
            services.bus,
            self._decide_on_syn,
            self._still_refuses,
            self._turned_away,
        )

    @property
    def upstream(self) -> Target:
        """What new connections are made to."""
        return self._context.dialler.target

    def attach(self, listener: AnyListener) -> None:
        """Accept at this listener from now on."""
        self._listener = listener
        listener.attach(self._services.poller, self.accept, self._handshake.on_syn)

    def judge_waiting(self) -> None:
        """Judge those who have come by now."""
        self._listener.set_mode(self._listener.mode)
        self.accept()

    def detach(self) -> None:
        """Accept those who have come by now, as far as there is room: another proxy may be given the listener."""
        try:
            room = self._limit.room(_MOST_AT_ONCE)
        except OutOfResources:
            room = 0
        self._listener.detach(room)
        self.accept()

    def accept(self) -> None:
        """Accept those who wait, as far as there is room. The poller calls it when somebody does. Never raises."""
        shortage, room = None, 0
        try:
            room = self._limit.room(_BATCH)
        except OutOfResources as error:
            shortage = error.error
        try:
            for accepted in self._listener.accept(room):
                self._start(accepted)
        except OutOfResources as error:
            shortage = error.error
        if shortage is not None or self._shortage is not None:
            self._note(shortage)

    def _note(self, shortage: str | None) -> None:
        """Leave clients waiting for a moment if something that a connection needs has run out."""
        services, before = self._services, self._shortage
        self._shortage = shortage
        if shortage is None and before is not None:
            services.bus.publish(AcceptResumed(error=before, open=len(self._connections)))
        elif shortage is not None:
            if before is None:
                services.bus.publish(AcceptPaused(error=shortage, open=len(self._connections)))
            self._listener.pause()
            services.poller.call_at(monotonic() + _RETRY_S, self._listener.resume)

    def _start(self, accepted: Accepted) -> None:
        """Have it judged, and start its connection. A bug ends this client alone."""
        self._limit.acquire()
        sock, host, port, half_open = accepted
        through = self._services.circles.through(host, port)
        facts = None
        try:
            judged = self._handshake.lookup(half_open) if half_open is not None else None
            if judged is None:
                destination = original_destination(sock) if self._asks_destination else _NOT_ASKED
                facts = self._facts(host, port, destination)
                greeting = self._greeting()._replace(through=through) if through else self._greeting()
                plan = None if self._accepts_header else self._decide(facts)
            else:
                facts = judged.facts._replace(at_s=trio.current_time())
                not_intercepted = None if judged.is_exact else _TOO_EARLY
                greeting = Greeting(
                    not_intercepted, judged.faults, self._handshake.predialled.take(judged), through=through
                )
                plan = None
                if not self._accepts_header:
                    plan = self._decide(facts) if facts.judged else judged.plan
            if plan is not None:
                self._connection(sock, facts, plan, greeting).start()
            else:
                scope = trio.CancelScope()
                self._connections.add_undecided(scope, facts)
                self._services.nursery.start_soon(self._hear, scope, sock, facts, greeting, self._accepts_header)
                self._services.poller.yield_soon = True
        except Exception as error:  # noqa: BLE001  # a bug must not end the other connections
            self._limit.release()
            sock.close()
            self._crashed(facts, error)

    def _greeting(self) -> Greeting:
        """That of a client whose SYN was not judged; one for many, as long as the reason is the same."""
        reason = self._listener.why_not_intercepting or _TOO_EARLY
        if self._not_judged.not_intercepted != reason:
            self._not_judged = Greeting(reason)
        return self._not_judged

    def _connection(self, sock: socket.socket, facts: ConnectionFacts, plan: Plan, greeting: Greeting) -> Connection:
        context = self._context
        if context.dialler.may_be_led_back:
            context = context.towards(facts.destination, facts.destination_port)
            if self._listener.is_at(facts.destination, facts.destination_port):
                greeting = greeting._replace(through=(*greeting.through, self._proxy))
        connection = Connection(context, sock, facts, plan, greeting, self._ended)
        self._connections.add(connection)
        return connection

    async def _hear(
        self,
        scope: trio.CancelScope,
        sock: socket.socket,
        facts: ConnectionFacts,
        greeting: Greeting,
        has_header: bool,
    ) -> None:
        """Start the connection once the client has said enough for the rules to decide."""
        plan: Plan | None = None
        peek_until = facts.at_s + self._peek_timeout_s
        rejected: NoHeader | None = None

        def decides(said: FirstBytes) -> bool:
            nonlocal facts, plan
            facts = facts._replace(first_bytes=said.data, heard_all=said.heard_all)
            plan = self._decide(facts)
            return plan is not None

        try:
            with scope:
                if has_header:
                    ends = await read_header(sock, self._services.poller, peek_until)
                    peek_until = trio.current_time() + self._peek_timeout_s
                    if ends is not None:
                        facts = _as_told(facts, ends)
                said = await peek(sock, self._services.poller, peek_until, decides)
                greeting = greeting._replace(client_was_reset=said.was_reset)
                if said.timed_out:
                    self._peek_timed_out(facts)
        except NoHeader as error:
            rejected = error
        except Exception as error:  # noqa: BLE001  # a bug must not end the other connections
            plan = None
            self._crashed(facts, error)
        finally:
            if rejected is not None:
                self._reject(sock, facts, greeting, rejected)
                self._connections.remove_undecided(scope)
            else:
                connection = self._connection(sock, facts, plan or UNTOUCHED, greeting)
                self._connections.remove_undecided(scope)
                if plan is None:
                    connection.reset("fault" if scope.cancelled_caught else "drain")
                else:
                    connection.start()
                    self._connections.reshape(self._rules, connection)  # windows may have opened and closed meanwhile

    def _reject(self, sock: socket.socket, facts: ConnectionFacts, greeting: Greeting, why: NoHeader) -> None:
        """Reset a connection that does not begin with the header that is due."""
        for each in (sock, greeting.server):
            if each is not None:
                sockets.reset(each)
        self._limit.release()
        self._services.bus.publish(
            ProxyHeaderRejected(
                proxy=self._proxy,
                connection=f"{self._proxy}#{facts.number}",
                client=host_port(facts.client, facts.client_port),
                reason=str(why),
                bytes=why.count,
                elapsed_ms=(trio.current_time() - facts.at_s) * 1000,
            )
        )

    def _peek_timed_out(self, facts: ConnectionFacts) -> None:
        bus = self._services.bus
        if bus.wants(PeekTimedOut):
            bus.publish(
                PeekTimedOut(
                    proxy=self._proxy,
                    connection=f"{self._proxy}#{facts.number}",
                    client=host_port(facts.client, facts.client_port),
                    bytes=len(facts.first_bytes),
                    elapsed_ms=(trio.current_time() - facts.at_s) * 1000,
                )
            )

    def _crashed(self, facts: ConnectionFacts | None, error: Exception) -> None:
        connection = f"{self._proxy}#{facts.number if facts is not None else 0}"
        self._services.bus.publish(ConnectionCrashed.because_of(error, proxy=self._proxy, connection=connection))

    def _ended(self, connection: Connection) -> None:
        self._limit.release()
        self._connections.remove(connection)

    def _decide(self, facts: ConnectionFacts) -> Plan | None:
        """What becomes of a client; None as long as more of its first bytes could change that."""
        rules = self._rules
        if rules.peeks and rules.needs_more_bytes(facts):
            return None
        return rules.decide(facts)

    def _facts(self, client: str, client_port: int, destination: tuple[str, int]) -> ConnectionFacts:
        """A client that comes now, numbered."""
        self.accepted += 1
        now = trio.current_time()
        return ConnectionFacts(
            self.accepted,
            client,
            now if now < self.edge else self.edge - _INSTANT_S,
            len(self._connections) + self._listener.on_the_way() + 1,
            b"",
            not self._rules.peeks,
            {},
            client_port,
            *destination,
            Reading(self._rules.rules) if self._keeps_readings and self._rules.rules else None,
        )

    def _turned_away(self, judged: Judged, why: EndedBy) -> None:
        verdict = judged.plan.verdict
        rule = verdict.rule if verdict is not None else None
        facts = judged.facts
        upstream = self._context.dialler.towards(facts.destination, facts.destination_port).target
        now = trio.current_time()
        record = ConnectionRecord(self._proxy, upstream, facts, rule, rule, judged.faults, NOTHING_CARRIED, now, why)
        self._connections.turned_away(record)

    def _decide_on_syn(self, half_open: HalfOpen) -> tuple[ConnectionFacts, Plan]:
        """Number a client whose SYN has come, and read the rules for it as far as a SYN allows."""
        client, client_port, destination, port = half_open.key
        facts = self._facts(client, client_port, (destination, port))
        judged, plan = self._rules.decide_on_syn(facts, header_follows=self._accepts_header)
        return (facts._replace(judged=judged) if judged else facts), plan

    def _still_refuses(self, match: Match) -> bool:
        """Whether the rule still has the connect fault that it had when it matched."""
        return any(
            rule.name == match.rule and rule.faults.connect == match.faults.connect for rule in self._rules.rules
        )


def _as_told(facts: ConnectionFacts, ends: ConnectionEnds) -> ConnectionFacts:
    """A connection as its header has it."""
    return facts._replace(
        client=ends.client,
        client_port=ends.client_port,
        destination=ends.destination,
        destination_port=ends.destination_port,
    )
