"""The SYN gate: each client's first packet comes here before the kernel answers it.

A filter on the listener drops every SYN that has not the gate's mark; raw sockets receive a copy of each.
What is to be accepted is sent again with the mark, and the kernel then shakes hands with the client as if nothing
had been. Raw sockets are served before TCP (net/ipv4/ip_input.c), so no SYN is missed; and as filter and sockets die
with the process, nothing is left behind.
"""

import errno
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import trio

from faultproxy.kernel import raw_socket, raw_tcp, socket_filter
from faultproxy.kernel.raw_tcp import Syn
from faultproxy.relay import Poller

_BATCH = 64
_MOST_WAITING = 16384
_MOST_SETTLED = 8192
_ON_THE_WAY_S = 1.0
_LAST_RETRANSMISSION_S = 75.0  # the longest pause of a client's kernel is 64 s (tcp(7), tcp_syn_retries)

Key = tuple[str, int, str]
"""The client's address and port, and the address that it knocked at."""

Answer = Callable[[Syn], bytes]


class Knock:
    """A client's first packet. What is answered to it, is answered to its retransmissions.

    ``visit`` is whatever the one who answers wants to find again when the connection is accepted.
    """

    __slots__ = ("_answer", "_gate", "_scope", "_syn", "heard_at", "is_accepted", "key", "sequence", "visit")

    def __init__(self, gate: "SynGate", key: Key, syn: Syn, scope: int) -> None:
        self.key = key
        self.sequence = syn.sequence
        self.visit: object = None
        self.heard_at = trio.current_time()
        self.is_accepted = False
        self._gate = gate
        self._syn: Syn | None = syn
        self._scope = scope
        self._answer: Answer | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the client has got an answer; if not, it may knock again."""
        return self._answer is not None

    def accept(self) -> None:
        """Let the kernel shake hands, unless the client has another answer already."""
        self.is_accepted = self.is_accepted or not self.is_answered
        self._reply(raw_tcp.again)

    def refuse(self) -> None:
        """RST: ``connect()`` fails with ECONNREFUSED."""
        self._reply(raw_tcp.refusal)

    def unreachable(self, what: Literal["host", "net"]) -> None:
        """ICMP: ``connect()`` fails with EHOSTUNREACH or ENETUNREACH."""
        self._reply(partial(raw_tcp.unreachable, what=what))

    def ignore(self) -> None:
        """Silence, as it is until there is an answer."""

    def again(self, gate: "SynGate", syn: Syn) -> bool:
        """The client has sent its SYN again; whether it had been answered, and so was again."""
        self._gate = gate
        self.heard_at = trio.current_time()
        if self._answer is None:
            self._syn = syn
            return False
        self._gate.send(self._answer(syn), syn, self._scope, is_marked=self.is_accepted)
        return True

    def _reply(self, answer: Answer) -> None:
        if self._syn is not None:
            self._answer = answer
            syn, self._syn = self._syn, None
            self.heard_at = trio.current_time()
            self._gate.send(answer(syn), syn, self._scope, is_marked=self.is_accepted)
            self._gate.memory.answered(self)


class Memory:
    """Who has knocked, as far as that still matters. Bounded, so that forged SYNs gain nothing: the oldest go."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Key, Knock] = OrderedDict()
        self._on_the_way: OrderedDict[Key, Knock] = OrderedDict()
        self._settled: OrderedDict[Key, Knock] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._on_the_way) + len(self._settled)

    def on_the_way(self, now: float) -> int:
        """How many were let in within the last second and are not accepted yet."""
        while self._on_the_way:
            key, knock = next(iter(self._on_the_way.items()))
            if knock.heard_at > now - _ON_THE_WAY_S:
                break
            self._on_the_way.popitem(last=False)
            _put(self._waiting, key, knock, _MOST_WAITING)
        return len(self._on_the_way)

    def recall(self, key: Key, sequence: int) -> Knock | None:
        """The knock that a SYN repeats."""
        for table in (self._waiting, self._on_the_way, self._settled):
            knock = table.get(key)
            if knock is not None:
                if knock.sequence == sequence:
                    return knock
                del table[key]  # its client has given up, and begun anew from the same port
        return None

    def came(self, knock: Knock) -> None:
        """Remember a new knock."""
        _put(self._waiting, knock.key, knock, _MOST_WAITING)

    def answered(self, knock: Knock) -> None:
        """A knock has got its answer."""
        self._waiting.pop(knock.key, None)
        if knock.is_accepted:
            _put(self._on_the_way, knock.key, knock, _MOST_WAITING)
        else:
            _put(self._settled, knock.key, knock, _MOST_SETTLED)

    def join(self, key: Key, now: float) -> Knock | None:
        """The knock of a connection that is accepted now; None if it is not known.

        What was refused does not count: that client has begun anew from the same port, past the gate.
        """
        knock = self._on_the_way.pop(key, None) or self._waiting.pop(key, None)
        if knock is None:
            return None
        _put(self._settled, key, knock, _MOST_SETTLED)
        return knock if knock.heard_at > now - _LAST_RETRANSMISSION_S else None


