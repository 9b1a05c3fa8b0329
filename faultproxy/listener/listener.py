"""The listener: one socket, and one mode that says what becomes of those who connect.

Everything that changes what the kernel does with SYNs lives here. How one mode becomes another is a table of steps.
On the way no client is lost: whom the kernel has accepted by then waits for accept(), whose SYN has come by then is
judged by the rules as they are before the change.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from time import sleep  # noqa: TID251  # for 50 us, when a listener closes
from types import MappingProxyType

from faultproxy.addresses import TcpAddress
from faultproxy.faults.base import ListenerMode
from faultproxy.kernel import original_dst, routes, socket_filter, sockets
from faultproxy.listener.listening_socket import Accepted, ListeningSocket
from faultproxy.listener.syn_intercept import NotAllowed, SynInterceptor, SynSockets
from faultproxy.listener.syn_table import HalfOpen, SynTable
from faultproxy.relay import Poller

_EXPIRE_EVERY_S = 30.0
_HANDSHAKE_S = 0.00005  # connect() takes about 30 us on loopback
_ALL = frozenset({"", "0.0.0.0", "::"})

CLOSED, OPEN, SILENT, INTERCEPTING = ListenerMode


class Listener:
    """A listening socket, bound when made, CLOSED at first. Raises OSError if the address cannot be had.

    ``address`` is the real one: with the kernel's choice of port, if the configuration left it open.
    ``why_not_intercepting`` is why it could not intercept SYNs when that was asked for last; None if it could.
    """

    has_syns = True

    def __init__(self, address: TcpAddress, host: str, syn_sockets: SynSockets) -> None:
        self.configured = address
        self.mode = CLOSED
        self.why_not_intercepting: str | None = None
        self._follows_tproxy = False
        self._socket = _Socket(sockets.bind(host, address.port), syn_sockets)
        real_host, port = self._socket.sock.getsockname()[:2]
        self.address = TcpAddress(address.host and real_host, port)

    def on_the_way(self) -> int:
        """How many handshakes were let through within the last second, and are yet to be accepted."""
        return self._socket.table.on_the_way()

    def set_mode(self, mode: ListenerMode, otherwise: ListenerMode = OPEN) -> None:
        """Take another mode, or have those judged who wait if it is the same; accept() those who waited at once.

        Where it may not intercept, it takes the mode ``otherwise``; where it may not be silent, it is OPEN. Raises
        OSError (EADDRINUSE) when another process took the port while it was CLOSED: it stays so.
        """
        try:
            self._change(mode)
        except NotAllowed as error:
            if mode is INTERCEPTING:
                self.why_not_intercepting = str(error)
            self.set_mode(otherwise if mode is INTERCEPTING else OPEN)
        else:
            if mode is INTERCEPTING:
                self.why_not_intercepting = None

    def is_at(self, host: str, port: int) -> bool:
        """Whether who connects to this IP address and port arrives here, if nothing leads him away. Raises OSError."""
        return port == self.address.port and (
            host == self.address.host or (self.address.host in _ALL and routes.is_local(host))
        )

    def set_keepalive(self, idle_s: float | None) -> None:
        """Have clients who connect from now on asked, after so long without a byte, whether they are there.

        None: never.
        """
        sockets.keep_alive(self._socket.sock, idle_s)

    def follow_tproxy(self, *, on: bool) -> None:
        """Whether it is given connections to other addresses, which TPROXY leads here, and hears their SYNs.

        Where that is not allowed, it is given none.
        """
        if on is not self._follows_tproxy:
            self._follows_tproxy = on
            self.set_mode(OPEN if self.mode is INTERCEPTING else self.mode)
            self._socket.interceptor.follow_tproxy(on=on)
            with suppress(PermissionError):
                original_dst.set_transparent(self._socket.sock, on=on)

    def accept(self, most: int) -> Iterator[Accepted]:
        """Those who waited when the mode changed, all of them, then up to ``most`` others who wait now.

        Raises OutOfResources if there is no descriptor or memory for the first of the others: they wait on.
        """
        return self._socket.accept(most)

    def attach(self, poller: Poller, on_acceptable: Callable[[], None], on_syn: Callable[[HalfOpen], None]) -> None:
        """Call these functions, which must not raise, when clients wait to be accepted, and for each SYN to be judged.

        ``on_syn`` is called for every SYN that has no answer yet, retransmissions included.
        """
        self._socket.attach(poller, on_acceptable)
        self._socket.judge(on_syn)

    def detach(self, most: int) -> None:
        """Call them no more. Whose SYN has come is judged first; clients that are held are accepted.

        Whom the kernel has accepted, up to ``most`` of them, waits for accept().
        """
        if self.mode is INTERCEPTING:
            _hear_syns(self._socket)
            _accept_held(self._socket)
        if self.mode is not CLOSED:
            self._socket.drain_queue(most)
        self._socket.detach()

    def pause(self) -> None:
        """Leave those who connect in the kernel's queue, until resume()."""
        self._socket.pause()

    def resume(self) -> None:
        """Report again that clients wait to be accepted."""
        self._socket.resume()

    def close(self) -> None:
        """Give the address back, for good. Those who waited are still to be taken by accept()."""
        self.set_mode(CLOSED)
        self._socket.detach()
        self._socket.sock.close()

    def _change(self, mode: ListenerMode) -> None:
        before = self.mode
        for step in STEPS[before, mode]:
            step(self._socket)
        self.mode = mode


