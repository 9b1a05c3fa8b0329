"""Shapes on real sockets: what is late, metered, cut up or changed, and that nothing else is; silence and broken pipes."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest

from tests.peers import (
    Background,
    Server,
    SilentUpstream,
    connect,
    echo,
    pattern,
    read_exactly,
    read_to_the_end,
    reset,
    send_error,
    wait_until_broken,
)
from tests.running import Faultproxy, Scene, Stage, one

SMALL = 16_384
MIB = 2**20
QUIET_S = 0.25


def rule(name: str = "r", **keys: Any) -> dict[str, Any]:
    return {"name": name, **keys}


LATENCY = {"delay": "150ms"}
SCENES = {
    "latency": Scene([rule(latency=LATENCY)]),
    "latency_up": Scene([rule(latency={**LATENCY, "direction": "upstream"})]),
    "latency_reset": Scene([rule(latency=LATENCY, reset={"after": "1000B"})]),
    "latency_down": Scene([rule(latency={"delay": "1s", "direction": "downstream"})]),
    "jitter": Scene([rule(latency={"delay": "10ms", "jitter": "50ms", "distribution": "pareto"})]),
    "adds": Scene([rule("a", latency={"delay": "100ms"}), rule("b", latency={"delay": "80ms"})]),
    "stops": Scene([rule("a", latency={"delay": "50ms"}, stop=True), rule("b", latency={"delay": "1h"})]),
    "bandwidth": Scene([rule(bandwidth={"rate": "1MB/s"})]),
    "bandwidth_slow": Scene([rule(bandwidth={"rate": "20kB/s", "direction": "upstream"})]),
    "slice": Scene([rule(slice={"size": "100B"})]),
    "slice_slow": Scene([rule(slice={"size": "100B"})], receive_buffer=SMALL),
    "slice_pause": Scene([rule(slice={"size": "10B", "pause": "20ms"})]),
    "slice_latency": Scene([rule("a", slice={"size": "64B"}), rule("b", latency={"delay": "30ms"})]),
    "corrupt": Scene([rule(corrupt={"at": [0, 5, 999], "direction": "downstream"})]),
    "corrupt_some": Scene([rule(when={"first": 1}, corrupt={"probability": "1%", "direction": "downstream"})]),
    "slow_close": Scene([rule(slow_close={"delay": "1s"})]),
    "slow_close_half": Scene([rule(slow_close={"delay": "300ms", "direction": "downstream"})]),
    "hang": Scene([rule(hang={"after": "4B"})]),
    "hang_at_once": Scene([rule(hang=None)]),
    "hang_up": Scene([rule(hang={"after": {"bytes": "3B", "direction": "upstream"}})]),
    "hang_for": Scene([rule(hang={"after": "4B", "for": "300ms"})]),
    "hang_for_slow": Scene([rule(hang={"after": "100kB", "for": "300ms"})], receive_buffer=SMALL),
    "hang_shaped": Scene([rule(hang={"after": "100kB", "for": "300ms"}, latency={"delay": "30ms"})]),
    "hang_time": Scene([rule(hang={"after": "200ms"})]),
    "hang_in_dial": Scene([rule(hang={"after": "100ms"})], upstream=SilentUpstream),
    "hang_then_reset": Scene([rule(hang={"after": "4B"}, reset={"after": "400ms"})]),
    "pipe": Scene([rule(broken_pipe={"after": "100B"})]),
    "pipe_at_once": Scene([rule(broken_pipe=None)]),
    "pipe_reader": Scene([rule(broken_pipe={"after": {"match": "QUIT\r\n", "direction": "upstream"}})]),
    "match": Scene([rule(reset={"after": {"match": "needle"}})]),
    "match_up": Scene([rule(close={"after": {"match": "needle", "direction": "upstream"}})]),
    "match_sliced": Scene(
        [rule(slice={"size": "3B"}, latency={"delay": "20ms"}, close={"after": {"match": "needle"}})]
    ),
    "match_changed": Scene([rule(corrupt={"at": [2]}, close={"after": {"match": "needle"}})]),
    "match_big": Scene([rule(half_close={"after": {"match": "<end>"}})]),
    "several": Scene(
        [
            rule(
                half_close={"after": {"match": "stop", "direction": "upstream"}, "direction": "upstream"},
                hang={"after": "10B", "for": "200ms"},
                reset={"after": {"match": "bye"}},
            )
        ]
    ),
    "all": Scene(
        [
            rule("late", latency={"delay": "30ms", "jitter": "20ms"}),
            rule("metered", bandwidth={"rate": "4MB/s"}),
            rule("sliced", slice={"size": "1000B", "jitter": "900B"}),
            rule("ends", slow_close={"delay": "50ms"}, close={"after": "300kB"}),
        ]
    ),
    "dry_run": Scene([rule(dry_run=True, latency={"delay": "1h"})]),
    "bystander": Scene([rule(when={"connection": 1000}, latency={"delay": "1h"})]),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("shapes"), SCENES) as stage:
        yield stage


def send_until_stopped(sock: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        sock.sendall(data)


def pieces_of(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def is_quiet(sock: socket.socket) -> bool:
    """Whether nothing comes, not even an end, for as long as is polite to wait."""
    before = sock.gettimeout()
    sock.settimeout(QUIET_S)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(before)
    return False


# ---- latency ---------------------------------------------------------------------------------------------------------


def test_latency_is_never_early(stage: Stage) -> None:
    """Each way each byte, and FIN, takes the delay or longer, and the log says so once."""
    with stage.ends("latency") as (client, server):
        for sender, receiver in ((client, server), (server, client)) * 2:
            sent = monotonic()
            sender.sendall(b"x")
            assert read_exactly(receiver, 1) == b"x"
            assert 0.15 <= monotonic() - sent < 5
        for sender, receiver in ((client, server), (server, client)):
            sent = monotonic()
            sender.shutdown(socket.SHUT_WR)
            assert read_to_the_end(receiver) == (b"", "EOF")
            assert 0.15 <= monotonic() - sent < 5
    closed = stage.closed("latency")
    assert (closed["faults"], closed["ended_by"]) == (["latency"], "client")
    injected = stage.injected("latency")
    assert (injected["trigger"], injected["client_sees"], injected["fidelity"]) == ("data", "delay", "exact")


def test_latency_delays_a_reset_too(stage: Stage) -> None:
    """What was sent before it still arrives, and the reset comes after the delay."""
    with stage.ends("latency") as (client, server):
        client.sendall(b"x")
        assert read_exactly(server, 1) == b"x"  # a reset may overtake the proxy's own connect()
        server.sendall(b"last words")
        sent = monotonic()
        reset(server)
        assert read_to_the_end(client) == (b"last words", "ECONNRESET")
        assert 0.15 <= monotonic() - sent < 5


def test_latency_of_one_direction(stage: Stage) -> None:
    """The other is not late; so a client's round trip takes one delay."""
    with stage.ends("latency_up") as (client, server):
        sent = monotonic()
        client.sendall(b"ping")
        assert read_exactly(server, 4) == b"ping"
        assert monotonic() - sent >= 0.15
        server.sendall(b"pong")
        assert read_exactly(client, 4) == b"pong"


