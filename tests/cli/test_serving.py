"""Start, shortage, drain and end of the process."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

import faultproxy
from tests.peers import (
    PATIENCE_S,
    Background,
    Server,
    Upstream,
    connect,
    connect_and_read,
    connect_error,
    echo,
    exchange,
    read_exactly,
    read_to_the_end,
    send_error,
)
from tests.running import Faultproxy, one


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_open_connections_finish(tmp_path: Path, upstream: Upstream, number: signal.Signals) -> None:
    """New clients are refused meanwhile; once the last connection is over the program ends with 0."""
    config = {"drain": "20s", **one(upstream.address)}
    with Faultproxy(tmp_path, config) as proxy:
        address = proxy.address("p")
        with connect(address) as client, upstream.accept() as server:
            exchange(client, server)
            proxy.signal(number)
            assert proxy.wait_for("proxy.draining", proxy="p")["open"] == 1
            assert connect_error(address) == "ECONNREFUSED"
            exchange(client, server)
            assert not proxy.seen("proxy.stopped")
            client.close()
            assert read_to_the_end(server) == (b"", "EOF")
        assert proxy.exit_code() == 0
        stopped = proxy.wait_for("proxy.stopped", proxy="p")
        assert (stopped["connections"], stopped["faults"]) == (1, {})


def test_what_is_open_after_the_drain_is_reset(tmp_path: Path, upstream: Upstream) -> None:
    """Both peers see ECONNRESET when the time is up, and the exit code is 0 all the same."""
    config = {"drain": "300ms", **one(upstream.address)}
    with Faultproxy(tmp_path, config) as proxy, connect(proxy.address("p")) as client, upstream.accept() as server:
        exchange(client, server)
        began = monotonic()
        proxy.signal(signal.SIGTERM)
        assert read_to_the_end(client) == (b"", "ECONNRESET")
        assert read_to_the_end(server) == (b"", "ECONNRESET")
        assert 0.3 <= monotonic() - began < 10
        assert proxy.exit_code() == 0
        assert proxy.wait_for("connection.closed")["ended_by"] == "drain"
        proxy.wait_for("proxy.stopped")


def test_a_second_signal_ends_it_at_once(tmp_path: Path, upstream: Upstream) -> None:
    """Whatever drain says: open connections are reset now."""
    config = {"drain": "10m", **one(upstream.address)}
    with Faultproxy(tmp_path, config) as proxy, connect(proxy.address("p")) as client, upstream.accept() as server:
        exchange(client, server)
        proxy.signal(signal.SIGTERM)
        proxy.wait_for("proxy.draining")
        sleep(0.2)
        proxy.signal(signal.SIGINT)
        assert read_to_the_end(client) == (b"", "ECONNRESET")
        assert read_to_the_end(server) == (b"", "ECONNRESET")
        assert proxy.exit_code() == 0


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
def test_an_echo_of_a_signal_is_no_second_one(
    tmp_path: Path, upstream: Upstream, numbers: tuple[signal.Signals, ...]
) -> None:
    """Two signals at once, as when a wrapper forwards the terminal's, drain; the log has its end, and expect counts."""
    rule = {"name": "cut", "expect": {"min": 1}, "when": {"connection": 99}, "reset": None}
    config = {"drain": "20s", **one(upstream.address, rule)}
    with Faultproxy(tmp_path, config, "--expect", may_complain=True) as proxy:
        with connect(proxy.address("p")) as client, upstream.accept() as server:
            exchange(client, server)
            for number in numbers:
                proxy.signal(number)
            assert proxy.wait_for("proxy.draining")["open"] == 1
            for _ in range(3):
                exchange(client, server)
        assert proxy.exit_code() == 3
        proxy.wait_for("proxy.stopped")
        assert len(proxy.seen("proxy.draining")) == 1


def test_signals_at_the_very_end_change_nothing(tmp_path: Path, upstream: Upstream) -> None:
    """However many come while it ends, the log has its end, and the exit code is 0."""
    with Faultproxy(tmp_path, one(upstream.address)) as proxy:
        proxy.address("p")
        while proxy.process.poll() is None:
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                proxy.signal(number)
            sleep(0.002)
        assert proxy.exit_code() == 0
        proxy.wait_for("proxy.stopped")


