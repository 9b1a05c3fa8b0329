"""Packets that do not arrive: loss, and a partition; what the kernels of both peers make of it."""

import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.network import need_a_filter
from tests.peers import (
    PATIENCE_S,
    Background,
    Server,
    SilentUpstream,
    Upstream,
    connect,
    connect_error,
    echo,
    pattern,
    read_exactly,
    reset,
    send_error,
    sent_again,
    wait_until_broken,
)
from tests.running import Faultproxy, Scene, Stage, one

SOME = {"probability": "10%"}  # one packet in a million is lost six times in a row, and arrives after 12 s
FEW = {"probability": "5%"}
QUIET_S = 0.3


def rule(name: str = "r", **keys: Any) -> dict[str, Any]:
    return {"name": name, **keys}


SCENES = {
    "download": Scene([rule(loss={**SOME, "direction": "downstream"})]),
    "lossless": Scene(),
    "adds": Scene([rule("a", loss=FEW), rule("b", loss=FEW), rule("c", when={"client": "10.9.9.9"}, loss=FEW)]),
    "beside": Scene([rule("never", loss={"probability": "0%"}), rule("some", loss=SOME)]),
    "none": Scene([rule(loss={"probability": "0%"})]),
    "all": Scene([rule(loss={"probability": "100%", "direction": "upstream"})]),
    "late": Scene([rule(loss=SOME)], upstream=SilentUpstream),
    "dry_run": Scene([rule(dry_run=True, loss=SOME)]),
    "window": Scene([rule(when={"window": {"to": "1h"}}, loss=SOME)]),
    "partition": Scene([rule(hang={"after": "100kB", "acks": False})], receive_buffer=16_384),
    "partition_for": Scene([rule(hang={"after": "4B", "acks": False, "for": "500ms"})]),
    "partition_gone": Scene([rule(hang={"after": "4B", "acks": False})]),
    "partition_slow": Scene([rule(hang={"after": "100kB", "acks": False, "for": "1s"})], receive_buffer=4096),
    "partition_hurried": Scene(
        [rule(hang={"after": "100kB", "acks": False}, reset={"after": "700ms"})], receive_buffer=4096
    ),
    "partition_reset": Scene([rule(hang={"after": "4B", "acks": False}, reset={"after": "700ms"})]),
    "lossy_partition": Scene([rule(hang={"after": "4B", "acks": False, "for": "300ms"}, loss=SOME)]),
}


@pytest.fixture(scope="module", autouse=True)
def _filter() -> None:
    need_a_filter()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("packets"), SCENES) as stage:
        yield stage


def unacknowledged(sock: socket.socket) -> int:
    """How many of its segments have no acknowledgement yet (tcpi_unacked)."""
    return int(struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 24)[0])


def wait_until_sent_again(sock: socket.socket, more_than: int = 0) -> None:
    """Its kernel does not report it, so it is asked."""
    deadline = monotonic() + PATIENCE_S
    while sent_again(sock) <= more_than:
        assert monotonic() < deadline, "nothing was sent again"
        sleep(0.005)


def wait_until_connected(client: socket.socket) -> None:
    """Its SYN, sent again, is answered."""
    assert select.select([], [client], [], PATIENCE_S)[1]
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def dialled_from(port: int) -> str:
    """Our end of the connect to this port that waits for an answer (proc(5), /proc/net/tcp)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    (found,) = (line[1] for line in lines if line[2].endswith(f":{port:04X}") and line[3] == "02")
    return found


def talk(client: socket.socket, server: socket.socket, until_lost: int = 1) -> None:
    """Send upstream, piece by piece, until so many segments were sent again; all arrives, in order."""
    data, sent = pattern(1000), 0
    while sent_again(client) < until_lost:
        client.sendall(data)
        assert read_exactly(server, len(data)) == data
        sent += 1
        assert sent < 1000, "nothing is lost"


# ---- loss


def sent_again_in_download(stage: Stage, name: str, data: bytes) -> int:
    """How many segments a server sends again until a client has all of it (tcp(7), TCP_INFO, tcpi_total_retrans)."""
    with stage.ends(name) as (client, server):
        with Background(lambda: server.sendall(data)):
            assert read_exactly(client, len(data)) == data
        return sent_again(server)


def test_a_download_loses_the_servers_packets(stage: Stage) -> None:
    """The server's kernel sends them again, and every byte arrives: many times later, as scripts/bench-shapes shows."""
    data = pattern(20_000_000)
    assert sent_again_in_download(stage, "lossless", data) < 20
    assert sent_again_in_download(stage, "download", data) > 200
    assert stage.injected("download", client_sees="delay")["fidelity"] == "exact"


