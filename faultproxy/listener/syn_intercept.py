"""SYN interception: each client's first packet is heard here before the kernel answers it.

A filter on the listener drops every SYN that has not this process's mark; raw sockets receive a copy of each.
What is to be accepted is sent again with the mark, and the kernel then shakes hands with the client as if nothing
had been. Raw sockets are served before TCP (net/ipv4/ip_input.c), so no SYN is missed; and as filter and sockets die
with the process, nothing is left behind.

The kernel hands a clone of every TCP packet of the network namespace to every raw TCP socket's filter. So there is one
for each family, whose filter knows the ports, however many listeners intercept.
"""

import errno
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from types import MappingProxyType

from faultproxy.kernel import raw_socket, routes, socket_filter
from faultproxy.kernel.original_dst import MARK, SENT_AGAIN
from faultproxy.kernel.raw_tcp import Syn
from faultproxy.listener.syn_table import HalfOpen, Send, SynTable
from faultproxy.relay import Poller
from faultproxy.relay.poller import Endpoint

_READ_AT_ONCE = 256
_JUDGED_AT_ONCE = 32
_HEARD_AT_A_CHANGE = 512
_MOST_QUEUED = 4096
_DOUBT_S = 1.0
_ELSEWHERE = MappingProxyType({int(socket.AF_INET): "192.0.2.1", int(socket.AF_INET6): "2001:db8::1"})
_ONLY_TPROXY = "a SYN cannot be judged behind a REDIRECT, only with TPROXY (faultproxy intercept --tproxy)"

_Place = tuple[int, int, bytes | None]
"""A family, a port, and an address; None: all addresses."""


class NotAllowed(Exception):
    """This host, or its privileges, do not let SYNs be heard or dropped; the text says what is missing."""


