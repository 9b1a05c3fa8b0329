"""A connection that no fault touches: whatever one peer does, the other sees."""

import hashlib
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.peers import (
    Background,
    Server,
    SilentUpstream,
    Upstream,
    connect,
    connect_and_read,
    is_broken,
    nobody,
    pattern,
    read_exactly,
    read_to_the_end,
    reset,
    send_error,
    wait_until_arrived,
    wait_until_broken,
)
from tests.running import Faultproxy, Scene, Stage, one

SMALL = 8192
MIB = 2**20
SCENES = (
    "client_half_closes",
    "server_half_closes",
    "server_resets",
    "server_resets_late",
    "client_resets",
    "client_resets_late",
    "both_silent_resets",
    "reset_after_half_close",
    "slow",
    "bulk",
    "idle",
    "many_small",
    "urgent",
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("transparency")
    with nobody() as closed_port:
        scenes = {name: Scene() for name in SCENES}
        scenes |= {
            "slow_client": Scene(receive_buffer=SMALL),
            "any_address": Scene(settings={"listen": ":0"}),
            "ipv6": Scene(settings={"listen": "[::1]:0"}),
            "refused": Scene(upstream=closed_port),
            "no_such_file": Scene(upstream=f"unix:{folder}/none.sock"),
            "no_route": Scene(upstream="255.255.255.255:80"),
            "no_name": Scene(upstream="nobody.invalid:80"),
            "given_up": Scene(upstream=SilentUpstream, settings={"dial_timeout": "300ms"}),
            "answers_late": Scene(upstream=SilentUpstream, settings={"dial_timeout": "15s"}),
            "to_ipv6": Scene(upstream=partial(Upstream, "::1")),
            "to_unix": Scene(upstream=partial(Upstream, f"{folder}/u.sock")),
            "to_unix_in_bulk": Scene(upstream=partial(Upstream, f"{folder}/bulk.sock")),
        }
        with Stage(folder, scenes) as stage:
            yield stage


@pytest.mark.parametrize("from_client", [True, False])
def test_urgent_data_is_delivered_in_line(stage: Stage, from_client: bool) -> None:
    """A byte sent with MSG_OOB arrives in its place between the others; none is lost or repeated."""
    with stage.ends("urgent") as ends:
        sender, reader = ends if from_client else reversed(ends)
        for data, flags in ((b"one", 0), (b"!", socket.MSG_OOB), (b"two", 0), (b"last?", socket.MSG_OOB)):
            sender.send(data, flags)
        sender.shutdown(socket.SHUT_WR)
        assert read_to_the_end(reader) == (b"one!twolast?", "EOF")


def test_a_client_that_half_closes_still_gets_its_reply(stage: Stage) -> None:
    """The server reads EOF after the request; what it sends later arrives, and then its own EOF."""
    with stage.ends("client_half_closes") as (client, server):
        client.sendall(b"request")
        client.shutdown(socket.SHUT_WR)
        assert read_to_the_end(server) == (b"request", "EOF")
        server.sendall(b"reply")
        assert read_exactly(client, 5) == b"reply"
        server.close()
        assert read_to_the_end(client) == (b"", "EOF")
    closed = stage.closed("client_half_closes")
    assert (closed["ended_by"], closed["bytes_upstream"], closed["bytes_downstream"]) == ("client", 7, 5)


def test_a_server_that_half_closes_still_hears_the_client(stage: Stage) -> None:
    """The client reads EOF; what it sends later arrives, and then its own EOF."""
    with stage.ends("server_half_closes") as (client, server):
        server.sendall(b"reply")
        server.shutdown(socket.SHUT_WR)
        assert read_to_the_end(client) == (b"reply", "EOF")
        client.sendall(b"late request")
        assert read_exactly(server, 12) == b"late request"
        client.close()
        assert read_to_the_end(server) == (b"", "EOF")
    assert stage.closed("server_half_closes")["ended_by"] == "server"


def test_a_servers_reset_comes_after_the_data_that_had_arrived(stage: Stage) -> None:
    """A client that had read nothing yet gets the whole megabyte, then ECONNRESET."""
    data = pattern(MIB)
    with stage.ends("server_resets") as (client, server):
        server.sendall(data)
        wait_until_arrived(server)
        reset(server)
        assert read_to_the_end(client, 4096) == (data, "ECONNRESET")
    assert stage.closed("server_resets")["ended_by"] == "server"


@pytest.mark.parametrize("count", [100_000, 200_000])
def test_a_slow_client_loses_nothing_to_a_servers_reset(stage: Stage, count: int) -> None:
    """A client that reads late, into a small buffer, gets all that the proxy had been sent, then ECONNRESET."""
    data = pattern(count)
    with stage.ends("slow_client") as (client, server):
        server.sendall(data)
        wait_until_arrived(server)
        reset(server)
        assert not is_broken(client, within_s=0.2)
        assert read_to_the_end(client, 1000) == (data, "ECONNRESET")


def test_a_servers_last_words_arrive_though_it_resets_at_once(tmp_path: Path) -> None:
    """A server that accepts, writes and resets, before the proxy knows that it is connected, is heard all the same."""

    def speak_and_reset(sock: socket.socket) -> None:
        sock.sendall(b"last words")
        reset(sock)

    with Server(speak_and_reset) as server, Faultproxy(tmp_path, one(server.address)) as proxy:
        assert [connect_and_read(proxy.address("p")) for _ in range(100)] == [(b"last words", "ECONNRESET")] * 100
        assert not proxy.seen("upstream.failed")


def test_a_clients_reset_reaches_the_server(stage: Stage) -> None:
    """The server gets what the client had sent, then ECONNRESET."""
    with stage.ends("client_resets") as (client, server):
        client.sendall(b"last words")
        assert read_exactly(server, 10) == b"last words"
        reset(client)
        assert read_to_the_end(server) == (b"", "ECONNRESET")
    assert stage.closed("client_resets")["ended_by"] == "client"


def test_a_clients_reset_comes_after_the_data_that_had_arrived(stage: Stage) -> None:
    """A server that had read nothing yet gets the whole megabyte, then ECONNRESET."""
    data = pattern(MIB)
    with stage.ends("client_resets_late") as (client, server):
        client.sendall(data)
        wait_until_arrived(client)
        reset(client)
        assert read_to_the_end(server, 4096) == (data, "ECONNRESET")


def test_a_reset_finds_a_peer_that_waits_to_write(stage: Stage) -> None:
    """A server whose send buffer is full because the client does not read gets ECONNRESET when the client resets."""
    with stage.ends("both_silent_resets") as (client, server):
        fill(server)
        reset(client)
        wait_until_broken(server)
        assert send_error(server, b"x") == "ECONNRESET"


def test_a_server_that_is_gone_breaks_the_clients_pipe(stage: Stage) -> None:
    """The server closes, then answers the client's data with RST: the client reads EOF, and its next write is EPIPE."""
    with stage.ends("reset_after_half_close") as (client, server):
        server.close()
        assert read_to_the_end(client) == (b"", "EOF")
        client.sendall(b"anybody?")
        wait_until_broken(client)
        assert send_error(client, b"x") == "EPIPE"


def test_a_server_that_resets_after_its_half_close_breaks_the_clients_pipe(stage: Stage) -> None:
    """The client reads EOF after the server's FIN, and EPIPE on its next write after the server's RST."""
    with stage.ends("server_resets_late") as (client, server):
        server.sendall(b"reply")
        server.shutdown(socket.SHUT_WR)
        assert read_to_the_end(client) == (b"reply", "EOF")
        reset(server)
        wait_until_broken(client)
        assert send_error(client, b"x") == "EPIPE"


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        pytest.param("refused", {"ECONNREFUSED"}, id="refused"),
        pytest.param("no_such_file", {"ENOENT"}, id="no_such_file"),
        # Linux routes no TCP to the broadcast address, wherever the test runs.
        pytest.param("no_route", {"ENETUNREACH"}, id="no_route"),
        # What it is depends on whether there is a name server to say so.
        pytest.param("no_name", {"EAI_NONAME", "EAI_AGAIN", "EAI_NODATA", "EAI_FAIL"}, id="no_name"),
        pytest.param("given_up", {"ETIMEDOUT"}, id="silent"),
    ],
)
def test_an_upstream_that_cannot_be_dialled_is_a_reset(stage: Stage, name: str, errors: set[str]) -> None:
    """The client is reset, never ended politely, and the log names the errno."""
    assert connect_and_read(stage.proxy.address(name)) == (b"", "ECONNRESET")
    failed = stage.proxy.wait_for("upstream.failed", proxy=name, connection=f"{name}#1", level="warning")
    assert failed["error"] in errors
    assert stage.closed(name)["ended_by"] == "upstream_error"
    if name == "given_up":
        assert 300 <= failed["elapsed_ms"] < 5000


