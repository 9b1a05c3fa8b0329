"""Real clients, a real proxy, its real log: what the report says of them, and what a rule's expect makes of it."""

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from faultproxy.cli import main
from faultproxy.report.log_reader import LogReader
from faultproxy.report.report import RetryReport
from tests.network import need_syn_interception
from tests.peers import Address, Server, connect, echo, read_exactly
from tests.report.events import Script, as_lines
from tests.running import Faultproxy, one

DOUBLING = [0.05, 0.1, 0.2, 0.4]
FIRST = {"name": "cold", "when": {"first": 4}, "reset": None}


def fetch(address: Address) -> bool:
    """Whether it answers."""
    try:
        with connect(address) as client:
            client.sendall(b"hi")
            return read_exactly(client, 2) == b"hi"
    except OSError:
        return False


def retry(address: Address, waits_s: Sequence[float]) -> bool:
    """Try again after each of these waits, until it answers; whether it does."""
    is_served = fetch(address)
    for wait_s in waits_s:
        if not is_served:
            sleep(wait_s)
            is_served = fetch(address)
    return is_served


def lines(proxy: Faultproxy) -> list[bytes]:
    return [json.dumps(line, separators=(",", ":")).encode() for line in proxy.log]


def reported(proxy: Faultproxy) -> RetryReport:
    """The report of all that the proxy has logged."""
    reader = LogReader()
    reader.read(lines(proxy))
    return reader.report()


def test_the_command_reports_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a log to the sentence; as JSON too, and from standard input."""
    script = Script()
    script.retries(DOUBLING)
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(as_lines(script.events)))
    with pytest.raises(SystemExit):
        main(["report", str(log)])
    policy = "exponential, factor 2, no jitter"
    assert capsys.readouterr().out.splitlines() == [
        "shop: 5 attempts of 1 client, 4 failures",
        f"  10.0.0.7 retried 4 times, waiting 0.05, 0.1, 0.2, 0.4 s ({policy}), and recovered after 0.75 s",
    ]
    with pytest.raises(SystemExit):
        main(["report", "--json", str(log)])
    (client,) = json.loads(capsys.readouterr().out)["clients"]
    assert (client["backoff"]["kind"], client["failures"]) == ("exponential", 4)


def test_a_real_log_says_what_a_real_client_did(tmp_path: Path) -> None:
    """Each attempt, and waits that are as long as the client's own, or a bit longer."""
    with Server(echo) as server, Faultproxy(tmp_path, one(server.address, FIRST)) as proxy:
        assert retry(proxy.address("p"), DOUBLING)
        proxy.wait_for("connection.closed", nth=5)
    client = reported(proxy).client("127.0.0.1")
    (episode,) = client.episodes
    assert (client.attempts, client.failures, episode.end) == (5, 4, "recovered")
    assert all(seen >= wait_s * 0.99 for seen, wait_s in zip(episode.gaps_s, DOUBLING, strict=True))


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ({"recovery": {"max": "5m"}, "attempts": {"min": 5, "max": 5}}, ""),
        ({"attempts": {"max": 4}}, 'p: "cold" expected at most 4 attempts; 127.0.0.1 made 5'),
        ({"backoff": "none"}, 'p: "cold" expected no retry; 127.0.0.1 waited 0'),
    ],
)
def test_expect_judges_the_clients(tmp_path: Path, expect: dict[str, Any], said: str) -> None:
    """With --expect the exit code is 3 if they do not do as they should, and the sentence says what they did."""
    rule = {**FIRST, "expect": expect}
    with (
        Server(echo) as server,
        Faultproxy(tmp_path, one(server.address, rule), "--expect", may_complain=True) as proxy,
    ):
        assert retry(proxy.address("p"), [0.01] * 4)
        assert proxy.stop() == (3 if said else 0)
    assert proxy.errors.startswith(said)
    assert bool(proxy.errors) == bool(said)


def test_a_leak_is_seen(tmp_path: Path) -> None:
    """A client that keeps its socket for more than a second after EOF; one that closes it at once is no leak."""
    rule = {"name": "end", "close": {"after": "2B"}}
    with Server(echo) as server, Faultproxy(tmp_path, one(server.address, rule)) as proxy:
        address = proxy.address("p")
        fetch(address)
        with connect(address) as client:
            client.sendall(b"hi")
            assert read_exactly(client, 2) == b"hi"
            assert client.recv(1) == b""
            proxy.wait_for("connection.closed", connection="p#2")
    (leak,) = reported(proxy).proxies[0].leaks
    assert (leak.connection, leak.client) == ("p#2", "127.0.0.1")
    assert leak.held_s >= 0.9