class NotAllowed(Exception):
    """This host, or its privileges, do not let SYNs be judged; the text says what is missing."""


class SynGate:
    """The filter and the raw sockets of one listener; closed by close(), or else by the end of the process.

    Raises NotAllowed.
    """

    def __init__(self, listener: socket.socket, memory: Memory) -> None:
        self.memory = memory
        self._unheard: Callable[[], None] = _nothing
        self._receivers: list[socket.socket] = []
        self._senders: dict[tuple[int, bool], socket.socket] = {}
        host, self._port = listener.getsockname()[:2]
        self._host = None if host in {"0.0.0.0", "::"} else host
        mark = raw_socket.new_mark()
        what = "raw sockets are"
        try:
            for family in _families(listener):
                self._senders[family, True] = raw_socket.sender(family, mark)
                self._senders[family, False] = raw_socket.sender(family)
                self._receivers.append(raw_socket.receiver(listener, family, mark))
            what = "a filter on the listener is"
            socket_filter.attach(listener, socket_filter.drop_syns(unless_mark=mark))
        except OSError as error:
            self.close()
            name = errno.errorcode.get(error.errno or 0, str(error))
            raise NotAllowed(f"{what} not allowed here ({name})") from None

    @property
    def descriptors(self) -> int:
        """How many it takes."""
        return len(self._receivers) + len(self._senders)

    def close(self) -> None:
        """Hear and answer no more. Whoever owns the listener changes its filter."""
        self._unheard()
        for sock in (*self._receivers, *self._senders.values()):
            sock.close()
        self._receivers, self._senders = [], {}

    def serve(self, poller: Poller, meet: Callable[[Knock], None]) -> None:
        """Have each knock met that has no answer yet, until the gate is closed or served otherwise.

        In the poller's own task: a way through trio would cost the client more than all the rest.
        """
        self._unheard()
        endpoints = [poller.listen(receiver, partial(self._meet_all, receiver, meet)) for receiver in self._receivers]

        def unheard() -> None:
            for endpoint in endpoints:
                poller.ignore(endpoint)
            self._unheard = _nothing

        self._unheard = unheard

    def heard(self) -> Iterator[Knock]:
        """The knocks that have come and have no answer yet; those that have one are answered again."""
        for receiver in self._receivers:
            while batch := list(self._hear(receiver)):
                yield from (knock for knock in batch if knock is not None)

    def forget_waiting(self) -> None:
        """Throw away what has been heard while the listener was shut: the kernel has refused it."""
        for receiver in self._receivers:
            while list(raw_socket.receive(receiver, _BATCH)):
                pass

    def send(self, packet: bytes, syn: Syn, scope: int, *, is_marked: bool) -> None:
        """Send a packet on to the listener, with the mark, or back to the client."""
        sender = self._senders.get((syn.family, is_marked))
        if sender is not None:
            raw_socket.send(sender, packet, syn.destination if is_marked else syn.source, scope)

    def _meet_all(self, receiver: socket.socket, meet: Callable[[Knock], None]) -> None:
        for knock in self._hear(receiver):
            if knock is not None:
                meet(knock)

    def _hear(self, receiver: socket.socket) -> Iterator[Knock | None]:
        for syn, scope in raw_socket.receive(receiver, _BATCH):
            yield self._recognise(syn, scope) if syn is not None else None

    def _recognise(self, syn: Syn, scope: int) -> Knock | None:
        key = _text(syn.source), syn.source_port, _text(syn.destination)
        if syn.destination_port != self._port or self._host not in {None, key[2]}:
            return None  # it came before the receiver had its filter and was bound
        knock = self.memory.recall(key, syn.sequence)
        if knock is None:
            knock = Knock(self, key, syn, scope)
            self.memory.came(knock)
            return knock
        return None if knock.again(self, syn) else knock


def _nothing() -> None:
    """Nobody listens."""


def _families(listener: socket.socket) -> list[int]:
    if listener.family == socket.AF_INET6 and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return [socket.AF_INET, socket.AF_INET6]
    return [listener.family]


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _put(table: OrderedDict[Key, Knock], key: Key, knock: Knock, most: int) -> None:
    table[key] = knock
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)