def test_packets_are_lost_and_sent_again(stage: Stage) -> None:
    """Two rules lose more than one, and are reported when the first packet is gone; every byte arrives; replies too."""
    with stage.ends("adds") as (client, server):
        talk(client, server, until_lost=3)
        for name in "ab":
            reported = stage.injected("adds", rule=name)
            assert (reported["fault"], reported["client_sees"], reported["fidelity"]) == ("loss", "delay", "exact")
        server.sendall(pattern(100_000))
        assert read_exactly(client, 100_000) == pattern(100_000)
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
    assert stage.closed("adds")["faults"] == ["loss", "loss"]


def test_what_loses_nothing_is_not_reported(stage: Stage) -> None:
    """No loss at 0 %, and no line."""
    with stage.ends("none") as (client, server):
        client.sendall(pattern(100_000))
        assert read_exactly(server, 100_000) == pattern(100_000)
    assert stage.closed("none")["faults"] == []


def test_who_loses_nothing_beside_one_who_does_is_not_reported(stage: Stage) -> None:
    """At 0 % a rule has no part in what is lost."""
    with stage.ends("beside") as (client, server):
        talk(client, server)
        stage.injected("beside", rule="some")
    assert stage.closed("beside")["faults"] == ["loss"]


def test_all_is_lost(stage: Stage) -> None:
    """At 100 % upstream nothing comes from the client, and what the server sends still reaches it."""
    with stage.ends("all") as (client, server):
        server.sendall(b"still")
        assert read_exactly(client, 5) == b"still"
        client.sendall(b"never")
        wait_until_sent_again(client)
        server.settimeout(QUIET_S)
        with pytest.raises(TimeoutError):
            server.recv(1)
        assert stage.injected("all")["fault"] == "loss"


def test_a_server_that_answers_late_is_dialled_once(stage: Stage) -> None:
    """To look for lost packets does not begin the dial anew."""
    late = stage.upstreams["late"]
    assert isinstance(late, SilentUpstream)
    with stage.connect("late") as client:
        late.wait_until_dialled()
        port = dialled_from(late.port)
        sleep(QUIET_S)
        assert dialled_from(late.port) == port
        late.speak()
        with late.accept() as server:
            talk(client, server)


def test_a_dry_run_loses_nothing(stage: Stage) -> None:
    """It is reported at once, as of every shape in a dry run."""
    with stage.ends("dry_run") as (client, server):
        assert stage.proxy.wait_for("fault.dry_run", proxy="dry_run")["fault"] == "loss"
        for _ in range(100):
            client.sendall(b"1234")
            read_exactly(server, 4)
        assert sent_again(client) == 0


def test_a_window(stage: Stage) -> None:
    """As long as it is open."""
    with stage.ends("window") as (client, server):
        talk(client, server)
        stage.injected("window")


