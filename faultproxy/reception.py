"""The reception: what becomes of a client before it has a connection. Its SYN is judged, told of, held, answered.

While the gate sees SYNs, an upstream that cannot be reached is mirrored too: it is dialled first, and if
that fails, ``connect()`` fails in the same way.
"""

import errno
import socket
from dataclasses import replace
from typing import Protocol

import trio

from faultproxy.addresses import host_port
from faultproxy.config.schema import ProxyConfig
from faultproxy.dial import Attempt, begin, dial, error_name
from faultproxy.events.bus import Bus
from faultproxy.events.types import ConnectionCrashed, FaultDryRun, FaultInjected, UpstreamFailed
from faultproxy.faults.base import Connect, ConnectShape, options
from faultproxy.kernel import sockets
from faultproxy.relay import Poller
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.plan import UNTOUCHED, Match, Plan
from faultproxy.syn_gate import Knock, SynGate

_MOST_HELD = 4096
_TOO_MANY = f"it is let in at once: {_MOST_HELD} clients are held already"
_MOST_MIRRORED = 256
_MIRRORED_S = 3.0


class Home(Protocol):
    """What the reception needs of the proxy it belongs to."""

    name: str
    config: ProxyConfig
    bus: Bus
    poller: Poller

    def admit(self, host: str) -> tuple[ConnectionFacts, Plan]:
        """Number a client that comes now, and read the rules for it as far as its SYN can tell."""

    def would_still(self, hit: Match) -> bool:
        """Whether the rule still has the connect fault that it had when it hit."""


class Visit:
    """What is known of a client from its SYN on.

    ``is_exact`` says that its faults before the handshake were carried out as asked, ``faults`` which these were;
    ``server`` is the upstream, dialled already: whoever takes it closes it.
    """

    __slots__ = ("arrival", "decision", "failure", "faults", "home", "is_exact", "server", "taken")

    def __init__(self, home: Home, arrival: ConnectionFacts, decision: Plan) -> None:
        self.home = home
        self.arrival = arrival
        self.decision = decision
        self.is_exact = False
        self.faults: list[str] = []
        self.failure: str | None = None
        self.server: socket.socket | None = None
        self.taken = trio.Event()

    def leave_alone(self) -> None:
        """It is let in after all, untouched."""
        self.arrival, self.decision = replace(self.arrival, judged={}), UNTOUCHED

    def take_server(self) -> socket.socket | None:
        """The upstream, if it was dialled already. It is the caller's from now on."""
        server, self.server = self.server, None
        self.taken.set()
        return server