def test_a_silent_upstream_holds_nobody_else_up(stage: Stage) -> None:
    """While one client's dial is unanswered another is served; what the first sent meanwhile is not lost."""
    upstream = stage.upstreams["answers_late"]
    assert isinstance(upstream, SilentUpstream)
    with stage.connect("answers_late") as first:
        first.sendall(b"first")
        first.shutdown(socket.SHUT_WR)
        upstream.wait_until_dialled()
        upstream.speak()
        with stage.ends("answers_late") as (second, server):
            second.sendall(b"second")
            assert read_exactly(server, 6) == b"second"
            server.sendall(b"reply")
            assert read_exactly(second, 5) == b"reply"
        with upstream.accept() as server:  # the kernel asks again after a second
            assert read_to_the_end(server) == (b"first", "EOF")
            server.sendall(b"at last")
            assert read_exactly(first, 7) == b"at last"


def fill(sock: socket.socket) -> bytes:
    """Send until there has been no room for a while; what was sent."""
    sent = bytearray()
    data = pattern(64 * MIB)
    while select.select([], [sock], [], 0.2)[1]:
        sent += data[len(sent) : len(sent) + sock.send(data[len(sent) : len(sent) + 65536])]
        assert len(sent) < len(data), "the sender is not held back"
    return bytes(sent)


