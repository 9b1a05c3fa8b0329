"""Faults are injected at the exact byte or on time, and what each peer sees is what the fault promises."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from faultproxy.kernel import sock_diag
from tests.network import Namespaces, inside
from tests.peers import (
    Background,
    Server,
    SilentUpstream,
    Upstream,
    connect,
    connect_and_read,
    echo,
    pattern,
    read_exactly,
    read_to_the_end,
    send_error,
    wait_until_arrived,
    wait_until_broken,
)
from tests.running import Faultproxy, Scene, Stage, one

OFFSETS = (0, 1, 4096, 65_537, 1_000_000, 5_000_000)
BEYOND = 200_000
SMALL = 16_384
SEES = {"reset": "ECONNRESET", "close": "EOF", "half_close": "EOF"}
EXACT = [
    (fault, direction, offset, speed)
    for fault in SEES
    for direction in ("downstream", "upstream")
    for offset in OFFSETS
    for speed in ("fast", "slow")
]


def rule(name: str = "r", **keys: Any) -> dict[str, Any]:
    return {"name": name, **keys}


def exact_name(fault: str, direction: str, offset: int, speed: str) -> str:
    return f"{fault}-{direction}-{offset}-{speed}"


def exact_scene(fault: str, direction: str, offset: int, speed: str) -> Scene:
    options: dict[str, Any] = {"after": {"bytes": f"{offset}B", "direction": direction}}
    if fault == "half_close":
        options["direction"] = direction
    return Scene([{"name": "r", fault: options}], receive_buffer=SMALL if speed == "slow" else None)


SCENES = {exact_name(*case): exact_scene(*case) for case in EXACT} | {
    "time": Scene([rule(reset={"after": "200ms"})]),
    "time_close": Scene([rule(close={"after": "200ms"})]),
    "time_half_close": Scene([rule(half_close={"after": "200ms"})]),
    "time_drops": Scene([rule(reset={"after": "400ms"})]),
    "time_in_dial": Scene([rule(reset={"after": "200ms", "to": "client"})], upstream=SilentUpstream),
    "to_client": Scene([rule(reset={"after": "1000B", "to": "client"})]),
    "to_server": Scene([rule(reset={"after": "1000B", "to": "server"})]),
    "close_chatty": Scene([rule(close={"after": "150000B"})], receive_buffer=SMALL),
    "to_server_chatty": Scene([rule(reset={"after": "150000B", "to": "server"})], receive_buffer=SMALL),
    "to_both": Scene([rule(reset={"after": "1000B"})]),
    "half_down": Scene([rule(half_close={"after": "1000B"})]),
    "half_up": Scene([rule(half_close={"after": {"bytes": "10B", "direction": "upstream"}, "direction": "upstream"})]),
    "half_then_reset": Scene(
        [rule(half_close={"after": "1000B"}, reset={"after": {"bytes": "10B", "direction": "upstream"}})]
    ),
    "half_at_once_then_close": Scene(
        [rule(half_close=None, close={"after": {"bytes": "5B", "direction": "upstream"}})]
    ),
    "abort": Scene([rule(abort={"after": "4B"})]),
    **{
        f"abort_{does}": Scene([rule(abort={"after": {"bytes": "4B", "direction": "upstream"}})])
        for does in ("reads", "writes")
    },
    "never_reached": Scene([rule(reset={"after": "1000B"})]),
    "close_while_sending": Scene([rule(close={"after": "1000B"})]),
    "undialled": Scene([rule(reset={"to": "client"})]),
    "dialled": Scene([rule(reset=None)]),
    "moment_undialled": Scene([rule(reset={"to": "client"})]),
    "moment_dialled": Scene([rule(reset=None)]),
    "reset_server_at_once": Scene([rule(reset={"to": "server"})]),
    "exempt": Scene([rule("health", when={"nth": [2]}, **{"pass": None}), rule("all", reset=None)]),
    "dry_run": Scene([rule("s", dry_run=True, reset={"after": "4B"}), rule("real", close={"after": "8B"})]),
    "dry_run_refuse": Scene([rule("s", dry_run=True, when={"first": 1}, refuse=None)]),
    "limit": Scene([rule(limit=2, reset=None)]),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("triggered")
    scenes = SCENES | {"unix": Scene([rule(reset={"after": "1000B"})], upstream=partial(Upstream, f"{folder}/u.sock"))}
    with Stage(folder, scenes) as stage:
        yield stage


def send_until_stopped(sock: socket.socket, data: bytes) -> None:
    with suppress(ConnectionError):
        sock.sendall(data)


@pytest.mark.parametrize(("fault", "direction", "offset", "speed"), EXACT)
def test_a_byte_trigger_is_exact(stage: Stage, fault: str, direction: str, offset: int, speed: str) -> None:
    """Whoever reads gets so many bytes, not one more or less, then the errno or EOF that the fault is defined by."""
    name = exact_name(fault, direction, offset, speed)
    data = pattern(offset + BEYOND)
    try:
        with stage.ends(name) as (client, server):
            reader, sender = (client, server) if direction == "downstream" else (server, client)
            with Background(lambda: send_until_stopped(sender, data)):
                assert read_to_the_end(reader, 5000) == (data[:offset], SEES[fault])
                if fault == "half_close":
                    reader.sendall(b"the other direction goes on")
                    reader.shutdown(socket.SHUT_WR)
            if fault == "half_close":
                assert read_to_the_end(sender) == (b"the other direction goes on", "EOF")
            elif fault == "close":
                assert read_to_the_end(sender) == (b"", "EOF")
    except ConnectionResetError:  # connect() itself, overtaken by the reset
        assert (fault, offset) == ("reset", 0)
        stage.upstreams[name].accept().close()
    injected = stage.injected(name)
    reported = {key: injected[key] for key in ("fault", "fidelity", f"bytes_{direction}")}
    assert reported == {"fault": fault, "fidelity": "exact", f"bytes_{direction}": offset}


def test_what_the_log_says_of_a_fault(stage: Stage) -> None:
    """Rule, fault, count, options, trigger, what the client sees, bytes both ways, who and when."""
    with stage.ends("to_both") as (client, server):
        client.sendall(b"request")
        assert read_exactly(server, 7) == b"request"
        server.sendall(pattern(3000))
        assert read_to_the_end(client) == (pattern(1000), "ECONNRESET")
        assert read_to_the_end(server) == (b"", "ECONNRESET")
        injected = stage.injected("to_both")
        host, port = client.getsockname()
    elapsed_ms, timestamp = injected.pop("elapsed_ms"), injected.pop("timestamp")
    assert 0 < elapsed_ms < 20_000
    assert timestamp.endswith("Z")
    assert injected == {
        "level": "info",
        "event": "fault.injected",
        "proxy": "to_both",
        "connection": "to_both#1",
        "client": f"{host}:{port}",
        "upstream": stage.upstreams["to_both"].address,
        "rule": "r",
        "fault": "reset",
        "ordinal": 1,
        "injected": 1,
        "options": {"after": {"bytes": "1kB"}, "to": "both"},
        "trigger": "1kB downstream",
        "client_sees": "ECONNRESET",
        "fidelity": "exact",
        "bytes_upstream": 7,
        "bytes_downstream": 1000,
    }
    closed = stage.closed("to_both")
    assert (closed["rule"], closed["faults"], closed["ended_by"]) == ("r", ["reset"], "fault")


@pytest.mark.parametrize(
    ("name", "end", "sees"),
    [("time", "ECONNRESET", "ECONNRESET"), ("time_close", "EOF", "EOF"), ("time_half_close", "EOF", "EOF")],
)
def test_a_time_trigger_is_never_early(stage: Stage, name: str, end: str, sees: str) -> None:
    """So long after the accept, and not before, the connection ends."""
    began = monotonic()
    with stage.ends(name) as (client, server):
        server.sendall(b"greeting")
        assert read_to_the_end(client) == (b"greeting", end)
        assert 0.2 <= monotonic() - began < 10
        injected = stage.injected(name)
    assert 200 <= injected["elapsed_ms"] < 10_000
    assert (injected["trigger"], injected["client_sees"], injected["bytes_downstream"]) == ("200ms", sees, 8)


def test_a_time_trigger_drops_what_is_held(stage: Stage) -> None:
    """A client that reads nothing is reset on time, and what was still on its way is gone."""
    data = pattern(30_000_000)
    with stage.ends("time_drops") as (client, server), Background(lambda: send_until_stopped(server, data)):
        wait_until_broken(client)
        got, end = read_to_the_end(client)
        assert end == "ECONNRESET"
        assert len(got) < len(data)
        assert data.startswith(got)
    assert stage.injected("time_drops")["fidelity"] == "exact"


def test_a_time_trigger_does_not_wait_for_the_upstream(stage: Stage) -> None:
    """A client is reset on time though its upstream has not answered."""
    assert connect_and_read(stage.proxy.address("time_in_dial")) == (b"", "ECONNRESET")
    assert 200 <= stage.injected("time_in_dial")["elapsed_ms"] < 4000
    assert stage.closed("time_in_dial")["ended_by"] == "fault"


@pytest.mark.parametrize("scene", ["moment_undialled", "moment_dialled"])
def test_a_reset_at_once_leaves_connect_a_moment_to_return(stage: Stage, scene: str) -> None:
    """Without it connect() failed for one client in a hundred; for a busy one, for every second."""
    for _ in range(3):
        began = monotonic()
        with connect(stage.proxy.address(scene)) as client:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            assert monotonic() - began >= 0.004


def test_a_reset_to_the_client_is_a_polite_end_for_the_server(stage: Stage) -> None:
    """The server reads EOF, after all that the client had sent."""
    with stage.ends("to_client") as (client, server):
        client.sendall(b"request")
        assert read_exactly(server, 7) == b"request"
        server.sendall(pattern(1000))
        assert read_to_the_end(client) == (pattern(1000), "ECONNRESET")
        assert read_to_the_end(server) == (b"", "EOF")
    assert stage.injected("to_client")["client_sees"] == "ECONNRESET"


def test_a_reset_to_the_server_is_a_polite_end_for_the_client(stage: Stage) -> None:
    """The client reads the bytes up to the trigger, then EOF."""
    with stage.ends("to_server") as (client, server):
        server.sendall(pattern(1500))
        assert read_to_the_end(client) == (pattern(1000), "EOF")
        assert read_to_the_end(server) == (b"", "ECONNRESET")
    assert stage.injected("to_server")["client_sees"] == "EOF"


@pytest.mark.parametrize("name", ["close_chatty", "to_server_chatty"])
def test_a_polite_end_is_whole_for_a_slow_client_that_goes_on_sending(stage: Stage, name: str) -> None:
    """However long it takes to read what was delivered, what it writes meanwhile is not answered with RST."""
    data = pattern(200_000)
    read = b""
    with stage.ends(name) as (client, server), Background(lambda: send_until_stopped(server, data)):
        began = monotonic()
        while piece := client.recv(1000):
            read += piece
            if monotonic() < began + 2:
                with suppress(ConnectionError):
                    client.sendall(b"!")
                select.select([], [], [], 0.02)
    assert read == data[:150_000]


def test_a_half_close_downstream_leaves_the_client_its_say(stage: Stage) -> None:
    """The client reads EOF; a megabyte that it sends later arrives; what the server still sends is thrown away."""
    data = pattern(1_000_000)
    with stage.ends("half_down") as (client, server):
        with Background(lambda: server.sendall(data)):
            assert read_to_the_end(client) == (data[:1000], "EOF")
        with Background(lambda: client.sendall(data)):
            assert read_exactly(server, len(data)) == data
        client.close()
        assert read_to_the_end(server) == (b"", "EOF")
        server.close()
        closed = stage.closed("half_down")
    assert (closed["bytes_upstream"], closed["bytes_downstream"]) == (1_000_000, 1000)
    assert stage.injected("half_down")["client_sees"] == "EOF"


def test_a_half_close_upstream_leaves_the_server_its_reply(stage: Stage) -> None:
    """The server reads EOF; a megabyte that it sends later arrives; what the client still sends is thrown away."""
    data = pattern(1_000_000)
    with stage.ends("half_up") as (client, server):
        with Background(lambda: client.sendall(data)):
            assert read_to_the_end(server) == (data[:10], "EOF")
        with Background(lambda: server.sendall(data)):
            assert read_exactly(client, len(data)) == data
        server.close()
        assert read_to_the_end(client) == (b"", "EOF")
    assert stage.injected("half_up")["client_sees"] == "nothing"


def test_a_reset_after_a_half_close_is_a_broken_pipe(stage: Stage) -> None:
    """Two faults of a rule wait each for its own trigger; the client that has read EOF gets EPIPE on a write."""
    with stage.ends("half_then_reset") as (client, server):
        server.sendall(pattern(5000))
        assert read_to_the_end(client) == (pattern(1000), "EOF")
        client.sendall(b"0123456789")
        wait_until_broken(client)
        assert send_error(client, b"x") == "EPIPE"
        assert read_to_the_end(server) == (b"0123456789", "ECONNRESET")
    half_close, reset = stage.injected("half_then_reset"), stage.injected("half_then_reset", nth=2)
    assert (half_close["fault"], half_close["client_sees"]) == ("half_close", "EOF")
    assert (reset["fault"], reset["client_sees"]) == ("reset", "EPIPE")
    assert (half_close["ordinal"], reset["ordinal"]) == (1, 1)
    assert stage.closed("half_then_reset")["faults"] == ["half_close", "reset"]


def test_a_close_after_a_half_close_is_not_seen(stage: Stage) -> None:
    """A client that was sent EOF at once sees nothing more when the rest is closed; the server gets FIN."""
    with stage.ends("half_at_once_then_close") as (client, server):
        assert read_to_the_end(client) == (b"", "EOF")
        client.sendall(b"01234 and more")
        assert read_to_the_end(server) == (b"01234", "EOF")
    injected = stage.injected("half_at_once_then_close", fault="close")
    assert (injected["client_sees"], injected["bytes_upstream"]) == ("nothing", 5)


def test_a_trigger_that_is_not_reached_does_nothing(stage: Stage) -> None:
    """999 of 1,000 bytes end the way the peers end them, and no fault is reported."""
    with stage.ends("never_reached") as (client, server):
        server.sendall(pattern(999))
        server.close()
        assert read_to_the_end(client) == (pattern(999), "EOF")
    closed = stage.closed("never_reached")
    assert (closed["faults"], closed["ended_by"]) == ([], "server")
    assert not stage.proxy.seen("fault.injected", proxy="never_reached")


def test_a_close_never_turns_into_a_reset(stage: Stage) -> None:
    """A client in the middle of sending reads the exact bytes and EOF, and what it sends on fails nowhere."""
    data = pattern(4_000_000)
    with stage.ends("close_while_sending") as (client, server):
        with Background(lambda: client.sendall(data)):
            read_exactly(server, 1000)
            server.sendall(pattern(2000))
            assert read_to_the_end(client) == (pattern(1000), "EOF")
        wait_until_arrived(client)
        assert read_to_the_end(client) == (b"", "EOF")


def test_a_fault_at_once_that_spares_the_server_does_not_dial_it(stage: Stage) -> None:
    """The client is reset, and the upstream never hears of it."""
    assert connect_and_read(stage.proxy.address("undialled")) == (b"", "ECONNRESET")
    injected = stage.injected("undialled")
    assert (injected["trigger"], injected["fidelity"]) == ("at once", "exact")
    stage.closed("undialled")
    assert stage.upstreams["undialled"].is_left_alone()


def test_a_fault_at_once_for_the_server_reaches_it(stage: Stage) -> None:
    """The upstream is dialled, to be reset at once like the client."""
    assert connect_and_read(stage.proxy.address("dialled")) == (b"", "ECONNRESET")
    with stage.upstreams["dialled"].accept() as server:
        assert read_to_the_end(server) == (b"", "ECONNRESET")


def test_a_reset_at_once_to_the_server_alone(stage: Stage) -> None:
    """The server gets ECONNRESET, the client EOF."""
    with stage.ends("reset_server_at_once") as (client, server):
        assert read_to_the_end(server) == (b"", "ECONNRESET")
        assert read_to_the_end(client) == (b"", "EOF")


def test_pass_exempts(stage: Stage) -> None:
    """The connection that a pass rule picks is left alone by the rules below; the others are not."""
    address = stage.proxy.address("exempt")
    assert connect_and_read(address) == (b"", "ECONNRESET")
    stage.upstreams["exempt"].accept().close()
    with stage.ends("exempt") as (client, server):
        server.sendall(b"healthy")
        assert read_exactly(client, 7) == b"healthy"
    assert connect_and_read(address) == (b"", "ECONNRESET")
    stage.upstreams["exempt"].accept().close()
    stage.injected("exempt", 3)
    assert not stage.proxy.seen("fault.injected", connection="exempt#2")
    assert [line["ordinal"] for line in stage.proxy.seen("fault.injected", proxy="exempt")] == [1, 2]


def test_a_dry_run_only_logs(stage: Stage) -> None:
    """Where a rule with dry_run would inject a fault the log says so, and nothing else happens; the rules below are read."""
    with stage.ends("dry_run") as (client, server):
        server.sendall(b"0123456789")
        assert read_to_the_end(client) == (b"01234567", "EOF")
    dry_run = stage.proxy.wait_for("fault.dry_run", connection="dry_run#1")
    assert (dry_run["rule"], dry_run["fault"], dry_run["client_sees"]) == ("s", "reset", "ECONNRESET")
    assert (dry_run["trigger"], dry_run["bytes_downstream"], dry_run["ordinal"]) == ("4B downstream", 4, 1)
    assert stage.injected("dry_run")["rule"] == "real"
    assert stage.closed("dry_run")["faults"] == ["close"]


def test_a_dry_run_of_refuse_refuses_nobody(stage: Stage) -> None:
    """The connection lives, and the log tells what it would have seen."""
    with stage.ends("dry_run_refuse") as (client, server):
        server.sendall(b"welcome")
        assert read_exactly(client, 7) == b"welcome"
    dry_run = stage.proxy.wait_for("fault.dry_run", connection="dry_run_refuse#1")
    assert (dry_run["fault"], dry_run["client_sees"]) == ("refuse", "ECONNREFUSED")


def test_limit_ends_a_rule(stage: Stage) -> None:
    """After so many times the rule lets everybody through."""
    for _ in range(2):
        assert connect_and_read(stage.proxy.address("limit")) == (b"", "ECONNRESET")
        stage.upstreams["limit"].accept().close()
    with stage.ends("limit") as (client, server):
        server.sendall(b"free")
        assert read_exactly(client, 4) == b"free"


def test_without_privileges_a_refuse_for_some_is_a_reset_and_says_so(tmp_path: Path) -> None:
    """connect() succeeds, the next call fails with ECONNRESET, the upstream is not dialled; the log calls it degraded."""
    scenes = {"refuse_some": Scene([rule(when={"first": 2}, refuse=None)])}
    with Stage(tmp_path, scenes, privileges=False) as stage:
        reason = stage.proxy.wait_for("fault.unavailable", proxy="refuse_some")["reason"]
        assert "EPERM" in reason
        for number in (1, 2):
            assert connect_and_read(stage.proxy.address("refuse_some")) == (b"", "ECONNRESET")
            injected = stage.injected("refuse_some", number)
            assert (injected["fault"], injected["client_sees"], injected["fidelity"]) == (
                "refuse",
                "ECONNRESET",
                "degraded",
            )
            assert (injected["trigger"], injected["ordinal"]) == ("connect", number)
            assert injected["reason"] == f"the connection is accepted, then reset: {reason}"
        assert stage.upstreams["refuse_some"].is_left_alone()
        with stage.ends("refuse_some") as (client, server):
            server.sendall(b"free")
            assert read_exactly(client, 4) == b"free"


def need_to_destroy() -> None:
    """Skip the test, with the reason, where a client's own socket cannot be destroyed."""
    try:
        sock_diag.check()
    except OSError as error:
        pytest.skip(f"sockets may not be destroyed here: {error}")