@pytest.mark.parametrize("after_s", [0.02, 0.05, 0.1, 0.2, 0.3, 0.5])
def test_a_hangup_while_it_starts(tmp_path: Path, upstream: Upstream, after_s: float) -> None:
    """SIGHUP never ends it, however early it comes, once there is a Python that could ignore it."""
    with Faultproxy(tmp_path, one(upstream.address)) as proxy:
        wait_until_ignored(proxy.pid, signal.SIGHUP)
        sleep(after_s)
        proxy.signal(signal.SIGHUP)
        proxy.address("p")
        assert proxy.stop() == 0


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3])
def test_sigusr1_asks_how_it_stands(tmp_path: Path, upstream: Upstream, after_s: float) -> None:
    """It never ends it, however early it comes; when it runs, each proxy says how it stands."""
    with Faultproxy(tmp_path, one(upstream.address)) as proxy:
        wait_until_ignored(proxy.pid, signal.SIGUSR1)
        sleep(after_s)
        proxy.signal(signal.SIGUSR1)
        proxy.address("p")
        proxy.signal(signal.SIGUSR1)
        assert proxy.wait_for("proxy.status", proxy="p", state="open")["open"] == 0
        assert proxy.stop() == 0


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5])
def test_an_interrupt_while_it_starts(tmp_path: Path, upstream: Upstream, after_s: float) -> None:
    """SIGINT ends it, early or late, and never with a traceback."""
    with Faultproxy(tmp_path, one(upstream.address), may_complain=True) as proxy:
        wait_until_ignored(proxy.pid, signal.SIGHUP)
        sleep(after_s)
        proxy.signal(signal.SIGINT)
        assert proxy.exit_code() in {0, 1, -signal.SIGINT}
    assert "Traceback" not in proxy.errors


def wait_until_ignored(pid: int, number: signal.Signals) -> None:
    """Wait until a process ignores a signal (proc(5), SigIgn)."""
    deadline = monotonic() + PATIENCE_S
    while True:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if int(status["SigIgn"], 16) >> number - 1 & 1:
            return
        assert monotonic() < deadline, "it does not ignore the signal"
        sleep(0.001)


def test_who_waits_at_the_end_is_still_served(tmp_path: Path) -> None:
    """Clients who were accepted when the signal came are answered to the last byte."""
    with Server(echo) as server, Faultproxy(tmp_path, one(server.address)) as proxy:
        address = proxy.address("p")
        outcomes = []

        def ask() -> None:
            while True:
                try:
                    client = connect(address)
                except (ConnectionRefusedError, ConnectionResetError):
                    # Reset is who was in the queue when the listener was closed: nothing but a filter keeps SYNs out.
                    return
                with client:
                    if send_error(client, b"hello") is None:
                        client.shutdown(socket.SHUT_WR)
                        outcomes.append(read_to_the_end(client))

        with Background(ask), Background(ask):
            proxy.wait_for("connection.closed", nth=50)
            proxy.signal(signal.SIGTERM)
        assert proxy.exit_code() == 0
        assert set(outcomes) <= {(b"hello", "EOF"), (b"", "ECONNRESET")}
        assert outcomes.count((b"", "ECONNRESET")) <= 2
        served = proxy.seen("connection.closed")
        assert outcomes.count((b"hello", "EOF")) == len(served)
        assert {line["ended_by"] for line in served} == {"client"}


def test_an_address_in_use_is_one_clear_line(tmp_path: Path) -> None:
    """Exit code 1, and on stderr which address it is; nothing was started."""
    with Server(echo) as first, Faultproxy(tmp_path, one(first.address)) as holder:
        host, port = holder.address("p")
        config = one(first.address)
        config["proxies"]["q"] = {"listen": f"{host}:{port}", "upstream": first.address}
        folder = tmp_path / "second"
        folder.mkdir()
        with Faultproxy(folder, config, may_complain=True) as proxy:
            assert proxy.exit_code() == 1
        assert not proxy.log
        (line,) = proxy.errors.splitlines()
        assert line.startswith(f"proxies.q.listen: cannot listen on {host}:{port}: Address already in use (EADDRINUSE)")
        # The owner is looked for only so long; tests/control/test_listeners.py sees that it is named.
        assert f"(pid {holder.pid}) holds it" in line or "another process holds it" in line


def test_a_bad_configuration_starts_nothing(tmp_path: Path) -> None:
    """Exit code 2, each error with its place, and no traceback."""
    text = "proxies:\n  p:\n    listen: 127.0.0.1:0\n    upstream: 127.0.0.1:9\n    rules:\n      - name: r\n        rest:\n"
    with Faultproxy(tmp_path, text, may_complain=True) as proxy:
        assert proxy.exit_code() == 2
    assert not proxy.log
    assert f"{proxy.file}:7:9: proxies.p.rules[0]" in proxy.errors
    assert "reset" in proxy.errors
    assert "Traceback" not in proxy.errors


