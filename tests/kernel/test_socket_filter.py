"""Filters: what each program keeps and drops, first in an interpreter, then in the kernel."""

import select
import socket
from collections.abc import Callable, Iterator

import pytest

from faultproxy.kernel import socket_filter
from faultproxy.kernel.socket_filter import Program

FIN, SYN, RST, ACK, ECE, CWR = 0x01, 0x02, 0x04, 0x10, 0x40, 0x80
PORT, MARK = 6379, 0xC0DE0001
TYPE_AT, MARK_AT, RANDOM_AT = 0xFFFFF000 + 4, 0xFFFFF000 + 20, 0xFFFFF000 + 56
TO_HOST, BROADCAST, MULTICAST, TO_OTHERS = range(4)


def run(  # noqa: C901, PLR0912  # a branch an operation
    program: Program, packet: bytes, mark: int = 0, random: Callable[[], int] = lambda: 0, kind: int = TO_HOST
) -> bool:
    """Whether a program keeps a packet: the part of classic BPF that ours are made of."""
    accumulator = index = at = 0

    def load(start: int, size: int) -> int | None:
        return int.from_bytes(packet[start : start + size]) if start + size <= len(packet) else None

    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        loaded: int | None = 0
        match code:
            case 0x20:
                loaded = accumulator = {TYPE_AT: kind, MARK_AT: mark, RANDOM_AT: random()}[operand]
            case 0x28 | 0x30:
                loaded = load(operand, 2 if code == 0x28 else 1)
                accumulator = loaded or 0
            case 0x48 | 0x50:
                loaded = load(index + operand, 2 if code == 0x48 else 1)
                accumulator = loaded or 0
            case 0xB1:
                loaded = load(operand, 1)
                index = ((loaded or 0) & 0xF) * 4
            case 0x80:
                accumulator = len(packet)
            case 0x25:
                at += if_true if accumulator > operand else if_false
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x06:
                return bool(operand)
            case _:
                raise AssertionError(f"no such operation: {code:#x}")
        if loaded is None:
            return False  # beyond the packet's end: the kernel drops it


def segment(flags: int, port: int = PORT) -> bytes:
    """A TCP header."""
    return bytes([0x30, 0x39, *port.to_bytes(2), *bytes(8), 0x50, flags, *bytes(6)])


def packet(flags: int, port: int = PORT, options: int = 0) -> bytes:
    """An IPv4 packet whose header has so many words of options."""
    return bytes([0x45 + options, *bytes(19 + 4 * options)]) + segment(flags, port)


@pytest.mark.parametrize("flags", [SYN, SYN | ECE | CWR, SYN | 0x08, SYN | 0x20])
def test_a_listener_drops_pure_syns_without_the_mark(flags: int) -> None:
    """A SYN is dropped whatever ECN adds to it; one that has the mark passes."""
    assert not run(socket_filter.drop_syns(), segment(flags))
    assert not run(socket_filter.drop_syns(MARK), segment(flags))
    assert not run(socket_filter.drop_syns(MARK), segment(flags), mark=MARK ^ 1)
    assert run(socket_filter.drop_syns(MARK), segment(flags), mark=MARK)


@pytest.mark.parametrize("flags", [ACK, SYN | ACK, RST, RST | ACK, FIN | ACK, ACK | 0x08, 0, SYN | FIN, SYN | RST])
def test_a_listener_keeps_all_else(flags: int) -> None:
    """The last ACK of a handshake under way passes, like everything that is no pure SYN."""
    assert run(socket_filter.drop_syns(), segment(flags))
    assert run(socket_filter.drop_syns(MARK), segment(flags))


@pytest.mark.parametrize("options", [0, 1, 10])
def test_a_raw_ipv4_socket_keeps_syns_to_its_port(options: int) -> None:
    """The TCP header is found behind IP options; other ports, other segments and marked ones are dropped."""
    program = socket_filter.only_syns(socket.AF_INET, [80, PORT, 443], MARK)
    assert run(program, packet(SYN, options=options))
    assert run(program, packet(SYN | ECE | CWR, options=options))
    assert not run(program, packet(SYN, port=PORT + 1, options=options))
    assert not run(program, packet(SYN | ACK, options=options))
    assert not run(program, packet(ACK, options=options))
    assert not run(program, packet(SYN, options=options), mark=MARK)


def test_a_raw_ipv6_socket_keeps_syns_to_its_port() -> None:
    """Its packets begin with the TCP header."""
    program = socket_filter.only_syns(socket.AF_INET6, [80, PORT, 443], MARK)
    assert run(program, segment(SYN))
    assert not run(program, segment(SYN, port=PORT + 1))
    assert not run(program, segment(SYN | ACK))
    assert not run(program, segment(SYN), mark=MARK)


@pytest.mark.parametrize("kind", [BROADCAST, MULTICAST, TO_OTHERS])
def test_a_raw_socket_drops_what_the_link_has_not_sent_to_this_host(kind: int) -> None:
    """TCP answers no such SYN."""
    assert not run(socket_filter.only_syns(socket.AF_INET, [PORT], MARK), packet(SYN), kind=kind)
    assert not run(socket_filter.only_syns(socket.AF_INET6, [PORT], MARK), segment(SYN), kind=kind)