class Reception:
    """Meets the clients of one proxy whose SYNs a gate has seen. Its tasks run in ``nursery``."""

    def __init__(self, home: Home, nursery: trio.Nursery) -> None:
        self._home = home
        self._nursery = nursery
        self._syns: SynGate | None = None
        self._held: dict[Knock, trio.CancelScope] = {}
        self._mirrored = 0

    def attend(self, syns: SynGate | None) -> None:
        """Meet the clients of this gate from now on, and no other's."""
        if syns is not self._syns:
            self._syns = syns
            if syns is not None:
                syns.serve(self._home.poller, self.meet)

    def meet_waiting(self, syns: SynGate, *, is_sure: bool = True) -> None:
        """Meet those who have knocked before now.

        If it is not sure that the kernel has left them to the gate, those who are to be kept out get no answer yet:
        unless the kernel has given one, they knock again.
        """
        for knock in syns.heard():
            self.meet(knock, is_sure=is_sure)

    def let_in(self) -> None:
        """Let in at once whom a delay or the upstream keeps waiting."""
        for knock, scope in tuple(self._held.items()):
            knock.accept()
            scope.cancel()

    def turn_away(self) -> None:
        """Refuse whom a delay or the upstream keeps waiting, as the kernel refuses those who come now."""
        for knock, scope in tuple(self._held.items()):
            knock.refuse()
            scope.cancel()

    def meet(self, knock: Knock, *, is_sure: bool = True) -> None:
        """A client has sent a SYN that has no answer yet. Never raises: a bug is told, and the client is let in."""
        try:
            visit = knock.visit
            if not isinstance(visit, Visit) or visit.home is not self._home:
                visit = knock.visit = Visit(self._home, *self._home.admit(knock.key[0]))
            if visit.is_exact:
                self._meet_again(knock, visit)
            elif is_sure or visit.decision.refusal is None:
                visit.is_exact = True
                self._receive(knock, visit)
        except Exception as error:  # noqa: BLE001  # no packet may stop the gate
            self._crashed(knock, error)
            knock.accept()

    def recognise(self, knock: Knock | None) -> Visit | None:
        """What is known of a client that is accepted now."""
        visit = knock.visit if knock is not None else None
        if knock is None or not isinstance(visit, Visit) or visit.home is not self._home:
            return None
        if visit.is_exact and visit.decision.refusal is not None:  # ignored, until the gate was taken away
            visit.leave_alone()
        return visit

    def _meet_again(self, knock: Knock, visit: Visit) -> None:
        if knock in self._held:
            return
        verdict = visit.decision.verdict
        if verdict is not None and visit.decision.refusal is not None:
            if self._home.would_still(verdict):
                return
            visit.leave_alone()  # an edit has taken away what kept the client out
        self._usher(knock, visit, 0.0)

    def _receive(self, knock: Knock, visit: Visit) -> None:
        decision = visit.decision
        for hit in decision.dry_runs:
            for fault in (hit.connect, hit.connect_delay):
                if fault is not None:
                    self._tell(knock, visit, hit, fault)
        refusal = decision.refusal
        if decision.verdict is not None and refusal is not None:
            refusal.answer(knock)
            self._tell(knock, visit, decision.verdict, refusal)
            return
        delay_s = 0.0
        degraded = _TOO_MANY if len(self._held) >= _MOST_HELD else None
        for hit in decision.matches:
            delay = hit.connect_delay
            if delay is not None:
                delay_s += delay.delay
                self._tell(knock, visit, hit, delay, degraded)
        self._usher(knock, visit, delay_s)

    def _usher(self, knock: Knock, visit: Visit, delay_s: float) -> None:
        mirrors = self._mirrors(visit)
        if not (delay_s or mirrors) or len(self._held) >= _MOST_HELD:
            knock.accept()
            return
        begun = None
        if not delay_s:
            try:
                begun = begin(self._home.config.upstream)
            except OSError as error:
                self._turn_down(knock, visit, error)
                return
            self._mirrored += 1
        if begun is not None and begun.is_over:  # a task would cost the client a way through trio
            visit.server = begun.sock
            knock.accept()
            self._nursery.start_soon(self._keep_server, visit)
        else:
            scope = self._held[knock] = trio.CancelScope()
            self._nursery.start_soon(self._lead_in, knock, visit, delay_s, scope, begun)
            self._home.poller.yield_soon = True

    async def _lead_in(
        self, knock: Knock, visit: Visit, delay_s: float, scope: trio.CancelScope, begun: Attempt | None
    ) -> None:
        mirrors = not delay_s
        try:
            with scope:
                if delay_s:
                    await trio.sleep(delay_s)
                    mirrors = self._mirrors(visit)
                    self._mirrored += mirrors
                if mirrors:
                    visit.server = await self._mirror(knock, visit, begun)
                else:
                    knock.accept()
        except Exception as error:  # noqa: BLE001  # a bug must not keep a client out; it is told
            self._crashed(knock, error)
            knock.accept()
        finally:
            del self._held[knock]
        if visit.server is not None:
            knock.accept()
            await self._keep_server(visit)
        elif mirrors:
            self._mirrored -= 1

    def _mirrors(self, visit: Visit) -> bool:
        endings = (ending for hit in visit.decision.matches for ending in hit.triggered)
        is_undialled = any(ending.after.at_once and not ending.touches_server for ending in endings)
        return self._mirrored < _MOST_MIRRORED and not is_undialled

    async def _mirror(self, knock: Knock, visit: Visit, begun: Attempt | None) -> socket.socket | None:
        """Dial the upstream first, and if that fails have ``connect()`` fail alike."""
        timeout_s = self._home.config.dial_timeout
        patience = trio.move_on_after(min(timeout_s, _MIRRORED_S))
        try:
            with patience:
                return await dial(self._home.config.upstream, self._home.poller, begun)
        except OSError as error:
            self._turn_down(knock, visit, error)
        if patience.cancelled_caught:
            if timeout_s > _MIRRORED_S:
                knock.accept()
            else:
                self._tell_failure(knock, visit, "ETIMEDOUT")
        return None

    def _turn_down(self, knock: Knock, visit: Visit, error: OSError) -> None:
        if error.errno == errno.ECONNREFUSED:
            knock.refuse()
        elif error.errno == errno.EHOSTUNREACH:
            knock.unreachable("host")
        elif error.errno == errno.ENETUNREACH:
            knock.unreachable("net")
        elif error.errno != errno.ETIMEDOUT:
            knock.accept()  # no answer to a SYN says this; its connection will
            return
        self._tell_failure(knock, visit, error_name(error))

    async def _keep_server(self, visit: Visit) -> None:
        """Until the client has shaken hands; one that does not must not hold the upstream for long."""
        try:
            with trio.move_on_after(_MIRRORED_S):
                await visit.taken.wait()
        finally:
            self._mirrored -= 1
            server = visit.take_server()
            if server is not None:
                sockets.end(server)

    def _tell_failure(self, knock: Knock, visit: Visit, error: str) -> None:
        """Once for a connection, however often its SYN comes again."""
        if visit.failure == error:
            return
        visit.failure = error
        elapsed_s = trio.current_time() - visit.arrival.at_s
        self._home.bus.publish(
            UpstreamFailed(
                proxy=self._home.name,
                connection=self._id(visit),
                client=_client(knock),
                upstream=str(self._home.config.upstream),
                error=error,
                elapsed_ms=elapsed_s * 1000,
            )
        )

    def _tell(
        self, knock: Knock, visit: Visit, hit: Match, fault: Connect | ConnectShape, degraded: str | None = None
    ) -> None:
        sees = fault.connect_returns() if isinstance(fault, Connect) else fault.client_sees
        is_dry_run = hit.dry_run
        event = (FaultDryRun if is_dry_run else FaultInjected)(
            proxy=self._home.name,
            connection=self._id(visit),
            client=_client(knock),
            upstream=str(self._home.config.upstream),
            rule=hit.rule,
            fault=fault.key,
            ordinal=hit.ordinal,
            options=options(fault),
            trigger="connect",
            client_sees=sees if degraded is None else "nothing",
            degraded=degraded,
            bytes_upstream=0,
            bytes_downstream=0,
            elapsed_ms=(trio.current_time() - visit.arrival.at_s) * 1000,
        )
        if not is_dry_run:
            visit.faults.append(fault.key)
        self._home.bus.publish(event)

    def _crashed(self, knock: Knock, error: Exception) -> None:
        self._home.bus.publish(ConnectionCrashed.because_of(error, proxy=self._home.name, connection=_client(knock)))

    def _id(self, visit: Visit) -> str:
        return f"{self._home.name}#{visit.arrival.number}"


def _client(knock: Knock) -> str:
    host, port, _ = knock.key
    return host_port(host, port)
