"""Raw sockets against real clients: each SYN comes once, and what is sent in answer is what connect() returns."""

import errno
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from faultproxy.kernel import raw_socket, raw_tcp, socket_filter
from faultproxy.kernel.raw_tcp import Syn
from tests.network import forged_syn

PORT = 9
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@dataclass
class Door:
    """A listener that answers no SYN by itself, a receiver of them, and senders with and without the mark."""

    listener: socket.socket
    receiver: socket.socket
    marked: socket.socket
    plain: socket.socket

    def connect(self) -> socket.socket:
        """A client on its way."""
        client = socket.socket(self.listener.family)
        client.setblocking(False)
        started = client.connect_ex(self.listener.getsockname())
        assert started == errno.EINPROGRESS, errno.errorcode.get(started)
        return client

    def next_syn(self) -> tuple[Syn, int]:
        """The next SYN, which must be there within a moment."""
        assert select.select([self.receiver], [], [], 10)[0]
        ((syn, scope),) = raw_socket.receive(self.receiver, 1)
        assert syn is not None
        return syn, scope

    def is_quiet(self) -> bool:
        """Whether nothing more has come."""
        return list(raw_socket.receive(self.receiver, 1)) == []


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    family, mark = request.param, raw_socket.new_mark()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((LOOPBACK[family], 0), family=family))
        try:
            receiver = stack.enter_context(raw_socket.receiver(family))
            raw_socket.hear_ports(receiver, [listener.getsockname()[1]], mark)
            marked = stack.enter_context(raw_socket.sender(family, mark))
            plain = stack.enter_context(raw_socket.sender(family))
            socket_filter.attach(listener, socket_filter.drop_syns(mark))
        except OSError as error:
            pytest.skip(f"raw sockets or socket filters are not allowed here: {error}")
        yield Door(listener, receiver, marked, plain)


def outcome(client: socket.socket) -> str:
    """How a connect ends."""
    assert select.select([], [client], [], 10)[1]
    error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.errorcode[error] if error else "connected"


def test_a_syn_sent_again_with_the_mark_completes_the_handshake(door: Door) -> None:
    """The client is connected to the listener; the marked copy is not received again."""
    with door.connect() as client:
        syn, scope = door.next_syn()
        assert (syn.source_port, syn.destination_port) == (client.getsockname()[1], door.listener.getsockname()[1])
        raw_socket.send(door.marked, raw_tcp.again(syn), syn.destination, scope)
        assert outcome(client) == "connected"
        accepted, address = door.listener.accept()
        accepted.close()
        assert address == client.getsockname()
        assert door.is_quiet()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (raw_tcp.refusal, "ECONNREFUSED"),
        (lambda syn: raw_tcp.unreachable(syn, "host"), "EHOSTUNREACH"),
        (lambda syn: raw_tcp.unreachable(syn, "net"), "ENETUNREACH"),
    ],
    ids=["refusal", "host", "net"],
)
def test_an_answer_is_what_connect_returns(door: Door, answer: Callable[[Syn], bytes], expected: str) -> None:
    """RST and ICMP reach the client, over IPv4 and IPv6."""
    with door.connect() as client:
        syn, scope = door.next_syn()
        raw_socket.send(door.plain, answer(syn), syn.source, scope)
        assert outcome(client) == expected


def test_only_syns_to_the_port_are_received(door: Door) -> None:
    """Neither another listener's, nor the segments of an open connection."""
    family = door.listener.family
    with (
        socket.create_server((LOOPBACK[family], 0), family=family) as other,
        socket.create_connection(other.getsockname()[:2]),
        other.accept()[0],
    ):
        pass
    assert door.is_quiet()
    with door.connect() as client:
        syn, scope = door.next_syn()
        raw_socket.send(door.marked, raw_tcp.again(syn), syn.destination, scope)
        assert outcome(client) == "connected"
        client.setblocking(True)
        client.sendall(b"data")
        assert door.is_quiet()


def test_a_receiver_hears_the_ports_that_are_named(door: Door) -> None:
    """None at first, then as many as there are, until others are named."""
    family = door.listener.family
    mark, port = raw_socket.new_mark(), door.listener.getsockname()[1]
    with raw_socket.receiver(family) as receiver:
        for ports, count in [([], 0), ([port, port - 1], 1), (range(1, 1000), 1), ([port - 1], 0)]:
            if ports:
                raw_socket.hear_ports(receiver, ports, mark)
            with door.connect():
                door.next_syn()
                heard = [syn for syn, _ in raw_socket.receive(receiver, 1000) if syn is not None]
                assert sum(syn.destination_port == port for syn in heard) == count  # others may listen beside it


def test_a_broadcast_is_no_syn() -> None:
    """What comes to a broadcast address is not answered by TCP, and is given as None."""
    with ExitStack() as stack:
        try:
            receiver = stack.enter_context(raw_socket.receiver(socket.AF_INET))
            sender = stack.enter_context(raw_socket.sender(socket.AF_INET))
        except OSError as error:
            pytest.skip(f"raw sockets are not allowed here: {error}")
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        raw_socket.hear_ports(receiver, [PORT], 1)
        for destination in ("127.255.255.255", "127.0.0.1"):
            packet = forged_syn("127.0.0.9", (destination, PORT), 1024, 1)
            raw_socket.send(sender, packet, socket.inet_aton(destination), 0)
        assert select.select([receiver], [], [], 10)[0]
        broadcast, (syn, _) = raw_socket.receive(receiver, 10)
        assert broadcast == (None, 0)
        assert syn is not None
        assert syn.destination == socket.inet_aton("127.0.0.1")


def test_a_syn_that_carries_much_is_not_heard() -> None:
    """One that fills an Ethernet frame is; 60 KB are not worth keeping, as a client sends such a SYN again without."""
    with ExitStack() as stack:
        try:
            receiver = stack.enter_context(raw_socket.receiver(socket.AF_INET))
            sender = stack.enter_context(raw_socket.sender(socket.AF_INET))
        except OSError as error:
            pytest.skip(f"raw sockets are not allowed here: {error}")
        raw_socket.hear_ports(receiver, [PORT], 1)
        for size in (60_000, 1541, 1460):
            packet = forged_syn("127.0.0.9", ("127.0.0.1", PORT), 1024, 1, b"x" * size)
            raw_socket.send(sender, packet, socket.inet_aton("127.0.0.1"), 0)
        assert select.select([receiver], [], [], 10)[0]
        ((syn, _),) = raw_socket.receive(receiver, 10)
        assert syn is not None
        assert len(syn.segment) == 20 + 1460


def test_marks_are_not_kube_proxys() -> None:
    """Neither the bit for masquerading nor the one for dropping, and never no mark at all."""
    marks = {raw_socket.new_mark() for _ in range(1000)}
    assert all(mark and not mark & 0xC000 for mark in marks)
    assert len(marks) > 990