class _Socket(ListeningSocket):
    """What the steps act on: the socket, its filter, and its interceptor."""

    def __init__(self, sock: socket.socket, syn_sockets: SynSockets) -> None:
        super().__init__(sock)
        self.table = SynTable()
        self.interceptor = SynInterceptor(sock, syn_sockets, self.table)
        self.has_been_filtered = False
        self._is_expiring = False

    def clients(self, most: int) -> Iterator[Accepted]:
        for sock, host, port in sockets.accept_waiting(self.sock, most):
            half_open = None
            if self.has_been_filtered:  # accepted sockets inherit their listener's filter
                socket_filter.detach(sock)
                half_open = self._join(sock, host, port) if len(self.table) else None
            yield sock, host, port, half_open

    def judge(self, on_syn: Callable[[HalfOpen], None]) -> None:
        """Call this function for each SYN to be judged, until detach()."""
        self.interceptor.on_syn = on_syn
        if self.interceptor.queue:
            self.interceptor.serve()
        if self.interceptor.drops_syns or len(self.table):
            self.expire_later()

    def detach(self) -> None:
        super().detach()
        self.interceptor.on_syn = None

    def expire_later(self) -> None:
        """Forget SYNs now and then, until none is left and no more come."""
        if self.poller is not None and not self._is_expiring:
            self._is_expiring = True
            self.poller.call_at(self.table.clock() + _EXPIRE_EVERY_S, self._expire)

    def _expire(self) -> None:
        self._is_expiring = False
        self.table.expire()
        if len(self.table) or self.interceptor.drops_syns:
            self.expire_later()

    def _join(self, sock: socket.socket, host: str, port: int) -> HalfOpen | None:
        try:
            return self.table.join((host, port, *sockets.local_address(sock)))
        except OSError:  # its client has reset it already
            return None


# ---- the steps: functions of one step each, in the order that the table gives ----------------------------------------

Step = Callable[[_Socket], None]


def _listen(state: _Socket) -> None:
    """Raises OSError: the port is another's, and so are the SYNs that come to it."""
    try:
        state.listen()
    except OSError:
        if state.interceptor.drops_syns:
            state.interceptor.stop()
        raise


def _shut_down(state: _Socket) -> None:
    """The kernel refuses from now on. Established connections live on, and listen(2) revives it."""
    state.stop_listening()
    state.sock.shutdown(socket.SHUT_RD)


def _drop_syns(state: _Socket) -> None:
    """From now on SYNs have no answer."""
    try:
        socket_filter.attach(state.sock, socket_filter.drop_syns())
    except OSError as error:
        raise NotAllowed(f"a filter on the listener is not allowed here ({error.strerror})") from None
    state.has_been_filtered = True


def _try_to_drop_syns(state: _Socket) -> None:
    """Where that is not allowed, a client whose SYN comes while the queue is drained is reset."""
    with suppress(NotAllowed):
        _drop_syns(state)


def _answer_syns(state: _Socket) -> None:
    """From now on the kernel answers SYNs."""
    if state.has_been_filtered:
        socket_filter.detach(state.sock)
    state.interceptor.drops_syns = False


def _finish_handshakes(_: _Socket) -> None:
    """Those that have begun on this host end: who is accepted after the queue was drained is reset.

    A loaded kernel handles a SYN and what follows it in a thread, ksoftirqd, which may wait for our processor.
    """
    sleep(_HANDSHAKE_S)


def _drain_queue(state: _Socket) -> None:
    """Whom the kernel has accepted has had an answer."""
    state.drain_queue()


def _intercept(state: _Socket) -> None:
    """From now on SYNs are heard, and have no answer but what is given by the one who judges them."""
    state.interceptor.start()
    state.has_been_filtered = True
    state.expire_later()


def _intercept_while_open(state: _Socket) -> None:
    """The kernel may have answered some of those that are heard first."""
    state.interceptor.start(is_doubtful=True)
    state.has_been_filtered = True
    state.expire_later()


def _hear_syns(state: _Socket) -> None:
    state.interceptor.hear()


def _forget_syns(state: _Socket) -> None:
    """The kernel has refused them, as nobody listened."""
    state.interceptor.forget()


def _accept_held(state: _Socket) -> None:
    for half_open in state.table.held:
        half_open.accept()


def _refuse_held(state: _Socket) -> None:
    """As the kernel refuses those who come now."""
    for half_open in state.table.held:
        half_open.refuse()


def _stop_intercepting(state: _Socket) -> None:
    state.interceptor.stop()


STEPS: Mapping[tuple[ListenerMode, ListenerMode], tuple[Step, ...]] = MappingProxyType(
    {
        (CLOSED, CLOSED): (),
        (CLOSED, OPEN): (_answer_syns, _listen),
        (CLOSED, SILENT): (_drop_syns, _listen),
        (CLOSED, INTERCEPTING): (_intercept, _forget_syns, _listen),
        (OPEN, CLOSED): (_try_to_drop_syns, _finish_handshakes, _drain_queue, _shut_down),
        (OPEN, OPEN): (),
        (OPEN, SILENT): (_drop_syns, _drain_queue),
        (OPEN, INTERCEPTING): (_intercept_while_open, _hear_syns),
        (SILENT, CLOSED): (_drain_queue, _shut_down),
        (SILENT, OPEN): (_answer_syns,),
        (SILENT, SILENT): (),
        (SILENT, INTERCEPTING): (_intercept,),
        (INTERCEPTING, CLOSED): (
            _hear_syns,
            _refuse_held,
            _try_to_drop_syns,
            _stop_intercepting,
            _finish_handshakes,
            _drain_queue,
            _shut_down,
        ),
        (INTERCEPTING, OPEN): (_hear_syns, _answer_syns, _hear_syns, _accept_held, _stop_intercepting),
        (INTERCEPTING, SILENT): (_hear_syns, _accept_held, _drop_syns, _stop_intercepting, _drain_queue),
        (INTERCEPTING, INTERCEPTING): (_hear_syns,),
    }
)