class SynSockets:
    """The raw sockets by which a process hears and answers SYNs, shared by its interceptors, and open while it has any.

    A stranger may send SYNs faster than they can be judged. Those of each interceptor wait in a queue of its own, of
    bounded length, and a few of each queue are judged in a batch of the poller's: so the others go on.

    With ``tproxy_port`` they hear those that TPROXY leads to the listener at that port: by their mark, to whatever
    address and port they are sent.
    """

    def __init__(self, poller: Poller, tproxy_port: int | None = None) -> None:
        self.mark = raw_socket.new_mark() if tproxy_port is None else SENT_AGAIN | tproxy_port
        self.heard_mark = None if tproxy_port is None else MARK | tproxy_port
        self._by_port: dict[int, SynSockets] = {}
        self._poller = poller
        self._receivers: dict[int, socket.socket] = {}
        self._senders: dict[tuple[int, bool], socket.socket] = {}
        self._sends: dict[int, Send] = {}  # by scope: one for all SYNs, as there may be thousands
        self._endpoints: dict[int, Endpoint] = {}
        self._interceptors: dict[_Place, SynInterceptor] = {}
        self._in_doubt: dict[SynInterceptor, float] = {}
        self._is_scheduled = False

    @property
    def descriptors(self) -> int:
        """How many are open: up to six, two families' receivers, and senders with the mark and without."""
        return len(self._receivers) + len(self._senders) + sum(each.descriptors for each in self._by_port.values())

    def of_tproxy(self, port: int) -> "SynSockets":
        """Those that hear the SYNs that TPROXY leads to the listener at this port."""
        return self._by_port.setdefault(port, SynSockets(self._poller, port))

    def add(self, interceptor: "SynInterceptor", *, is_doubtful: bool) -> None:
        """Hear the SYNs of one more interceptor. Raises OSError.

        If ``is_doubtful``, SYNs are marked as such as long as they may have come before its listener dropped them.
        """
        for place in interceptor.places:
            self._interceptors[place] = interceptor
        if is_doubtful:
            self._in_doubt[interceptor] = monotonic() + _DOUBT_S
        try:
            self._follow_interceptors()
        except OSError:
            self.remove(interceptor)
            raise

    def remove(self, interceptor: "SynInterceptor") -> None:
        """Hear its SYNs no more."""
        for place in interceptor.places:
            if self._interceptors.get(place) is interceptor:
                del self._interceptors[place]
        self._in_doubt.pop(interceptor, None)
        self._follow_interceptors()

    def read(self, most: int) -> None:
        """Move SYNs, up to so many of each family, from the kernel's queues into those of their interceptors."""
        is_all = True
        for family, receiver in self._receivers.items():
            count = 0
            for syn, scope in raw_socket.receive(receiver, most):
                count += 1
                if syn is not None:
                    self._queue(family, syn, scope)
            is_all = is_all and count < most
        if self._in_doubt:
            now = monotonic()
            for interceptor, until in tuple(self._in_doubt.items()):
                if is_all or now > until:
                    del self._in_doubt[interceptor]

    def serve(self) -> None:
        """Have some SYNs of each queue judged, now and in the poller's next batches until all are empty."""
        is_more = False
        for interceptor in tuple(dict.fromkeys(self._interceptors.values())):
            interceptor.judge(_JUDGED_AT_ONCE)
            is_more = is_more or interceptor.has_more
        if is_more and not self._is_scheduled:
            self._is_scheduled = True
            self._poller.call_at(monotonic(), self._serve_rest)

    def send(self, scope: int) -> Send:
        """The function that answers SYNs whose addresses have this scope (ipv6(7), sin6_scope_id; 0 with IPv4)."""
        return self._sends.get(scope) or self._sends.setdefault(scope, partial(self._send, scope))

    def _send(self, scope: int, syn: Syn, packet: bytes, accepts: bool) -> None:
        """Send a packet on to the listener, with the mark, or back to the client."""
        sender = self._senders.get((syn.family, accepts))
        if sender is not None:
            raw_socket.send(sender, packet, syn.destination if accepts else syn.source, scope)

    def _on_readable(self) -> None:
        self.read(_READ_AT_ONCE)
        if not self._is_scheduled:
            self.serve()

    def _serve_rest(self) -> None:
        self._is_scheduled = False
        self.serve()

    def _queue(self, family: int, syn: Syn, scope: int) -> None:
        if self.heard_mark is None:
            port = syn.destination_port
            exact = self._interceptors.get((family, port, syn.destination))
            interceptor = exact or self._interceptors.get((family, port, None))
        else:
            interceptor = next(iter(self._interceptors.values()), None)
        if interceptor is not None and len(interceptor.queue) < _MOST_QUEUED:
            interceptor.queue.append((syn, scope, interceptor in self._in_doubt or not interceptor.drops_syns))

    def _follow_interceptors(self) -> None:
        """Open and close the sockets of each family, and set the ports in their filters."""
        wanted: dict[int, set[int]] = {}
        for family, port, _ in self._interceptors:
            wanted.setdefault(family, set()).add(port)
        for family in [family for family in self._receivers if family not in wanted]:
            self._poller.ignore(self._endpoints.pop(family))
            for sock in (self._receivers.pop(family), *self._take_senders(family)):
                sock.close()
        for family, ports in wanted.items():
            if family not in self._receivers:
                self._open(family)
            if self.heard_mark is None:
                raw_socket.hear_ports(self._receivers[family], ports, self.mark)
            else:
                raw_socket.hear_mark(self._receivers[family], self.heard_mark)

    def _open(self, family: int) -> None:
        try:
            self._senders[family, True] = raw_socket.sender(family, self.mark)
            self._senders[family, False] = raw_socket.sender(family)
            receiver = self._receivers[family] = raw_socket.receiver(family)
        except OSError:
            for sock in self._take_senders(family):
                sock.close()
            raise
        self._endpoints[family] = self._poller.listen(receiver, self._on_readable)

    def _take_senders(self, family: int) -> list[socket.socket]:
        keys = [key for key in self._senders if key[0] == family]
        return [self._senders.pop(key) for key in keys]