def test_what_a_client_waits_for_in_vain(tmp_path: Path) -> None:
    """It fails when it closes the connection, by its own timeout."""
    rule = {"name": "mute", "when": {"first": 1}, "hang": None}
    with Server(echo) as server, Faultproxy(tmp_path, one(server.address, rule)) as proxy:
        with connect(proxy.address("p")) as client:
            client.settimeout(0.05)
            client.sendall(b"hi")
            with pytest.raises(TimeoutError):
                client.recv(1)
        proxy.wait_for("fault.injected", rule="mute")
        assert fetch(proxy.address("p"))
        proxy.wait_for("connection.closed", nth=1)
    (episode,) = reported(proxy).client("127.0.0.1").episodes
    assert (episode.attempts, episode.end) == (2, "recovered")


def test_refused_attempts_are_seen_where_syns_are(tmp_path: Path) -> None:
    """Where a rule judges each SYN, each is an attempt that is refused; in an outage the kernel does it, unseen."""
    need_syn_interception()
    rule = {"name": "down", "when": {"first": 4}, "refuse": None}
    with Server(echo) as server, Faultproxy(tmp_path, one(server.address, rule)) as proxy:
        assert retry(proxy.address("p"), DOUBLING)
        proxy.wait_for("connection.closed")
    client = reported(proxy).client("127.0.0.1")
    assert (client.attempts, client.failures) == (5, 4)
    assert {cause.sees for episode in client.episodes for cause in episode.causes} == {"ECONNREFUSED"}


def test_a_client_that_gives_up_connecting(tmp_path: Path) -> None:
    """Its SYN is answered late, when it has gone: it has failed, and the next one is served."""
    need_syn_interception()
    rule = {"name": "slow", "when": {"first": 2}, "slow_connect": {"delay": "20s"}}
    with Server(echo) as server, Faultproxy(tmp_path, one(server.address, rule)) as proxy:
        address = proxy.address("p")
        for _ in range(2):
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.2)
        assert fetch(address)
        proxy.wait_for("connection.closed")
    client = reported(proxy).client("127.0.0.1")
    assert (client.attempts, client.failures) == (3, 2)
    assert client.episodes[0].end == "recovered"


def test_the_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--html FILE has it in one file, and the text is printed all the same; where it cannot be written, that is said."""
    script = Script()
    script.retries(DOUBLING)
    log, page = tmp_path / "log.jsonl", tmp_path / "report.html"
    log.write_bytes(b"".join(as_lines(script.events)))
    with pytest.raises(SystemExit) as ended:
        main(["report", str(log), "--html", str(page)])
    assert ended.value.code == 0
    assert page.read_text().count("<svg") == 2
    assert "retried 4 times" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["report", str(log), "--html", str(tmp_path / "nowhere" / "report.html")])
    assert ended.value.code == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_the_page_goes_to_standard_output(tmp_path: Path) -> None:
    """Alone, with --html -: nothing stands behind it."""
    script = Script()
    script.retries(DOUBLING)
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(as_lines(script.events)))
    command = [sys.executable, "-m", "faultproxy", "report", str(log), "--html", "-"]
    page = subprocess.run(command, capture_output=True, check=True).stdout
    assert page.startswith(b"<!doctype html>")
    assert page.endswith(b"</html>\n")


def test_a_log_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """It opens, but cannot be read, as on a broken disk: it is said which."""
    with pytest.raises(SystemExit) as ended:
        main(["report", "/proc/self/mem"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "/proc/self/mem: cannot be read: Input/output error\n"


def test_each_attempt_of_an_outage_can_be_seen(tmp_path: Path) -> None:
    """With a probability of 100 % each SYN is judged instead: the outage is not the kernel's, and all are seen."""
    need_syn_interception()
    when = {"window": {"to": "1s"}, "probability": "100%"}
    with Server(echo) as server:
        config = one(server.address, {"name": "down", "when": when, "refuse": None})
        with Faultproxy(tmp_path, config) as proxy:
            proxy.wait_for("proxy.started")
            assert retry(proxy.address("p"), [0.1] * 100)
            proxy.wait_for("connection.closed")
    report = reported(proxy)
    client = report.client("127.0.0.1")
    assert client.failures == len(proxy.seen("fault.injected")) >= 2
    assert client.episodes[0].end == "recovered"
    assert not any("not seen" in note for note in report.notes)
    assert not report.proxies[0].outages