def test_an_edit_reaches_open_connections(tmp_path: Path) -> None:
    """Loss begins on a connection that is open, at once, and ends on it too."""
    with (
        Upstream() as upstream,
        Faultproxy(tmp_path, one(upstream.address)) as proxy,
        connect(proxy.address("p")) as client,
        upstream.accept() as server,
    ):
        client.sendall(b"before")
        assert read_exactly(server, 6) == b"before"
        proxy.edit(one(upstream.address, rule(loss=SOME)))
        talk(client, server)
        assert proxy.wait_for("fault.injected")["fault"] == "loss"
        proxy.edit(one(upstream.address))
        client.sendall(b"after")
        assert read_exactly(server, 5) == b"after"
        before = sent_again(client)
        for _ in range(200):
            client.sendall(b"1234")
            read_exactly(server, 4)
            server.sendall(b"1")
            read_exactly(client, 1)
        assert sent_again(client) - before <= 1  # a tail probe, when the machine has no time to answer


def test_a_window_that_closes(tmp_path: Path) -> None:
    """Loss is over for good when its window is, also for connections that it acted on."""
    lossy = rule(when={"window": {"to": "1s"}}, loss={"probability": "100%"})
    with (
        Upstream() as upstream,
        Faultproxy(tmp_path, one(upstream.address, lossy)) as proxy,
        connect(proxy.address("p")) as client,
        upstream.accept() as server,
    ):
        server.sendall(b"!")
        assert read_exactly(client, 1) == b"!"
        client.sendall(b"late")
        assert proxy.wait_for("fault.injected")["elapsed_ms"] < 1000
        assert read_exactly(server, 4) == b"late"


# ---- a partition


def test_a_partition_acknowledges_nothing(stage: Stage) -> None:
    """The bytes before it have all arrived; what either peer sends then is sent again and again."""
    with stage.ends("partition") as (client, server):
        with Background(lambda: server.sendall(pattern(120_000))):
            assert read_exactly(client, 100_000) == pattern(120_000)[:100_000]
        reported = stage.injected("partition")
        assert (reported["bytes_downstream"], reported["client_sees"], reported["fidelity"]) == (
            100_000,
            "silence",
            "exact",
        )
        client.sendall(b"is anyone there?")
        server.sendall(b"hello?")
        wait_until_sent_again(client, more_than=1)
        wait_until_sent_again(server, more_than=1)
        assert unacknowledged(client)
        assert unacknowledged(server)
        client.settimeout(QUIET_S)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_a_partition_that_ends(stage: Stage) -> None:
    """Every byte goes on, in order, by what the kernels send again."""
    with stage.ends("partition_for") as (client, server):
        server.sendall(b"1234567")
        assert read_exactly(client, 4) == b"1234"
        stage.injected("partition_for")
        client.sendall(b"question")
        assert read_exactly(server, 8) == b"question"
        assert read_exactly(client, 3) == b"567"
        assert sent_again(client) > 0
    assert stage.closed("partition_for")["faults"] == ["hang"]


def test_who_resets_in_a_partition_is_let_go(stage: Stage) -> None:
    """RST passes, so that nothing is kept for a client that has no connection any more."""
    with stage.ends("partition_gone") as (client, server):
        server.sendall(b"1234")
        assert read_exactly(client, 4) == b"1234"
        stage.injected("partition_gone")
        reset(client)
        assert stage.closed("partition_gone")["ended_by"] == "client"


def test_a_reset_ends_a_partition(stage: Stage) -> None:
    """Triggered faults after it are injected on time."""
    with stage.ends("partition_reset") as (client, server):
        server.sendall(b"1234")
        assert read_exactly(client, 4) == b"1234"
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert stage.closed("partition_reset")["faults"] == ["hang", "reset"]


def test_a_slow_reader_finds_the_silence_too(stage: Stage) -> None:
    """What it lasts begins once the client has all that was to reach it, however long that took."""
    with stage.ends("partition_slow") as (client, server), Background(lambda: server.sendall(pattern(120_000))):
        slowly = bytearray()
        while len(slowly) < 90_000:
            slowly += client.recv(1000)
            sleep(0.013)
        read_exactly(client, 100_000 - len(slowly))
        client.settimeout(QUIET_S)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(PATIENCE_S)
        assert read_exactly(client, 20_000) == pattern(120_000)[100_000:]