def test_an_abort(stage: Stage) -> None:
    """The client gets its bytes, then ECONNABORTED; the server reads EOF."""
    need_to_destroy()
    with stage.ends("abort") as (client, server):
        server.sendall(b"last words")
        assert read_to_the_end(client) == (b"last", "ECONNABORTED")
        assert read_to_the_end(server) == (b"", "EOF")
    reported = stage.injected("abort")
    assert (reported["client_sees"], reported["fidelity"], reported["bytes_downstream"]) == ("ECONNABORTED", "exact", 4)


@pytest.mark.parametrize("does", ["reads", "writes"])
def test_an_abort_after_the_servers_fin(stage: Stage, does: str) -> None:
    """A reader sees EOF, and so the log says; only a write fails with ECONNABORTED."""
    need_to_destroy()
    with stage.ends(f"abort_{does}") as (client, server):
        server.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        client.sendall(b"quit")
        assert read_exactly(server, 4) == b"quit"
        wait_until_broken(client)
        if does == "reads":
            assert read_to_the_end(client) == (b"", "EOF")
        else:
            assert send_error(client, b"?") == "ECONNABORTED"
        assert read_to_the_end(server) == (b"", "EOF")
    reported = stage.injected(f"abort_{does}")
    assert (reported["fault"], reported["client_sees"], reported["fidelity"]) == ("abort", "EOF", "exact")


