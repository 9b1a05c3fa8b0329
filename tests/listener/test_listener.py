"""The listener's modes, and the way from each to each: no client is lost, none is judged twice."""

import errno
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import monotonic, sleep

import pytest

from faultproxy.addresses import TcpAddress
from faultproxy.faults.base import ListenerMode
from faultproxy.kernel import raw_socket, socket_filter
from faultproxy.listener import Accepted, Listener
from faultproxy.listener.limits import OutOfResources
from faultproxy.listener.listener import STEPS
from faultproxy.listener.syn_intercept import SynSockets
from faultproxy.listener.syn_table import HalfOpen
from faultproxy.relay import Poller
from tests.network import need_syn_interception
from tests.peers import PATIENCE_S, Background, connect, name_of, sent_again

CLOSED, OPEN, SILENT, INTERCEPTING = ListenerMode
A_MOMENT_S = 0.05


class Scene:
    """A listener, its clients, and what it has reported of them. ``judge`` answers a SYN; it is held by default."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.poller = self._stack.enter_context(Poller())
        self.listener = Listener(TcpAddress("127.0.0.1", 0), "127.0.0.1", SynSockets(self.poller))
        self.judge: Callable[[HalfOpen], None] = HalfOpen.hold
        self.judged: list[HalfOpen] = []
        self.accepted: list[Accepted] = []
        self.attach()

    def close(self) -> None:
        """Close all sockets."""
        self.listener.close()
        self.accept()
        self._stack.close()

    def attach(self) -> None:
        """Note it."""
        self.listener.attach(self.poller, lambda: None, self._on_syn)

    def connect(self) -> socket.socket:
        """A client on its way."""
        client = self._stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", self.listener.address.port))
        return client

    def assert_outcome(self, client: socket.socket, expected: str) -> None:
        """How a connect must end, or ``silence``, for a moment."""
        outcome = "silence"
        if select.select([], [client], [], A_MOMENT_S if expected == "silence" else PATIENCE_S)[1]:
            error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            outcome = errno.errorcode[error] if error else "connected"
        assert outcome == expected

    def accept(self, most: int = 100) -> int:
        """Take those who wait; how many."""
        count = len(self.accepted)
        for accepted in self.listener.accept(most):
            self._stack.enter_context(accepted[0])
            self.accepted.append(accepted)
        return len(self.accepted) - count

    def times_accepted(self, client: socket.socket) -> int:
        """How often this client was accepted."""
        return sum(port == client.getsockname()[1] for _, _, port, _ in self.accepted)

    def times_judged(self, client: socket.socket) -> int:
        """How often its SYN was judged."""
        return sum(half_open.key[1] == client.getsockname()[1] for half_open in self.judged)

    def _on_syn(self, half_open: HalfOpen) -> None:
        self.judged.append(half_open)
        self.judge(half_open)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def test_there_are_steps_from_every_mode_to_every_mode() -> None:
    """The table has no hole."""
    assert STEPS.keys() == {(before, after) for before in ListenerMode for after in ListenerMode}


OF_THE_HELD = {CLOSED: "ECONNREFUSED", OPEN: "connected", SILENT: "connected", INTERCEPTING: "silence"}
OF_NEW_ONES = {CLOSED: "ECONNREFUSED", OPEN: "connected", SILENT: "silence", INTERCEPTING: "silence"}


@pytest.mark.parametrize("after", ListenerMode)
@pytest.mark.parametrize("before", ListenerMode)
def test_from_every_mode_to_every_mode(scene: Scene, before: ListenerMode, after: ListenerMode) -> None:
    """Whom the kernel has accepted is accepted once; whose SYN is held or just came, has the mode's answer, judged once.

    A new client gets the new mode; its port stays the same.
    """
    need_syn_interception()
    address = scene.listener.address
    scene.listener.set_mode(OPEN)
    queued = [scene.connect()]
    scene.listener.set_mode(before)
    held = unheard = None
    if before is INTERCEPTING:
        scene.judge = HalfOpen.accept
        queued.append(scene.connect())
        scene.listener.set_mode(before)
        scene.judge = HalfOpen.hold
        held = scene.connect()
        scene.listener.set_mode(before)
        unheard = scene.connect()
    for client in queued:
        scene.assert_outcome(client, "connected")

    scene.listener.set_mode(after)

    assert scene.listener.mode is after
    assert scene.listener.address == address
    for waiting in (held, unheard):
        if waiting is not None:
            scene.assert_outcome(waiting, OF_THE_HELD[after])
            assert scene.times_judged(waiting) == 1
            if OF_THE_HELD[after] == "connected":
                queued.append(waiting)
    count = len(scene.judged)
    new = scene.connect()
    scene.assert_outcome(new, OF_NEW_ONES[after])
    if after is OPEN:
        queued.append(new)
    scene.accept()
    assert [scene.times_accepted(client) for client in queued] == [1] * len(queued)
    assert len(scene.accepted) == len(queued)
    for sock, *_ in scene.accepted:
        sock.send(b"x")
    assert [client.recv(1) for client in queued] == [b"x"] * len(queued)
    scene.listener.set_mode(after)
    assert len(scene.judged) == count + (after is INTERCEPTING)


def test_a_client_is_joined_to_its_syn(scene: Scene) -> None:
    """Also when the listener no longer intercepts; one that came otherwise has none."""
    need_syn_interception()
    scene.listener.set_mode(INTERCEPTING)
    first = scene.connect()
    scene.listener.set_mode(OPEN)
    scene.assert_outcome(first, "connected")
    second = scene.connect()
    scene.assert_outcome(second, "connected")
    scene.accept()
    by_port = {port: half_open for _, _, port, half_open in scene.accepted}
    assert by_port == {first.getsockname()[1]: scene.judged[0], second.getsockname()[1]: None}
    assert scene.listener.on_the_way() == 0


@pytest.mark.alone
@pytest.mark.parametrize("modes", [[OPEN, INTERCEPTING], [OPEN, CLOSED], [OPEN, INTERCEPTING, CLOSED, INTERCEPTING]])
def test_clients_without_a_pause_while_the_mode_changes(scene: Scene, modes: list[ListenerMode]) -> None:
    """Each is accepted once, or refused while it is closed; none is reset, none is judged twice.

    A client whose SYN comes while the queue of a listener that closes is drained sends it again after a second. At no
    other change is that so, unless nobody had the time to answer for that long.
    """
    need_syn_interception()
    scene.judge = HalfOpen.accept
    scene.listener.set_mode(OPEN)
    address = ("127.0.0.1", scene.listener.address.port)
    outcomes: Counter[str] = Counter()
    over = threading.Event()
    again = 0
    at, longest_s = monotonic(), 0.0

    def come_and_go() -> None:
        nonlocal again
        while not over.is_set():
            try:
                with connect(address) as client:
                    again += sent_again(client)
                    outcomes["served" if client.recv(1) == b"x" else "EOF"] += 1
            except OSError as error:
                outcomes[name_of(error)] += 1

    def serve() -> int:
        nonlocal at, longest_s
        longest_s, at = max(longest_s, monotonic() - at), monotonic()
        count = 0
        for sock, *_ in scene.listener.accept(100):
            with sock:
                sock.send(b"x")
            count += 1
        outcomes["accepted"] += count
        sleep(0.001)
        return count

    with ExitStack() as stack:
        clients = [stack.enter_context(Background(come_and_go)) for _ in range(2)]
        stack.callback(over.set)
        for mode in modes * (100 // len(modes)):
            scene.listener.set_mode(mode)
            for _ in range(5):
                scene.listener.set_mode(mode)
                serve()
        scene.listener.set_mode(OPEN)
        over.set()
        while serve() or any(client._thread.is_alive() for client in clients):
            pass
    assert outcomes.keys() == {"served", "accepted"} | ({"ECONNREFUSED"} if CLOSED in modes else set())
    assert outcomes["served"] == outcomes["accepted"] > 100
    assert not again or CLOSED in modes or longest_s > 0.5
    assert max(Counter((half_open.key, half_open.sequence) for half_open in scene.judged).values(), default=1) == 1


def test_a_handshake_that_ends_while_the_listener_closes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client is accepted, and not reset. Where SYNs cannot be dropped, one may even begin in that moment."""

    def fail(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no")

    clients: list[socket.socket] = []
    monkeypatch.setattr(socket_filter, "attach", fail)
    monkeypatch.setattr("faultproxy.listener.listener.sleep", lambda _: clients.append(scene.connect()))
    scene.listener.set_mode(OPEN)
    scene.listener.set_mode(CLOSED)
    scene.accept()
    (client,) = clients
    ((sock, *_),) = scene.accepted
    sock.send(b"x")
    assert client.recv(1) == b"x"


def test_where_it_may_not_intercept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is open, or silent if that is asked for and allowed, and says why; once it may, it does."""

    def fail(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no")

    with monkeypatch.context() as patch:
        patch.setattr(raw_socket, "sender", fail)
        scene.listener.set_mode(INTERCEPTING)
        assert scene.listener.mode is OPEN
        assert scene.listener.why_not_intercepting == "raw sockets are not allowed here (EPERM)"
        scene.assert_outcome(scene.connect(), "connected")
        scene.listener.set_mode(INTERCEPTING, otherwise=SILENT)
        assert scene.listener.mode is (SILENT if _may_filter() else OPEN)
        patch.setattr(socket_filter, "attach", fail)
        scene.listener.set_mode(CLOSED)
        scene.listener.set_mode(SILENT)
        assert scene.listener.mode is OPEN
    need_syn_interception()
    scene.listener.set_mode(INTERCEPTING)
    assert scene.listener.mode is INTERCEPTING
    assert scene.listener.why_not_intercepting is None


def _may_filter() -> bool:
    try:
        socket_filter.check()
    except OSError:
        return False
    return True


def test_where_only_raw_sockets_are_allowed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hears no SYN that the kernel answers as well."""
    need_syn_interception()
    drop_syns = socket_filter.drop_syns

    def attach(_: socket.socket, program: socket_filter.Program) -> None:
        if program[:2] == drop_syns()[:2]:
            raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(socket_filter, "attach", attach)
    scene.listener.set_mode(INTERCEPTING)
    assert (scene.listener.mode, scene.judged) == (OPEN, [])
    assert scene.listener.why_not_intercepting == "a filter on the listener is not allowed here (EPERM)"


def test_a_port_that_another_took_meanwhile(scene: Scene) -> None:
    """It stays closed, and hears nothing of the SYNs that come to the other."""
    need_syn_interception()
    address = scene.listener.address
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind((address.host, address.port))
        squatter.listen()
        for mode in (OPEN, SILENT, INTERCEPTING):
            with pytest.raises(OSError, match="in use") as failed:
                scene.listener.set_mode(mode)
            assert failed.value.errno == errno.EADDRINUSE
            assert scene.listener.mode is CLOSED
        scene.assert_outcome(scene.connect(), "connected")
    scene.listener.set_mode(INTERCEPTING)
    assert scene.judged == []


def test_a_shortage_leaves_clients_in_the_queue(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the errno's name; what else may be wrong with one client is not reported, and the next is accepted."""
    scene.listener.set_mode(OPEN)
    first = scene.connect()
    scene.assert_outcome(first, "connected")
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise OSError(errno.EMFILE, "no more")

        patch.setattr(socket.socket, "_accept", fail)
        with pytest.raises(OutOfResources, match="EMFILE"):
            scene.accept()
    scene.accept()
    assert scene.times_accepted(first) == 1


def test_no_more_are_accepted_than_there_is_room_for(scene: Scene) -> None:
    """But for those who waited when the mode changed: they have their descriptor."""
    scene.listener.set_mode(OPEN)
    clients = [scene.connect() for _ in range(5)]
    assert scene.accept(2) == 2
    scene.listener.set_mode(CLOSED)
    scene.listener.set_mode(OPEN)
    clients += [scene.connect() for _ in range(5)]
    assert scene.accept(2) == 3 + 2


async def test_the_poller_reports_clients_unless_it_is_paused(scene: Scene) -> None:
    """And no longer once another has it; whom the kernel had accepted then came to the first."""
    poller = scene.poller
    reported: list[str] = []

    def turn() -> None:
        """A batch of the poller's events."""
        for fd, _ in poller._epoll.poll(0):
            poller._endpoints[fd].on_readable()

    scene.listener.attach(poller, lambda: reported.append("first"), scene.judged.append)
    scene.listener.set_mode(OPEN)
    scene.connect()
    turn()
    assert reported == ["first"]
    scene.listener.pause()
    turn()
    assert reported == ["first"]
    scene.listener.resume()
    turn()
    assert reported == ["first"] * 2
    scene.listener.detach(100)
    turn()
    assert scene.accept(0) == 1
    scene.listener.attach(poller, lambda: reported.append("second"), scene.judged.append)
    scene.connect()
    turn()
    scene.listener.set_mode(CLOSED)
    turn()
    assert reported == ["first"] * 2 + ["second"]


def test_a_listener_that_changes_hands_while_it_intercepts(scene: Scene) -> None:
    """SYNs that have come are judged by the first, who holds nobody any more; the next waits for the second."""
    need_syn_interception()
    scene.listener.set_mode(INTERCEPTING)
    held, unheard = scene.connect(), scene.connect()
    scene.listener.detach(100)
    for client in (held, unheard):
        scene.assert_outcome(client, "connected")
    assert len(scene.judged) == 2
    new = scene.connect()
    second: list[HalfOpen] = []
    scene.listener.set_mode(INTERCEPTING)
    scene.listener.attach(scene.poller, lambda: None, second.append)
    assert [half_open.key[1] for half_open in second] == [new.getsockname()[1]]
    assert len(scene.judged) == 2


def test_seen_syns_are_forgotten_when_it_is_quiet(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when SYNs are no longer intercepted; then nothing looks at the table any more."""
    need_syn_interception()
    due: list[Callable[[], None]] = []
    monkeypatch.setattr(scene.poller, "call_at", lambda _, callback: due.append(callback))
    scene.listener.set_mode(INTERCEPTING)
    scene.connect()
    scene.listener.set_mode(OPEN)
    table = scene.listener._socket.table
    assert len(table) == 1
    (expire,) = due
    expire()
    assert len(table) == 1
    monkeypatch.setattr(table, "clock", lambda: monotonic() + 76)
    due.pop()()
    assert len(table) == 0
    assert len(due) == 1, "nothing more is to come"