@pytest.mark.parametrize("reads", ["client", "server"])
def test_a_slow_reader_holds_its_sender_back(stage: Stage, reads: str) -> None:
    """The proxy keeps no more than a buffer for who does not read, and in the end every byte is there."""
    stage.proxy.address("slow")  # once it has started
    before = stage.proxy.resident_bytes()
    with stage.ends("slow") as (client, server):
        reader, sender = (client, server) if reads == "client" else (server, client)
        sent = fill(sender)
        assert stage.proxy.resident_bytes() - before < 4 * MIB
        assert read_exactly(reader, len(sent)) == sent
        sender.sendall(b"that was all")
        assert read_exactly(reader, 12) == b"that was all"


def test_many_bytes_each_way_at_once(stage: Stage) -> None:
    """20 MB each way, written and read in odd sizes at the same time: every byte, in order, once."""
    data = pattern(20_000_000)

    def send(sock: socket.socket, seed: int) -> None:
        sizes, at = Random(seed), 0
        while at < len(data):
            at += sock.send(data[at : at + sizes.choice((1, 7, 1447, 4096, 65_537, 300_001))])
        sock.shutdown(socket.SHUT_WR)

    def receive(sock: socket.socket, seed: int) -> None:
        sizes, digest = Random(seed), hashlib.sha256()
        while more := sock.recv(sizes.choice((3, 1024, 65_536, 250_007))):
            digest.update(more)
        assert digest.digest() == hashlib.sha256(data).digest()

    with (
        stage.ends("bulk") as (client, server),
        Background(lambda: send(client, 1)),
        Background(lambda: send(server, 2)),
        Background(lambda: receive(server, 3)),
    ):
        receive(client, 4)
    closed = stage.closed("bulk")
    assert (closed["bytes_upstream"], closed["bytes_downstream"]) == (len(data), len(data))


def test_small_messages_keep_their_order(stage: Stage) -> None:
    """A thousand questions and answers of a byte each arrive one by one."""
    with stage.ends("many_small") as (client, server):
        for number in range(1000):
            client.sendall(bytes([number % 256]))
            assert server.recv(16) == bytes([number % 256])
            server.sendall(bytes([255 - number % 256]))
            assert client.recv(16) == bytes([255 - number % 256])


def test_idle_connections_cost_little_and_stay_up(stage: Stage) -> None:
    """Hundreds of connections that say nothing take 10 KiB each or less, and still work."""
    count = min(400, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2)
    before = stage.proxy.resident_bytes()
    with ExitStack() as stack:
        pairs = [stack.enter_context(stage.ends("idle")) for _ in range(count)]
        assert stage.proxy.resident_bytes() - before <= count * 10 * 1024
        for number, (client, server) in enumerate(pairs):
            client.sendall(str(number).encode())
            assert server.recv(16) == str(number).encode()


def test_an_ipv6_upstream_is_reached(stage: Stage) -> None:
    """An upstream written [::1]:PORT works like any other."""
    with stage.ends("to_ipv6") as (client, server):
        client.sendall(b"request")
        assert read_exactly(server, 7) == b"request"
        reset(client)
        assert read_to_the_end(server) == (b"", "ECONNRESET")


def test_a_unix_upstream_is_reached(stage: Stage) -> None:
    """Half-closes and closes pass through a Unix socket both ways."""
    with stage.ends("to_unix") as (client, server):
        client.sendall(b"request")
        client.shutdown(socket.SHUT_WR)
        assert read_to_the_end(server) == (b"request", "EOF")
        server.sendall(b"reply")
        server.close()
        assert read_to_the_end(client) == (b"reply", "EOF")
    with stage.ends("to_unix") as (client, server):
        server.shutdown(socket.SHUT_WR)
        assert read_to_the_end(client) == (b"", "EOF")
        client.sendall(b"late")
        client.close()
        assert read_to_the_end(server) == (b"late", "EOF")
    assert stage.closed("to_unix", 2)["ended_by"] == "server"