def test_an_abort_in_another_network_namespace_is_a_reset_and_says_so(tmp_path: Path) -> None:
    """The client gets its bytes, then ECONNRESET, over IPv4 and IPv6; the log says why it is no more than that."""
    with ExitStack() as stack:
        namespaces = stack.enter_context(Namespaces())
        with inside(namespaces.server):
            upstream = stack.enter_context(Upstream())
            proxies = {
                name: {"listen": f"{host}:0", "upstream": upstream.address, "rules": [rule(abort={"after": "4B"})]}
                for name, host in (("v4", namespaces.SERVER), ("v6", f"[{namespaces.SERVER6}]"), ("all", ""))
            }
            proxy = stack.enter_context(Faultproxy(tmp_path, {"proxies": proxies}))
        for name, host in (("v4", namespaces.SERVER), ("v6", namespaces.SERVER6), ("all", namespaces.SERVER)):
            _, port = proxy.address(name)
            with inside(namespaces.client):
                client = stack.enter_context(connect((host, port)))
            with upstream.accept() as server:
                server.sendall(b"last words")
                assert read_to_the_end(client) == (b"last", "ECONNRESET")
                assert read_to_the_end(server) == (b"", "EOF")
            injected = proxy.wait_for("fault.injected", proxy=name)
            reported = {
                key: injected[key] for key in ("fault", "client_sees", "fidelity", "reason", "bytes_downstream")
            }
            assert reported == {
                "fault": "abort",
                "client_sees": "ECONNRESET",
                "fidelity": "degraded",
                "reason": "the connection is reset: the client is in another network namespace (ENOENT)",
                "bytes_downstream": 4,
            }