class SynInterceptor:
    """Hears the SYNs of one listener, and hands those that have no answer yet to ``on_syn``.

    ``drops_syns`` is whether the listener leaves SYNs to the interceptor, and does not answer them itself. Until
    there is an ``on_syn``, SYNs wait.
    """

    def __init__(self, listener: socket.socket, sockets: SynSockets, table: SynTable) -> None:
        self.queue: deque[tuple[Syn, int, bool]] = deque()
        self.places = tuple(_places(listener))
        self.drops_syns = False
        self.on_syn: Callable[[HalfOpen], None] | None = None
        self._listener = listener
        self._all_sockets = self._sockets = sockets
        self._table = table

    @property
    def has_more(self) -> bool:
        """Whether SYNs wait that can be judged."""
        return bool(self.queue) and self.on_syn is not None

    def follow_tproxy(self, *, on: bool) -> None:
        """Whether those SYNs are heard that TPROXY leads to the listener. Between stop() and start()."""
        port: int = self._listener.getsockname()[1]
        self._sockets = self._all_sockets.of_tproxy(port) if on else self._all_sockets

    def start(self, *, is_doubtful: bool = False) -> None:
        """Take the SYNs from the listener. Raises NotAllowed.

        ``is_doubtful`` says that until now it has answered them, perhaps some of those that are heard first.
        """
        heard = self._sockets.heard_mark
        if heard is not None and not any(_is_led_here(family, heard) for family, _, _ in self.places):
            raise NotAllowed(_ONLY_TPROXY)
        what = "raw sockets are"
        try:
            self._sockets.add(self, is_doubtful=is_doubtful)
            what = "a filter on the listener is"
            drop = (
                socket_filter.drop_syns(self._sockets.mark) if heard is None else socket_filter.drop_marked_syns(heard)
            )
            socket_filter.attach(self._listener, drop)
            self.drops_syns = True
        except OSError as error:
            self._sockets.remove(self)
            name = errno.errorcode.get(error.errno or 0, str(error))
            raise NotAllowed(f"{what} not allowed here ({name})") from None

    def stop(self) -> None:
        """Hear no more SYNs. What the listener does with them, its filter says, which is the caller's to change."""
        self.queue.clear()
        self.drops_syns = False
        self._sockets.remove(self)

    def hear(self) -> None:
        """Have those judged whose SYN has come by now, up to some hundreds; so a flood does not stop everything."""
        self._sockets.read(_HEARD_AT_A_CHANGE)
        self.judge(_HEARD_AT_A_CHANGE)

    def forget(self) -> None:
        """Throw away the SYNs that have come by now."""
        self._sockets.read(_HEARD_AT_A_CHANGE)
        self.queue.clear()

    def serve(self) -> None:
        """Have those judged who wait, soon."""
        self._sockets.serve()

    def judge(self, most: int) -> None:
        """Hand over clients that wait in the queue, up to so many."""
        if self.on_syn is None:
            return
        for _ in range(min(most, len(self.queue))):
            syn, scope, is_doubtful = self.queue.popleft()
            key = _text(syn.source), syn.source_port, _text(syn.destination), syn.destination_port
            half_open = self._table.hear(key, syn, self._sockets.send(scope), is_doubtful=is_doubtful)
            if half_open is not None:
                self.on_syn(half_open)


def _places(listener: socket.socket) -> list[_Place]:
    host, port = listener.getsockname()[:2]
    if host not in {"0.0.0.0", "::"}:
        return [(listener.family, port, socket.inet_pton(listener.family, host))]
    families = [listener.family]
    if listener.family == socket.AF_INET6 and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        families.append(socket.AF_INET)
    return [(family, port, None) for family in families]


def _is_led_here(family: int, mark: int) -> bool:
    """Whether a packet with this mark is delivered on this host, although its destination is elsewhere."""
    try:
        return routes.is_local(_ELSEWHERE[family], mark)
    except OSError:
        return False


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