def test_a_unix_upstream_carries_a_megabyte_each_way(stage: Stage) -> None:
    """The Unix side is held back and read out like the TCP side."""
    data = pattern(MIB)
    with stage.ends("to_unix_in_bulk") as (client, server):
        for sender, reader in ((client, server), (server, client)):
            with Background(lambda sender=sender: sender.sendall(data)):  # type: ignore[misc]
                assert read_exactly(reader, len(data)) == data


def test_every_address_of_a_name_is_tried(tmp_path: Path) -> None:
    """localhost may be ::1 and 127.0.0.1: the one where somebody listens is found."""
    with (
        Upstream() as upstream,
        Faultproxy(tmp_path, one(f"localhost:{upstream.port}")) as proxy,
        connect(proxy.address("p")) as client,
        upstream.accept() as server,
    ):
        client.sendall(b"request")
        assert read_exactly(server, 7) == b"request"


def test_a_name_is_resolved_at_every_dial(tmp_path: Path) -> None:
    """A server that moves to another address is found there by the next client."""
    answer = tmp_path / "answer"
    # A resolver of the test's own, in the process under test.
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "resolve = socket.getaddrinfo\n"
        "def getaddrinfo(host, *args, **kwargs):\n"
        f"    return resolve(open({str(answer)!r}).read() if host == 'moves.test' else host, *args, **kwargs)\n"
        "socket.getaddrinfo = getaddrinfo\n"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    with (
        Upstream() as first,
        Upstream("127.0.0.2", port=first.port) as second,
        Faultproxy(tmp_path, one(f"moves.test:{first.port}"), environment=environment) as proxy,
    ):
        for host, upstream in (("127.0.0.1", first), ("127.0.0.2", second)):
            answer.write_text(host)
            with connect(proxy.address("p")) as client, upstream.accept() as server:
                client.sendall(b"here")
                assert read_exactly(server, 4) == b"here"


def test_all_addresses_means_ipv4_and_ipv6(stage: Stage) -> None:
    """A proxy that listens on :0 takes clients of both families, and calls each by its own address."""
    _, port = stage.proxy.address("any_address")
    upstream = stage.upstreams["any_address"]
    for number, host in enumerate(("127.0.0.1", "::1"), start=1):
        with connect((host, port)) as client, upstream.accept() as server:
            client.sendall(b"hello")
            assert read_exactly(server, 5) == b"hello"
            opened = stage.proxy.wait_for("connection.opened", connection=f"any_address#{number}")
            shown = f"[{host}]" if ":" in host else host
            assert opened["client"] == f"{shown}:{client.getsockname()[1]}"


def test_an_ipv6_address_can_be_listened_on(stage: Stage) -> None:
    """[::1]:0 listens on ::1, and the log gives its real port in brackets' company."""
    assert stage.proxy.wait_for("proxy.started", proxy="ipv6")["listen"].startswith("[::1]:")
    with stage.ends("ipv6") as (client, server):
        server.sendall(b"hello")
        assert read_exactly(client, 5) == b"hello"


def test_a_name_that_hangs_keeps_no_other(tmp_path: Path) -> None:
    """However many clients wait for an upstream whose name servers are silent, other upstreams' names are found."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\n"
        "resolve = socket.getaddrinfo\n"
        "def getaddrinfo(host, *args, **kwargs):\n"
        "    if host == 'hangs.test':\n"
        "        time.sleep(3)\n"
        "    return resolve('127.0.0.1', *args, **kwargs)\n"
        "socket.getaddrinfo = getaddrinfo\n"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    with Upstream() as upstream, ExitStack() as stack:
        hangs, healthy = (
            {"listen": "127.0.0.1:0", "upstream": f"{name}.test:{upstream.port}"} for name in ("hangs", "healthy")
        )
        config = {"drain": "0s", "proxies": {"hangs": hangs, "healthy": healthy}}
        proxy = stack.enter_context(Faultproxy(tmp_path, config, environment=environment))
        for _ in range(100):
            stack.enter_context(connect(proxy.address("hangs")))
        for _ in range(12):
            with connect(proxy.address("healthy")) as client, upstream.accept() as server:
                client.sendall(b"here")
                assert read_exactly(server, 4) == b"here"