def test_a_raw_socket_drops_syns_that_carry_much() -> None:
    """The largest has as many bytes as fit into an Ethernet frame, behind headers with all options."""
    program = socket_filter.only_syns(socket.AF_INET, [PORT], MARK)
    room = socket_filter.LARGEST_SYN - len(packet(SYN))
    assert run(program, packet(SYN) + bytes(room))
    assert not run(program, packet(SYN) + bytes(room + 1))


@pytest.mark.parametrize("count", [0, 1, socket_filter.MOST_PORTS])
def test_a_raw_socket_keeps_syns_to_each_of_its_ports(count: int) -> None:
    """And to no others, however many there are."""
    ports = range(1000, 1000 + count)
    program = socket_filter.only_syns(socket.AF_INET, ports, MARK)
    assert all(run(program, packet(SYN, port)) for port in ports)
    assert not any(run(program, packet(SYN, port)) for port in (0, 999, 1000 + count, 65535))


def test_with_too_many_ports_a_raw_socket_keeps_all_syns() -> None:
    """And still nothing else."""
    program = socket_filter.only_syns(socket.AF_INET, range(1, socket_filter.MOST_PORTS + 2), MARK)
    assert run(program, packet(SYN, 60000))
    assert not run(program, packet(ACK, 60000))
    assert not run(program, packet(SYN, 60000), mark=MARK)


@pytest.mark.parametrize("size", range(20))
def test_a_packet_that_is_cut_short_is_dropped(size: int) -> None:
    """A load beyond the end ends the program."""
    assert not run(socket_filter.only_syns(socket.AF_INET, [80, PORT, 443], MARK), packet(SYN)[:size])


def test_drop_some_compares_a_random_number() -> None:
    """Half of all 32-bit numbers keep a packet at 50 %; at 0 all do, at 100 % none."""
    half = socket_filter.drop_some(0.5)
    assert not run(half, b"", random=lambda: 0)
    assert not run(half, b"", random=lambda: 2**31 - 1)
    assert run(half, b"", random=lambda: 2**31)
    assert run(half, b"", random=lambda: 2**32 - 1)
    assert run(socket_filter.drop_some(0), b"", random=lambda: 0)
    assert not run(socket_filter.drop_some(1), b"", random=lambda: 2**32 - 1)


@pytest.mark.parametrize("flags", [0, ACK, SYN, SYN | ACK, FIN | ACK, ACK | 0x08, ECE | CWR])
def test_all_but_resets_are_dropped(flags: int) -> None:
    """Whatever it is, unless RST is set."""
    assert not run(socket_filter.drop_all_but_resets(), segment(flags))
    assert run(socket_filter.drop_all_but_resets(), segment(flags | RST))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        try:
            socket_filter.attach(sock, socket_filter.drop_all_but_resets())
        except OSError as error:
            pytest.skip(f"a TCP socket may not be filtered here: {error}")
        socket_filter.detach(sock)
        yield sock


def test_a_filtered_listener_does_not_answer(listener: socket.socket) -> None:
    """With the filter connect() hangs; detached, the same client's retransmission gets through."""
    socket_filter.attach(listener, socket_filter.drop_syns(MARK))
    with socket.socket() as client:
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.connect(listener.getsockname())
        socket_filter.detach(listener)
        assert select.select([], [client], [], 10)[1]
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_an_accepted_socket_inherits_the_filter(listener: socket.socket) -> None:
    """It may be detached, and once more."""
    with socket.create_connection(listener.getsockname(), 10):
        socket_filter.attach(listener, socket_filter.drop_syns(MARK))
        accepted, _ = listener.accept()
        with accepted:
            socket_filter.detach(accepted)
            socket_filter.detach(accepted)


def test_a_connection_that_drops_all_hears_nothing(listener: socket.socket) -> None:
    """Data is not even acknowledged, and arrives by retransmission once the filter is gone."""
    with socket.create_connection(listener.getsockname(), 10) as client, listener.accept()[0] as server:
        socket_filter.attach(server, socket_filter.drop_all_but_resets())
        client.sendall(b"lost")
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.recv(4)
        socket_filter.detach(server)
        server.settimeout(10)
        assert server.recv(4) == b"lost"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize(
    ("flags", "mark", "kept"),
    [(SYN, MARK, True), (SYN | ECE | CWR, MARK, True), (SYN, 0, False), (SYN | ACK, MARK, False), (ACK, MARK, False)],
)
def test_only_marked_syns(family: int, flags: int, mark: int, kept: bool) -> None:
    """A raw socket is given the pure SYNs with the mark, whatever their port; none that is too large."""
    make = packet if family == socket.AF_INET else segment
    program = socket_filter.only_marked_syns(family, MARK)
    assert [run(program, make(flags, port), mark) for port in (1, PORT)] == [kept, kept]
    assert not run(program, make(flags) + bytes(socket_filter.LARGEST_SYN), mark)


@pytest.mark.parametrize(
    ("flags", "mark", "kept"),
    [(SYN, MARK, False), (SYN | ECE | CWR, MARK, False), (SYN, 0, True), (SYN, MARK ^ 1, True), (ACK, MARK, True)],
)
def test_drop_marked_syns(flags: int, mark: int, kept: bool) -> None:
    """A listener answers every SYN but those with the mark, and everything else passes."""
    assert run(socket_filter.drop_marked_syns(MARK), segment(flags), mark) is kept
