"""The table of SYNs that have come: what is answered to one is answered to its retransmissions.

No I/O: packets leave through the function that came with the SYN, and time is asked of the table's clock.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Literal

from faultproxy.kernel import raw_tcp
from faultproxy.kernel.raw_tcp import Syn

_MOST_UNANSWERED = 16384
_MOST_ANSWERED = 8192
_ON_THE_WAY_S = 1.0
_LAST_RETRANSMISSION_S = 75.0  # the longest pause of a client's kernel is 64 s (tcp(7), tcp_syn_retries)

Key = tuple[str, int, str, int]
"""The client's address and port, and the address and port that it connects to."""

Send = Callable[[Syn, bytes, bool], None]
"""Sends a packet in answer to a SYN: on to the listener if that is asked for, else back to the client."""

Answer = Callable[[Syn], bytes]


class HalfOpen:
    """A client whose SYN has come and whose handshake has not begun.

    ``is_doubtful`` says that the kernel may have answered the SYN as well, as it came while the listener's mode
    changed. ``is_accepted`` says that its handshake was let go on. ``note`` is whatever the one who answers wants to
    find again when the connection is accepted.
    """

    __slots__ = (
        "_answer", "_syn", "_table", "heard_at", "is_accepted", "is_doubtful", "key", "note", "send", "sequence",
    )  # fmt: skip

    def __init__(self, table: "SynTable", key: Key, sequence: int, send: Send) -> None:
        self.key = key
        self.sequence = sequence
        self.send = send
        self.heard_at = 0.0
        self.is_accepted = False
        self.is_doubtful = False
        self.note: object = None
        self._table = table
        self._syn: Syn | None = None
        self._answer: Answer | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the client has got an answer; if not, it sends its SYN again."""
        return self._answer is not None

    @property
    def is_held(self) -> bool:
        """Whether somebody holds it, and answers later."""
        return self._table.is_held(self)

    def accept(self) -> None:
        """Let the kernel shake hands, unless the client has another answer already."""
        self._give(raw_tcp.again, accepts=True)

    def refuse(self) -> None:
        """RST: ``connect()`` fails with ECONNREFUSED."""
        self._give(raw_tcp.refusal)

    def unreachable(self, what: Literal["host", "net"]) -> None:
        """ICMP: ``connect()`` fails with EHOSTUNREACH or ENETUNREACH."""
        self._give(partial(raw_tcp.unreachable, what=what))

    def ignore(self) -> None:
        """Give no answer. The SYN's next retransmission is heard like a new one."""
        self._syn = None
        self._table.ignored(self)

    def hold(self) -> None:
        """Give no answer yet; whoever holds it answers later, unless a change of the listener's mode answers first."""
        self._table.hold(self)

    def forget(self) -> None:
        """Its client has begun anew: whatever is answered from now on goes nowhere."""
        self._syn, self._answer = None, raw_tcp.refusal

    def heard(self, syn: Syn, send: Send, *, is_doubtful: bool) -> bool:
        """Note the SYN, or its retransmission; whether there is an answer, which is then sent again."""
        self.heard_at = self._table.clock()
        self.send = send
        self.is_doubtful = is_doubtful
        if self._answer is None:
            self._syn = syn
            return False
        self.send(syn, self._answer(syn), self.is_accepted)
        return True

    def _give(self, answer: Answer, *, accepts: bool = False) -> None:
        if self._answer is not None:
            return
        self._answer = answer
        self.is_accepted = accepts
        self.heard_at = self._table.clock()
        if self._syn is not None:
            syn, self._syn = self._syn, None
            self.send(syn, answer(syn), accepts)
        self._table.answered(self)


class SynTable:
    """Half-open clients by their key. Bounded, so that forged SYNs gain nothing: the oldest go."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self._unanswered: OrderedDict[Key, HalfOpen] = OrderedDict()
        self._held: OrderedDict[Key, HalfOpen] = OrderedDict()
        self._on_the_way: OrderedDict[Key, HalfOpen] = OrderedDict()
        self._answered: OrderedDict[Key, HalfOpen] = OrderedDict()
        self._tables = (self._unanswered, self._held, self._on_the_way, self._answered)

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    @property
    def held(self) -> tuple[HalfOpen, ...]:
        """Those that are held, longest first."""
        return tuple(self._held.values())

    def is_held(self, half_open: HalfOpen) -> bool:
        """Whether it is one of them."""
        return self._held.get(half_open.key) is half_open

    def hear(self, key: Key, syn: Syn, send: Send, *, is_doubtful: bool = False) -> HalfOpen | None:
        """The client that sent a SYN; None if it was answered before, and so is again."""
        half_open = self._find(key, syn.sequence)
        if half_open is None:
            half_open = HalfOpen(self, key, syn.sequence, send)
            _put(self._unanswered, half_open, _MOST_UNANSWERED)
        return None if half_open.heard(syn, send, is_doubtful=is_doubtful) else half_open

    def hold(self, half_open: HalfOpen) -> None:
        """Keep a client apart from those that may be forgotten; how many, is bounded by who holds them."""
        self._unanswered.pop(half_open.key, None)
        self._held[half_open.key] = half_open

    def ignored(self, half_open: HalfOpen) -> None:
        """A client is held no more, and has no answer."""
        if self.is_held(half_open):
            del self._held[half_open.key]
            _put(self._unanswered, half_open, _MOST_UNANSWERED)

    def answered(self, half_open: HalfOpen) -> None:
        """A client has got its answer."""
        for table in (self._unanswered, self._held):
            if table.get(half_open.key) is half_open:
                del table[half_open.key]
        if half_open.is_accepted:
            _put(self._on_the_way, half_open, _MOST_UNANSWERED)
        else:
            _put(self._answered, half_open, _MOST_ANSWERED)

    def join(self, key: Key) -> HalfOpen | None:
        """The half-open client whose connection is accepted now; None if its SYN is not known.

        One that was refused does not count: it has begun anew from the same port, past the interceptor.
        """
        half_open = self._on_the_way.pop(key, None) or self._unanswered.pop(key, None) or self._held.pop(key, None)
        if half_open is None:
            return None
        _put(self._answered, half_open, _MOST_ANSWERED)
        return half_open if half_open.heard_at > self.clock() - _LAST_RETRANSMISSION_S else None

    def on_the_way(self) -> int:
        """How many handshakes were let through within the last second and are not accepted yet."""
        if not self._on_the_way:  # as always, unless SYNs are intercepted
            return 0
        late_at = self.clock() - _ON_THE_WAY_S
        while self._on_the_way:
            half_open = next(iter(self._on_the_way.values()))
            if half_open.heard_at > late_at:
                break
            self._on_the_way.popitem(last=False)
            _put(self._unanswered, half_open, _MOST_UNANSWERED)
        return len(self._on_the_way)

    def expire(self) -> None:
        """Forget those whose SYN will not come again."""
        self.on_the_way()
        over_at = self.clock() - _LAST_RETRANSMISSION_S
        for table in (self._unanswered, self._answered):
            for key in [key for key, half_open in table.items() if half_open.heard_at <= over_at]:
                del table[key]

    def _find(self, key: Key, sequence: int) -> HalfOpen | None:
        for table in self._tables:
            half_open = table.get(key)
            if half_open is not None:
                if half_open.sequence == sequence:
                    return half_open
                del table[key]
                half_open.forget()
        return None


def _put(table: OrderedDict[Key, HalfOpen], half_open: HalfOpen, most: int) -> None:
    table[half_open.key] = half_open
    table.move_to_end(half_open.key)
    if len(table) > most:
        table.popitem(last=False)