def test_a_shortage_of_descriptors_loses_nobody(tmp_path: Path, upstream: Upstream) -> None:
    """With too few descriptors the rest of the clients wait, and each is served when others have gone."""
    count = 60
    with Faultproxy(tmp_path, one(upstream.address), max_fds=64) as proxy, ExitStack() as stack:
        address = proxy.address("p")
        clients = [stack.enter_context(connect(address)) for _ in range(count)]
        for number, client in enumerate(clients):
            client.sendall(f"{number:02}".encode())
        paused = proxy.wait_for("accept.paused", error="EMFILE")
        assert 10 <= paused["open"] < 32
        answered = set()
        for _ in range(count):
            with upstream.accept() as server:
                number = int(read_exactly(server, 2))
                server.sendall(b"served")
                server.shutdown(socket.SHUT_WR)
                assert read_to_the_end(clients[number]) == (b"served", "EOF")
                clients[number].close()
                answered.add(number)
        assert answered == set(range(count))
        proxy.wait_for("accept.resumed", error="EMFILE")
        proxy.wait_for("connection.closed", nth=count)
        paused_and_resumed = [line["event"] for line in proxy.log if line["event"].startswith("accept.")]
        assert paused_and_resumed == ["accept.paused", "accept.resumed"] * (len(paused_and_resumed) // 2)
        assert not proxy.seen("upstream.failed")


def test_many_listeners_leave_less_room(tmp_path: Path, upstream: Upstream) -> None:
    """Listeners and SYN sockets take descriptors too: nobody is accepted whose upstream could not be dialled."""
    settings = one(upstream.address)["proxies"]["p"]
    some = {"name": "some", "when": {"nth": 1_000_000}, "refuse": None}
    gated = {f"gated{number}": {**settings, "rules": [some]} for number in range(3)}
    others = {f"other{number}": settings for number in range(12)}
    with (
        Faultproxy(tmp_path, {"proxies": {"p": settings, **gated}}, max_fds=64) as proxy,
        ExitStack() as stack,
    ):
        address = proxy.address("p")
        proxy.edit({"proxies": {"p": settings, **gated, **others}})
        clients = [stack.enter_context(connect(address)) for _ in range(40)]
        proxy.wait_for("accept.paused", error="EMFILE")
        while clients:
            upstream.accept().close()
            clients.pop(0).close()
        assert not proxy.seen("upstream.failed")


def test_a_shortage_is_reported_once(tmp_path: Path, upstream: Upstream) -> None:
    """However long clients wait for a descriptor, and however often it is tried again, one line says so."""
    with Faultproxy(tmp_path, one(upstream.address), max_fds=64) as proxy, ExitStack() as stack:
        address = proxy.address("p")
        clients = [stack.enter_context(connect(address)) for _ in range(30)]
        paused = proxy.wait_for("accept.paused")
        servers = [stack.enter_context(upstream.accept()) for _ in range(paused["open"])]
        clients[-1].settimeout(0.5)  # five tries
        with pytest.raises(TimeoutError):
            clients[-1].recv(1)
        assert len(proxy.seen("accept.paused")) == 1
        assert not proxy.seen("accept.resumed")
        for sock in (*clients, *servers):
            sock.close()
        proxy.wait_for("accept.resumed")
        proxy.wait_for("connection.opened", nth=len(clients))


def test_a_stalled_reader_of_the_log_stalls_nobody(tmp_path: Path) -> None:
    """While nobody reads the log thousands are served; when it is read at last it says how many lines are missing."""
    cut = {"name": "cut", "reset": {"to": "client"}}
    clients = 6000  # three lines each, of which the log keeps 4 MiB
    with Faultproxy(tmp_path, one("127.0.0.1:9", cut), reads_log=False) as proxy:
        assert proxy.process.stdout is not None
        started = json.loads(proxy.process.stdout.readline())
        host, _, port = started["listen"].rpartition(":")
        address = (host, int(port))

        def run() -> None:
            for _ in range(clients // 4):
                assert connect_and_read(address) == (b"", "ECONNRESET")

        before = proxy.resident_bytes()
        with Background(run), Background(run), Background(run):
            run()
        assert proxy.resident_bytes() - before < 30 * 2**20
        proxy.read_log()
        assert proxy.wait_for("log.dropped", level="warning")["count"] > 0
        assert connect_and_read(address) == (b"", "ECONNRESET")
        proxy.wait_for("connection.closed", connection=f"p#{clients + 1}")
        assert proxy.stop() == 0
    reported = sum(line["count"] if line["event"] == "log.dropped" else 1 for line in proxy.log)
    stopped = proxy.wait_for("proxy.stopped")
    assert (stopped["connections"], stopped["faults"]) == (clients + 1, {"cut": clients + 1})
    assert reported == 3 * (clients + 1) + 2


def test_standard_input() -> None:
    """run - serves what it has read, once: SIGHUP changes nothing, and its variables are the environment's."""
    text = "proxies: {p: {listen: '127.0.0.1:${PORT}', upstream: 'a:1', rules: [{name: r, reset: {to: client}}]}}"
    command = [sys.executable, "-P", "-m", "faultproxy", "run", "-"]
    environment = {**os.environ, "PYTHONPATH": str(Path(faultproxy.__file__).parent.parent), "PORT": "0"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(text)
        process.stdin.close()
        host, _, port = json.loads(process.stdout.readline())["listen"].rpartition(":")
        process.send_signal(signal.SIGHUP)
        with socket.create_connection((host, int(port)), PATIENCE_S) as client, pytest.raises(ConnectionResetError):
            client.recv(1)
        process.terminate()
        events = [json.loads(line)["event"] for line in process.stdout]
    assert events == ["fault.injected", "proxy.draining", "proxy.stopped"]
    assert process.returncode == 0
