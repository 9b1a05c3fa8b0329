"""The SYN table as a script: SYNs and answers in, packets out; no socket, and a clock that the test sets."""

import socket
from collections.abc import Callable

import pytest

from faultproxy.kernel import raw_tcp
from faultproxy.kernel.raw_tcp import Syn
from faultproxy.listener import syn_table
from faultproxy.listener.syn_table import HalfOpen, Key, SynTable
from tests.network import forged_syn

KEY: Key = ("192.0.2.1", 1024, "192.0.2.9", 80)


class Script:
    """A table, its clock, and what it has sent: ``accepted``, ``refused`` or ``unreachable``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sent: list[str] = []
        self.table = SynTable(lambda: self.now)

    def hear(self, sequence: int = 1, port: int = 1024, *, is_doubtful: bool = False) -> HalfOpen | None:
        """A SYN has come."""
        syn = raw_tcp.parse_ipv4(forged_syn(KEY[0], KEY[2:], port, sequence))
        assert syn is not None
        return self.table.hear((KEY[0], port, *KEY[2:]), syn, self.send, is_doubtful=is_doubtful)

    def new(self, sequence: int = 1, port: int = 1024) -> HalfOpen:
        """A SYN has come that must be a client's first."""
        half_open = self.hear(sequence, port)
        assert half_open is not None
        assert not half_open.is_answered
        return half_open

    def send(self, syn: Syn, packet: bytes, accepts: bool) -> None:
        """Note what is sent."""
        is_icmp = packet[9] == socket.IPPROTO_ICMP
        self.sent.append("accepted" if accepts else "unreachable" if is_icmp else "refused")
        assert not accepts or packet == raw_tcp.again(syn)


@pytest.fixture
def script() -> Script:
    return Script()


ANSWERS: dict[str, Callable[[HalfOpen], None]] = {
    "accepted": HalfOpen.accept,
    "refused": HalfOpen.refuse,
    "unreachable": lambda half_open: half_open.unreachable("net"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_answered_to_a_syn_is_answered_to_its_retransmissions(script: Script, name: str) -> None:
    """At once, by the table alone; no other answer changes it."""
    half_open = script.new()
    ANSWERS[name](half_open)
    for answer in ANSWERS.values():
        answer(half_open)
    assert script.hear() is None
    assert script.sent == [name, name]
    assert half_open.is_answered
    assert half_open.is_accepted is (name == "accepted")


def test_one_that_is_ignored_is_heard_again(script: Script) -> None:
    """As the same client, with what was noted of it; it may then be answered."""
    half_open = script.new()
    half_open.note = "noted"
    half_open.ignore()
    assert script.sent == []
    again = script.hear()
    assert again is half_open
    assert again.note == "noted"
    again.accept()
    assert script.sent == ["accepted"]


def test_one_that_is_ignored_keeps_no_packet(script: Script) -> None:
    """There may be 16,384 of them, each with what its SYN carries."""
    half_open = script.new()
    half_open.ignore()
    half_open.accept()
    assert script.sent == []
    assert script.hear() is None
    assert script.sent == ["accepted"]


def test_a_held_client_is_found_until_it_is_answered(script: Script) -> None:
    """Longest first; a retransmission changes nothing."""
    first, second = script.new(), script.new(port=1025)
    first.hold()
    second.hold()
    assert script.hear() is first
    assert script.table.held == (first, second)
    second.refuse()
    first.ignore()
    assert not script.table.held
    assert not first.is_held
    assert not first.is_answered


def test_a_client_that_begins_anew_is_another(script: Script) -> None:
    """A new sequence number from the same port; what is answered to the old one goes nowhere."""
    before = script.new(1)
    before.hold()
    after = script.new(2)
    before.accept()
    assert script.sent == []
    assert not script.table.held
    after.accept()
    assert script.table.join(KEY) is after


def test_a_doubtful_syn_is_so_until_it_comes_again(script: Script) -> None:
    """The mark is the packet's, not the client's."""
    half_open = script.hear(is_doubtful=True)
    assert half_open is not None
    assert half_open.is_doubtful
    script.hear()
    assert not half_open.is_doubtful


def test_a_connection_is_joined_to_its_syn_once(script: Script) -> None:
    """Whether we accepted it or the kernel; what was refused is not the same client."""
    accepted, refused, unanswered = script.new(), script.new(port=1025), script.new(port=1026)
    accepted.accept()
    refused.refuse()
    keys = [(KEY[0], port, *KEY[2:]) for port in (1024, 1025, 1026, 1027)]
    assert [script.table.join(key) for key in keys] == [accepted, None, unanswered, None]
    assert script.table.join(KEY) is None
    assert script.hear() is None  # its retransmission, late
    assert script.sent == ["accepted", "refused", "accepted"]


def test_on_the_way(script: Script) -> None:
    """Those whose handshake was let through within the last second, and that are not accepted yet."""
    script.new().accept()
    script.new(port=1025).accept()
    script.new(port=1026).refuse()
    assert script.table.on_the_way() == 2
    assert script.table.join(KEY) is not None
    assert script.table.on_the_way() == 1
    script.now += 1
    assert script.table.on_the_way() == 0
    assert script.table.join((KEY[0], 1025, *KEY[2:])) is not None


def test_it_forgets_those_whose_syn_will_not_come_again(script: Script) -> None:
    """75 s after the last one; but none that is held."""
    for port in range(100):
        half_open = script.new(port=port)
        (half_open.accept, half_open.refuse, half_open.ignore, half_open.hold)[port % 4]()
    script.now += 74
    script.table.expire()
    assert len(script.table) == 100
    script.hear(port=2)
    script.now += 1
    script.table.expire()
    assert len(script.table) == 1 + 25
    for half_open in script.table.held:
        half_open.refuse()
    script.now += 75
    script.table.expire()
    assert len(script.table) == 0


def test_it_is_bounded(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, of those without an answer and of those with one; the held are not among them."""
    monkeypatch.setattr(syn_table, "_MOST_UNANSWERED", 10)
    monkeypatch.setattr(syn_table, "_MOST_ANSWERED", 5)
    held = script.new(port=1)
    held.hold()
    for port in range(1000, 1100):
        script.new(port=port)
    for port in range(2000, 2100):
        script.new(port=port).refuse()
    for port in range(3000, 3100):
        script.new(port=port).accept()
    assert 1 + 5 + 10 < len(script.table) <= 1 + 10 + 5 + 10
    assert held.is_held