def test_latency_with_a_reset_delivers_exactly_that_many(stage: Stage) -> None:
    """A triggered fault counts what is delivered: 1,000 bytes, late, and then the reset."""
    with stage.ends("latency_reset") as (client, server):
        sent = monotonic()
        server.sendall(pattern(5000))
        assert read_to_the_end(client) == (pattern(1000), "ECONNRESET")
        assert 0.15 <= monotonic() - sent < 5
    assert stage.injected("latency_reset", fault="reset")["bytes_downstream"] == 1000


def test_latency_keeps_order_under_jitter(stage: Stage) -> None:
    """Thousands of writes, spread by a heavy tail, arrive in order, each once."""
    data = pattern(200_000)

    def send() -> None:
        for piece in pieces_of(data, 100):
            server.sendall(piece)
        server.shutdown(socket.SHUT_WR)

    with stage.ends("jitter") as (client, server), Background(send):
        assert read_to_the_end(client) == (data, "EOF")


def test_latencies_add_up(stage: Stage) -> None:
    """Two rules are as late as both together, and each is logged."""
    with stage.ends("adds") as (client, server):
        sent = monotonic()
        client.sendall(b"x")
        assert read_exactly(server, 1) == b"x"
        assert 0.18 <= monotonic() - sent < 5
        assert {stage.injected("adds", nth=nth)["rule"] for nth in (1, 2)} == {"a", "b"}