def test_a_unix_upstream_cannot_be_reset(stage: Stage) -> None:
    """The client is reset at the exact byte, the server reads EOF, and the log calls that degraded."""
    with stage.ends("unix") as (client, server):
        server.sendall(pattern(1000))  # with more unread, Linux itself says ECONNRESET (unix_release_sock)
        assert read_to_the_end(client) == (pattern(1000), "ECONNRESET")
        assert read_to_the_end(server) == (b"", "EOF")
    injected = stage.injected("unix")
    assert (injected["fidelity"], injected["client_sees"]) == ("degraded", "ECONNRESET")
    assert "Unix" in injected["reason"]


@pytest.mark.parametrize(("clients", "code"), [(0, 3), (1, 0), (2, 0), (3, 3)])
def test_expectations_decide_the_exit_code(tmp_path: Path, clients: int, code: int) -> None:
    """With --expect the program exits 3, and says why, if a rule injected fewer or more faults than it should."""
    config = one("127.0.0.1:9", rule("cut", expect={"min": 1, "max": 2}, reset={"to": "client"}))
    with Faultproxy(tmp_path, config, "--expect", may_complain=True) as proxy:
        address = proxy.address("p")
        for number in range(1, clients + 1):
            assert connect_and_read(address) == (b"", "ECONNRESET")
            proxy.wait_for("fault.injected", connection=f"p#{number}")
        assert proxy.stop() == code
    wrong = {0: "injected 0 faults, expected at least 1", 3: "injected 3 faults, expected at most 2"}
    assert proxy.errors == (f'p: "cut" {wrong[clients]}\n' if code else "")


