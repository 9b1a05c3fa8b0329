"""Raw sockets against real clients: each SYN comes once, and what is sent in answer is what connect() meets."""

import errno
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from faultproxy.kernel import raw_socket, raw_tcp, socket_filter
from faultproxy.kernel.raw_tcp import Syn

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
            receiver = stack.enter_context(raw_socket.receiver(listener, family, mark))
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


def test_marks_are_not_kube_proxys() -> None:
    """Neither the bit for masquerading nor the one for dropping, and never no mark at all."""
    marks = {raw_socket.new_mark() for _ in range(1000)}
    assert all(mark and not mark & 0xC000 for mark in marks)
    assert len(marks) > 990