def test_stop_ends_the_reading(stage: Stage) -> None:
    """The rules below a shaping rule with stop do not shape."""
    with stage.ends("stops") as (client, server):
        client.sendall(b"x")
        assert read_exactly(server, 1) == b"x"


def test_a_hundred_megabytes_under_latency(tmp_path: Path) -> None:
    """All of it arrives, in order; how fast is for a benchmark to say."""
    data = pattern(100_000_000)

    def serve(sock: socket.socket) -> None:
        sock.sendall(data)

    config = one("", rule(latency={"delay": "50ms"}))
    with Server(serve) as server:
        config = one(server.address, rule(latency={"delay": "50ms"}))
        with Faultproxy(tmp_path, config) as proxy, connect(proxy.address("p")) as client:
            began = monotonic()
            assert read_to_the_end(client, MIB) == (data, "EOF")
            assert 0.05 <= monotonic() - began < 20


# ---- bandwidth -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count", "rate"), [("bandwidth", 600_000, 1e6), ("bandwidth_slow", 12_000, 2e4)])
def test_bandwidth_is_a_rate(stage: Stage, name: str, count: int, rate: float) -> None:
    """No byte is there before it has been paid for, so a stream takes its length by the rate, at least."""
    data = pattern(count)
    with stage.ends(name) as (client, server):
        sender, receiver = (server, client) if name == "bandwidth" else (client, server)
        began, got = monotonic(), 0
        with Background(lambda: sender.sendall(data)):
            while got < count:
                got += len(receiver.recv(65536))
                assert got <= (monotonic() - began) * rate
        assert count / rate <= monotonic() - began < 10 * count / rate
    assert stage.injected(name)["client_sees"] == "delay"


# ---- slice -----------------------------------------------------------------------------------------------------------


def segments_in(sock: socket.socket) -> int:
    """How many segments with data have arrived (tcp(7), TCP_INFO, tcpi_data_segs_in)."""
    return int(struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 152)[0])


@pytest.mark.parametrize(("name", "size"), [("slice", 100), ("slice_slow", 100), ("slice_latency", 64)])
def test_slices_are_segments(stage: Stage, name: str, size: int) -> None:
    """Each piece is a segment of its own, also when the reader sleeps while thousands of them come, or they are late."""
    data = pattern(60_000)
    with stage.ends(name) as (client, server):
        began = monotonic()
        with Background(lambda: server.sendall(data)):
            if name == "slice_slow":
                stage.injected(name)
                Event().wait(QUIET_S)
            assert read_exactly(client, len(data)) == data
        assert segments_in(client) >= len(data) / size
        assert name != "slice_latency" or monotonic() - began >= 0.03
    assert stage.injected(name)["fault"] == "slice"


def test_what_is_not_sliced_is_not_cut_up(stage: Stage) -> None:
    """Without the shape the same data takes a handful of segments."""
    with stage.ends("bystander") as (client, server):
        server.sendall(pattern(60_000))
        assert read_exactly(client, 60_000) == pattern(60_000)
        assert segments_in(client) < 100