def test_a_partition_of_a_slow_reader_keeps_no_triggered_fault_waiting(stage: Stage) -> None:
    """A reset is injected on time, also while the bytes before the partition are still on their way; this is reported."""
    with stage.ends("partition_hurried") as (client, server), Background(lambda: send_error(server, pattern(100_000))):
        wait_until_broken(client)
        assert stage.injected("partition_hurried", fault="reset")["elapsed_ms"] < 2000
        hung = stage.injected("partition_hurried", fault="hang")
        assert hung["reason"] == "another fault was due before all was acknowledged"


def test_loss_goes_on_after_a_partition(stage: Stage) -> None:
    """One filter takes the other's place, and gives it back."""
    with stage.ends("lossy_partition") as (client, server):
        server.sendall(b"1234")
        assert read_exactly(client, 4) == b"1234"
        stage.injected("lossy_partition", fault="hang")
        client.sendall(b"question")
        assert read_exactly(server, 8) == b"question"
        talk(client, server, until_lost=sent_again(client) + 1)
        stage.injected("lossy_partition", fault="loss")


def test_a_unix_server(tmp_path: Path) -> None:
    """A server behind a path has no packets; the client's are dropped all the same."""
    with (
        Upstream(f"{tmp_path}/s") as upstream,
        Faultproxy(tmp_path, one(f"unix:{tmp_path}/s", rule(hang={"after": "4B", "acks": False}))) as proxy,
        connect(proxy.address("p")) as client,
        upstream.accept() as server,
    ):
        server.sendall(b"1234")
        assert read_exactly(client, 4) == b"1234"
        assert proxy.wait_for("fault.injected")["fidelity"] == "exact"
        client.sendall(b"?")
        wait_until_sent_again(client)


# ---- nobody answers


@pytest.mark.skipif(os.geteuid() != 0, reason="there are no privileges to give up")
def test_a_filter_alone_leaves_everybody_without_an_answer(tmp_path: Path) -> None:
    """Where SYNs cannot be judged the whole listener falls silent: logged as an outage, and who is connected is left alone."""
    with ExitStack() as stack:
        server = stack.enter_context(Server(echo))
        never = one(server.address, rule("dark", when={"window": {"from": "1h"}}, connect_timeout=None))
        proxy = stack.enter_context(Faultproxy(tmp_path, never, raw_sockets=False))
        address = proxy.address("p")
        before = stack.enter_context(connect(address))
        proxy.edit(one(server.address, rule("dark", connect_timeout=None)))
        proxy.wait_for("outage.started", rule="dark", fault="connect_timeout")
        with socket.socket() as client:
            client.settimeout(QUIET_S)
            with pytest.raises(TimeoutError):
                client.connect(address)
            proxy.edit(one(server.address))
            proxy.wait_for("outage.ended", rule="dark")
            client.settimeout(PATIENCE_S)
            wait_until_connected(client)
            client.sendall(b"late")
            assert read_exactly(client, 4) == b"late"
        before.sendall(b"1234")
        assert read_exactly(before, 4) == b"1234"
        assert not proxy.seen("fault.injected")
        assert not proxy.seen("fault.unavailable"), "a filter is all that it needs"


@pytest.mark.skipif(os.geteuid() != 0, reason="there are no privileges to give up")
def test_a_filter_alone_is_silent_from_the_start_and_takes_turns_with_outages(tmp_path: Path) -> None:
    """By windows: silence, then refusals, then an answer; each is reported, and counts once for expect."""
    rules = [
        rule("dark", when={"window": {"to": "1s"}}, connect_timeout=None, expect={"min": 1, "max": 1}),
        rule("down", when={"window": {"from": "1s", "to": "2s"}}, refuse=None),
    ]
    with Server(echo) as server, Faultproxy(tmp_path, one(server.address, *rules), raw_sockets=False) as proxy:
        address = proxy.address("p")
        with socket.socket() as client:
            client.settimeout(QUIET_S)
            with pytest.raises(TimeoutError):
                client.connect(address)
        proxy.wait_for("outage.started", rule="down", fault="refuse")
        assert connect_error(address) == "ECONNREFUSED"
        proxy.wait_for("outage.ended", rule="down", fault="refuse")
        with connect(address) as client:
            client.sendall(b"1234")
            assert read_exactly(client, 4) == b"1234"
        reported = [(line["event"], line["rule"]) for line in proxy.log if "outage" in line["event"]]
        assert reported == [
            ("outage.started", "dark"),
            ("outage.ended", "dark"),
            ("outage.started", "down"),
            ("outage.ended", "down"),
        ]
        proxy.signal(signal.SIGTERM)
        assert proxy.wait_for("proxy.stopped")["faults"] == {"dark": 1, "down": 1}