def test_expectations_unasked_for_do_not_decide(tmp_path: Path) -> None:
    """Without --expect the exit code is 0."""
    with Faultproxy(tmp_path, one("127.0.0.1:9", rule(expect={"min": 1}, reset=None))) as proxy:
        proxy.address("p")
        assert proxy.stop() == 0


def test_thousands_of_resets_are_exact(tmp_path: Path) -> None:
    """Many clients at once: each gets its 100 bytes, then ECONNRESET, and each has its line in the log."""
    data = pattern(5000)

    def serve(sock: socket.socket) -> None:
        sock.sendall(data)
        read_to_the_end(sock)

    def run() -> None:
        for _ in range(100):
            assert connect_and_read(address) == (data[:100], "ECONNRESET")

    with Server(serve) as server, Faultproxy(tmp_path, one(server.address, rule(reset={"after": "100B"}))) as proxy:
        address = proxy.address("p")
        with Background(run), Background(run), Background(run):
            run()
        proxy.wait_for("fault.injected", nth=400, fidelity="exact", bytes_downstream=100)


def test_a_client_that_talks_is_reset_at_the_byte(tmp_path: Path) -> None:
    """An echo server's client, writing and reading in turn, gets 4 KiB in all, then ECONNRESET."""
    with (
        Server(echo) as server,
        Faultproxy(tmp_path, one(server.address, rule(reset={"after": "4KiB"}))) as proxy,
        connect(proxy.address("p")) as client,
    ):
        for _ in range(4):
            client.sendall(bytes(1000))
            assert read_exactly(client, 1000) == bytes(1000)
        client.sendall(bytes(1000))
        assert read_to_the_end(client) == (bytes(96), "ECONNRESET")