def test_a_slice_is_what_a_read_gets(stage: Stage) -> None:
    """A client that reads as pieces come gets no more than one piece at a time."""
    with stage.ends("slice_pause") as (client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        server.sendall(pattern(100))
        sizes: list[int] = []
        while sum(sizes) < 100:
            sizes.append(len(client.recv(65536)))
        assert sizes[0] == 10
        assert all(size % 10 == 0 for size in sizes)


def test_slices_pause(stage: Stage) -> None:
    """Ten pieces of ten bytes with nine pauses in between."""
    with stage.ends("slice_pause") as (client, server):
        began = monotonic()
        server.sendall(pattern(100))
        assert read_exactly(client, 100) == pattern(100)
        assert 0.18 <= monotonic() - began < 5


# ---- corrupt ---------------------------------------------------------------------------------------------------------


def changed(before: bytes, after: bytes) -> list[int]:
    return [place for place, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]


def test_corrupt_at_offsets(stage: Stage) -> None:
    """Those bytes and no others, downstream only."""
    data = pattern(5000)
    with stage.ends("corrupt") as (client, server):
        client.sendall(data)
        assert read_exactly(server, 5000) == data
        server.sendall(data)
        assert changed(data, read_exactly(client, 5000)) == [0, 5, 999]
    assert stage.injected("corrupt")["client_sees"] == "change"


def test_corrupt_is_the_same_whatever_the_segments(tmp_path: Path) -> None:
    """Two runs with one seed, one byte-wise in part and one in a single write, change the same bytes to the same."""
    data, seen = pattern(200_000), []
    for sizes in ((200_000,), (1, 1, 1, 7, 4093, 100, 90_000)):
        with Server(lambda sock, sizes=sizes: send_in(sock, data, sizes)) as server:  # type: ignore[misc]
            config = {**one(server.address, rule(corrupt={"probability": "1%"})), "seed": 7}
            with Faultproxy(tmp_path, config) as proxy, connect(proxy.address("p")) as client:
                seen.append(read_to_the_end(client))
    assert seen[0] == seen[1]
    assert 1500 < len(changed(data, seen[0][0])) < 2500


def send_in(sock: socket.socket, data: bytes, sizes: tuple[int, ...]) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for size in sizes:
        sock.sendall(data[:size])
        data = data[size:]
    sock.sendall(data)


# ---- slow_close ------------------------------------------------------------------------------------------------------


def test_slow_close_holds_back_fin_alone(stage: Stage) -> None:
    """Data comes at once, FIN after the delay; a reset is not held back."""
    with stage.ends("slow_close") as (client, server):
        server.sendall(b"all of it")
        ended = monotonic()
        server.shutdown(socket.SHUT_WR)
        assert read_exactly(client, 9) == b"all of it"
        assert monotonic() - ended < 1
        assert read_to_the_end(client) == (b"", "EOF")
        assert 1 <= monotonic() - ended < 20
        client.sendall(b"and back")
        client.close()
        assert read_to_the_end(server) == (b"and back", "EOF")
        assert monotonic() - ended >= 2
    with stage.ends("slow_close") as (client, server):
        reset(server)
        assert read_to_the_end(client) == (b"", "ECONNRESET")
    assert stage.closed("slow_close", 2)["faults"] == []


# ---- hang ------------------------------------------------------------------------------------------------------------


def test_hang_is_silence_both_ways(stage: Stage) -> None:
    """After the trigger nothing moves, not even FIN; what the client sends is acknowledged; its reset ends it all."""
    with stage.ends("hang") as (client, server):
        server.sendall(b"12345678")
        assert read_exactly(client, 4) == b"1234"
        injected = stage.injected("hang")
        assert (injected["client_sees"], injected["bytes_downstream"]) == ("silence", 4)
        client.sendall(b"hello?")
        server.shutdown(socket.SHUT_WR)
        assert is_quiet(client)
        assert is_quiet(server)
        reset(client)
        assert read_to_the_end(server) == (b"", "ECONNRESET")
    assert stage.closed("hang")["bytes_upstream"] == 0


def test_hang_at_once_lets_nothing_pass(stage: Stage) -> None:
    """The server is reached, and hears nothing."""
    with stage.ends("hang_at_once") as (client, server):
        stage.injected("hang_at_once")
        client.sendall(b"hello?")
        assert is_quiet(server)
        assert is_quiet(client)


def test_hang_by_time(stage: Stage) -> None:
    """Bytes move until then, and not afterwards."""
    with stage.ends("hang_time") as (client, server):
        client.sendall(b"before")
        assert read_exactly(server, 6) == b"before"
        assert stage.injected("hang_time")["elapsed_ms"] >= 200
        client.sendall(b"after")
        assert is_quiet(server)


def test_hang_upstream_trigger(stage: Stage) -> None:
    """The server has exactly three bytes, and the client's FIN is held back too."""
    with stage.ends("hang_up") as (client, server):
        client.sendall(b"123456")
        client.shutdown(socket.SHUT_WR)
        assert read_exactly(server, 3) == b"123"
        assert is_quiet(server)


@pytest.mark.parametrize("name", ["hang_for", "hang_for_slow", "hang_shaped"])
def test_hang_for_a_while(stage: Stage, name: str) -> None:
    """Afterwards every byte of both directions arrives, in order, once, and the ends behind them."""
    down, up = pattern(3_000_000), pattern(2_000_000, 1)
    began = monotonic()
    with stage.ends(name) as (client, server):

        def send(sock: socket.socket, data: bytes) -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        with (
            Background(lambda: send(server, down)),
            Background(lambda: send(client, up)),
            Background(lambda: check_equal(read_to_the_end(server), (up, "EOF"))),
        ):
            assert read_to_the_end(client) == (down, "EOF")
    assert monotonic() - began >= 0.3
    assert "hang" in stage.closed(name)["faults"]


def check_equal(one: object, other: object) -> None:
    assert one == other


def test_hang_while_dialling(stage: Stage) -> None:
    """A client whose server has not answered yet receives nothing, and goes on."""
    with stage.connect("hang_in_dial") as client:
        client.sendall(b"hello?")
        assert stage.injected("hang_in_dial")["elapsed_ms"] >= 100
        assert is_quiet(client)


def test_a_reset_ends_a_hang(stage: Stage) -> None:
    """Several triggered faults in one rule are injected each at its own trigger: four bytes, silence, and then a reset on time."""
    began = monotonic()
    with stage.ends("hang_then_reset") as (client, server):
        server.sendall(b"12345678")
        assert read_to_the_end(client) == (b"1234", "ECONNRESET")
        assert monotonic() - began >= 0.4
        assert read_to_the_end(server) == (b"", "ECONNRESET")
    assert stage.closed("hang_then_reset")["faults"] == ["hang", "reset"]


# ---- broken_pipe -----------------------------------------------------------------------------------------------------


def first_error(sock: socket.socket) -> str | None:
    """What the next write fails with, or the one after it."""
    return send_error(sock, b"x") or send_error(sock, b"x")


def test_broken_pipe(stage: Stage) -> None:
    """A reader gets the bytes and EOF, a writer EPIPE, and the server a polite end."""
    with stage.ends("pipe") as (client, server):
        server.sendall(pattern(500))
        assert read_to_the_end(client) == (pattern(100), "EOF")
        wait_until_broken(client)
        assert first_error(client) == "EPIPE"
        assert read_to_the_end(server) == (b"", "EOF")
    injected = stage.injected("pipe")
    assert (injected["client_sees"], injected["bytes_downstream"], injected["fidelity"]) == ("EPIPE", 100, "exact")
    assert stage.closed("pipe")["ended_by"] == "fault"


def test_broken_pipe_at_once(stage: Stage) -> None:
    """A client that only writes gets EPIPE, and the server is never dialled."""
    for number in range(1, 21):
        try:
            client = stage.connect("pipe_at_once")
        except BrokenPipeError:  # connect() itself, overtaken
            continue
        with client:
            stage.injected("pipe_at_once", number)
            assert first_error(client) == "EPIPE"
    assert stage.upstreams["pipe_at_once"].is_left_alone()


def test_broken_pipe_after_a_word(stage: Stage) -> None:
    """The server has all up to the client's QUIT, whose next write fails."""
    with stage.ends("pipe_reader") as (client, server):
        client.sendall(b"work\r\nQU")
        assert read_exactly(server, 8) == b"work\r\nQU"
        client.sendall(b"IT\r\nmore")
        assert read_to_the_end(server) == (b"IT\r\n", "EOF")
        stage.injected("pipe_reader")
        assert read_to_the_end(client) == (b"", "EOF")
        assert first_error(client) == "EPIPE"


# ---- match -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(100,), (10, 2), (9, 1, 1, 1, 1, 1, 1, 1), (15, 1), (16, 1)])
def test_match_is_exact(stage: Stage, sizes: tuple[int, ...]) -> None:
    """However the stream is cut up, the client gets the last byte of the match, and not one more."""
    data = b"0123456789needle and more"
    with stage.ends("match") as (client, server):
        send_in(server, data, sizes)
        assert read_to_the_end(client) == (data[:16], "ECONNRESET")
        assert read_to_the_end(server) == (b"", "ECONNRESET")


def test_match_upstream(stage: Stage) -> None:
    """What the client says triggers it, to the byte, while the other direction goes its way."""
    with stage.ends("match_up") as (client, server):
        server.sendall(b"a needle that does not count")
        assert read_exactly(client, 28) == b"a needle that does not count"
        send_in(client, b"....needle....", (7,))
        assert read_to_the_end(server) == (b"....needle", "EOF")
        assert read_to_the_end(client) == (b"", "EOF")
    assert stage.injected("match_up")["trigger"] == 'match of "needle" upstream'


def test_match_far_into_a_stream(stage: Stage) -> None:
    """Megabytes before it, megabytes behind it."""
    data = bytes(5_000_000) + b"<end>" + bytes(3_000_000)
    with stage.ends("match_big") as (client, server), Background(lambda: server.sendall(data)):
        assert read_to_the_end(client) == (data[:5_000_005], "EOF")


@pytest.mark.parametrize("name", ["match_sliced", "match_changed"])
def test_match_sees_what_is_delivered(stage: Stage, name: str) -> None:
    """Late and in slices it is exact all the same; a byte that corrupt has changed no longer matches."""
    data = b"needle, needle, needle"
    with stage.ends(name) as (client, server):
        server.sendall(data)
        got, end = read_to_the_end(client)
        assert end == "EOF"
        assert len(got) == (6 if name == "match_sliced" else 14)


def test_several_triggered_faults_in_one_rule(stage: Stage) -> None:
    """Each is injected at its own trigger, in whatever order they come."""
    with stage.ends("several") as (client, server):
        client.sendall(b"please stop it")
        assert read_to_the_end(server) == (b"please stop", "EOF")
        sent = monotonic()
        server.sendall(b"0123456789abc bye and more")
        assert read_to_the_end(client) == (b"0123456789abc bye", "ECONNRESET")
        assert monotonic() - sent >= 0.2
        closed = stage.closed("several")
    assert closed["faults"] == ["half_close", "hang", "reset"]


# ---- together --------------------------------------------------------------------------------------------------------


def test_shapes_and_a_triggered_fault_of_four_rules(stage: Stage) -> None:
    """Late, metered and sliced, the client gets exactly 300 kB; then EOF."""
    data = pattern(400_000)
    with stage.ends("all") as (client, server), Background(lambda: send_until_stopped(server, data)):
        began = monotonic()
        assert read_to_the_end(client) == (data[:300_000], "EOF")
        assert monotonic() - began >= 300_000 / 4e6
    assert set(stage.closed("all")["faults"]) == {"latency", "bandwidth", "slice", "close"}


def test_a_dry_run_shapes_nothing(stage: Stage) -> None:
    """It is reported, and the bytes are not late."""
    with stage.ends("dry_run") as (client, server):
        client.sendall(b"x")
        assert read_exactly(server, 1) == b"x"
        assert stage.proxy.wait_for("fault.dry_run", connection="dry_run#1")["fault"] == "latency"


def test_latency_loses_nothing_to_a_late_reset(stage: Stage) -> None:
    """A server that has sent all and closed resets what the client still sends; what is on its way arrives all the same."""
    data = pattern(100_000)
    with stage.ends("latency_down") as (client, server):
        server.sendall(data)
        server.close()
        assert is_quiet(client)
        client.sendall(b"too late")
        assert read_to_the_end(client)[0] == data


# ---- memory ----------------------------------------------------------------------------------------------------------

COMBINATIONS: dict[str, list[dict[str, Any]]] = {
    "latency": [rule(latency={"delay": "300ms"})],
    "long_latency": [rule(latency={"delay": "1h"})],
    "bandwidth": [rule(bandwidth={"rate": "100MB/s"})],
    "slow_bandwidth": [rule(bandwidth={"rate": "2kB/s"}, latency={"delay": "1h"})],
    "slice": [rule(slice={"size": "1B"})],
    "slice_latency": [rule("a", latency={"delay": "1h"}), rule("b", slice={"size": "1B"})],
    "slice_bandwidth": [rule("a", bandwidth={"rate": "100MB/s"}), rule("b", slice={"size": "1B", "pause": "1us"})],
    "corrupt": [rule(corrupt={"probability": "5%"}, latency={"delay": "1h"})],
    "match": [rule(close={"after": {"match": "never comes"}})],
    "match_latency": [rule(close={"after": {"match": "never comes"}}, latency={"delay": "1h"})],
    "byte_trigger": [rule(close={"after": "1GB"}, latency={"delay": "1h"})],
    "hang": [rule(hang={"after": "100ms"}, latency={"delay": "1h"})],
}
CONNECTIONS = 3


@pytest.mark.parametrize("rules", COMBINATIONS.values(), ids=COMBINATIONS)
def test_memory_is_bounded(tmp_path: Path, rules: list[dict[str, Any]]) -> None:
    """Readers that never read hold their senders back: each of three connections costs 10 MiB at most."""
    stop = Event()
    piece = bytes(256 * 1024)

    def flood(sock: socket.socket) -> None:
        fill(sock, piece, 60 * MIB)
        stop.wait(20)

    with Server(flood) as server, Faultproxy(tmp_path, one(server.address, *rules)) as proxy:
        address = proxy.address("p")
        before = proxy.resident_bytes()
        clients = [connect(address, receive_buffer=SMALL) for _ in range(CONNECTIONS)]
        try:
            wait_until_it_rests(proxy)
            assert proxy.resident_bytes() - before < CONNECTIONS * 10 * MIB
        finally:
            stop.set()
            for client in clients:
                reset(client)


def test_memory_is_bounded_with_tiny_segments(tmp_path: Path) -> None:
    """A server that sends byte by byte under a long latency costs no more than one that sends in bulk."""
    stop = Event()

    def drip(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(100_000):
            sock.sendall(b"x")
            if stop.is_set():
                break
        stop.wait(20)

    with Server(drip) as server, Faultproxy(tmp_path, one(server.address, rule(latency={"delay": "1h"}))) as proxy:
        address = proxy.address("p")
        before = proxy.resident_bytes()
        with connect(address) as client:
            wait_until_it_rests(proxy)
            assert proxy.resident_bytes() - before < 10 * MIB
            stop.set()
            reset(client)


def fill(sock: socket.socket, piece: bytes, count: int) -> None:
    """Send so many bytes, or as many as are taken within a second."""
    sock.settimeout(1)
    with suppress(OSError):
        for _ in range(count // len(piece)):
            sock.sendall(piece)


def wait_until_it_rests(proxy: Faultproxy) -> None:
    """Wait until the process needs no more memory, and no more than a little time (proc(5), stat)."""
    wait_for_rest(lambda: (proxy.resident_bytes() // MIB, cpu_ticks(proxy.pid) // 5))


def wait_for_rest(state: Callable[[], object]) -> None:
    quiet = Event()
    for _ in range(40):
        before = state()
        quiet.wait(0.3)
        if state() == before:
            return


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_small_requests_through_every_shape(tmp_path: Path) -> None:
    """A client and an echo server, in turn, under all shapes at once but corrupt: each answer is right."""
    rules = [
        rule("a", latency={"delay": "2ms", "jitter": "2ms"}),
        rule("b", bandwidth={"rate": "1MB/s"}),
        rule("c", slice={"size": "7B", "jitter": "5B"}),
        rule("d", slow_close={"delay": "20ms"}),
    ]
    with Server(echo) as server, Faultproxy(tmp_path, one(server.address, *rules)) as proxy:
        with connect(proxy.address("p")) as client:
            for count in range(1, 60):
                client.sendall(pattern(count * 10, count))
                assert read_exactly(client, count * 10) == pattern(count * 10, count)
            client.shutdown(socket.SHUT_WR)
            assert read_to_the_end(client) == (b"", "EOF")
        assert set(proxy.wait_for("connection.closed")["faults"]) == {"latency", "bandwidth", "slice", "slow_close"}