# ---- where filters are not allowed


@pytest.mark.skipif(os.geteuid() != 0, reason="there are no privileges to give up")
def test_what_is_not_allowed_is_reported_at_the_start_and_after_an_edit(tmp_path: Path) -> None:
    """Each reason once, with the faults that it concerns; what needs nothing, or is a dry run, is not reported."""
    first = [
        rule("exempt", when={"client": "10.0.0.1"}, **{"pass": None}),
        rule("some", when={"first": 1}, refuse=None),
        rule("later", when={"connection": 9}, abort={"after": "1h"}, latency={"delay": "1ms"}),
        rule("dry_run", dry_run=True, loss=SOME),
        rule("all", refuse=None),
    ]
    with Upstream() as upstream, Faultproxy(tmp_path, one(upstream.address, *first), privileges=False) as proxy:
        proxy.wait_for("fault.unavailable", faults=["abort"], proxy="p")
        reported = proxy.wait_for("fault.unavailable", faults=["refuse"], proxy="p")
        assert reported["reason"] == "raw sockets are not allowed here (EPERM)"
        proxy.edit(one(upstream.address, *first, rule("more", slow_connect={"delay": "1s"})))
        proxy.edit(one(upstream.address, *first[:-1], rule("more", slow_connect={"delay": "1s"})))
        proxy.wait_for("fault.unavailable", faults=["refuse", "slow_connect"], proxy="p")
        assert len(proxy.seen("fault.unavailable", faults=["abort"])) == 1
        assert not [line for line in proxy.seen("fault.unavailable") if "latency" in line["faults"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="there are no privileges to give up")
def test_without_privileges(tmp_path: Path) -> None:
    """Nothing is lost, and a partition is a hang that acknowledges: both are reported as degraded, with the reason."""
    rules = [rule("a", when={"connection": 1}, loss=SOME), rule("b", hang={"after": "4B", "acks": False})]
    with ExitStack() as stack:
        server = stack.enter_context(Server(echo))
        proxy = stack.enter_context(Faultproxy(tmp_path, one(server.address, *rules), privileges=False))
        client = stack.enter_context(connect(proxy.address("p")))
        lost = proxy.wait_for("fault.injected", fault="loss")
        if lost["fidelity"] == "degraded":
            reported = proxy.wait_for("fault.unavailable", faults=["loss", "hang"])
            assert reported["reason"] == "a filter on a connection is not allowed here (EPERM)"
        if lost["fidelity"] == "exact":
            pytest.skip("a filter on a connection needs no privilege here")
        assert lost["client_sees"] == "nothing"
        assert lost["reason"] == "nothing is lost: a filter on a connection is not allowed here (EPERM)"
        client.sendall(b"1234")
        assert read_exactly(client, 4) == b"1234"
        hung = proxy.wait_for("fault.injected", fault="hang")
        assert hung["client_sees"] == "silence"
        assert hung["reason"] == "what is sent is acknowledged: a filter on a connection is not allowed here (EPERM)"
        client.sendall(b"56")
        client.settimeout(QUIET_S)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert not unacknowledged(client)
        other = {**rules[0], "name": "other"}
        proxy.edit(one(server.address, other, rules[1]))
        assert proxy.wait_for("fault.injected", rule="other")["fidelity"] == "degraded"
        proxy.signal(signal.SIGTERM)
