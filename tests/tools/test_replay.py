"""A log back to a configuration: what it says, what it refuses, and that it does the same again."""

import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from faultproxy.cli import main
from faultproxy.config.loader import parse
from faultproxy.tools.replay import CannotReplay, read_log
from tests.peers import Address, Server, connect, name_of, read_to_the_end
from tests.running import Faultproxy

Line = dict[str, Any]

CUT = {"name": "cut", "when": {"probability": 0.5}, "reset": {"after": "4KiB"}}
SLOW = {"name": "slow", "when": {"window": {"from": "1s"}, "every": 2}, "latency": {"delay": "5ms"}, "stop": True}
RESTART = {"name": "restart", "when": {"window": {"from": "10s"}}, "live": True, "reset": {}, "close": {"after": "3s"}}
REQUEST = b"0123456789" * 50


def started(proxy: str = "redis", *rules: Line, run: str = "1a2b", **settings: Any) -> Line:
    config = {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:6379", "rules": list(rules), "enabled": True, **settings}
    return line("proxy.started", proxy=proxy, listen="127.0.0.1:4711", seed=42, run=run, config=config)


def line(event: str, at: float = 0.0, **fields: Any) -> Line:
    return {"timestamp": f"2026-01-01T00:00:{at:09.6f}Z", "level": "info", "event": event, **fields}


def injected(number: int, rule: str = "cut", fault: str = "reset", proxy: str = "redis", **fields: Any) -> Line:
    return {
        **line("fault.injected", proxy=proxy, connection=f"{proxy}#{number}", rule=rule, fault=fault),
        "options": {"after": {"bytes": "4KiB", "direction": "downstream"}, "to": "both"},
        "bytes_upstream": 0,
        "bytes_downstream": 0,
        "elapsed_ms": 1.5,
        **fields,
    }


STOPPED = line("proxy.stopped", proxy="redis")


def replayed(*lines: Line) -> dict[str, Any]:
    """The whole configuration, which is valid."""
    text = read_log(json.dumps(reported, separators=(",", ":")).encode() + b"\n" for reported in lines).yaml()
    assert parse(text.encode(), "replay").seed == 42
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def rules(*lines: Line) -> list[Line]:
    """The rules of the one proxy."""
    found: list[Line] = replayed(*lines)["proxies"]["redis"]["rules"]
    return found


def notes(*lines: Line) -> list[str]:
    """What is said of a log that can be replayed."""
    return [*read_log(json.dumps(reported, separators=(",", ":")).encode() for reported in lines).notes]


def refusal(*lines: Line | bytes) -> str:
    """Why a log cannot be replayed."""
    texts = [
        reported if isinstance(reported, bytes) else json.dumps(reported, separators=(",", ":")).encode()
        for reported in lines
    ]
    with pytest.raises(CannotReplay) as caught:
        read_log(texts)
    return str(caught.value)


# ---- what it says


def test_each_fault_goes_to_its_connections() -> None:
    """The connections of a rule stand in one rule, with the options that were logged; all else is as it was."""
    config = replayed(started("redis", CUT, dial_timeout="3s"), started("web"), injected(3), injected(1), injected(12))
    assert config == {
        "seed": 42,
        "proxies": {
            "redis": {
                "listen": "127.0.0.1:0",
                "upstream": "127.0.0.1:6379",
                "enabled": True,
                "dial_timeout": "3s",
                "rules": [
                    {
                        "name": "cut",
                        "when": {"connection": [1, 3, 12]},
                        "reset": {"after": {"bytes": "4KiB", "direction": "downstream"}, "to": "both"},
                    }
                ],
            },
            "web": {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:6379", "enabled": True, "rules": []},
        },
    }


def test_several_triggered_faults_of_a_connection_are_one_rule() -> None:
    """A rule holds them all, because the first verdict ends the reading."""
    half = {"after": {"bytes": "1B", "direction": "downstream"}, "direction": "upstream"}
    lines = [started(), injected(1, "a", "half_close", options=half), injected(1, "b"), injected(2, "b")]
    assert [(rule["name"], rule["when"]["connection"], set(rule) - {"name", "when"}) for rule in rules(*lines)] == [
        ("a + b", [1], {"half_close", "reset"}),
        ("b", [2], {"reset"}),
    ]


def test_one_rule_that_did_two_things_becomes_two() -> None:
    """As after an edit; names are used once."""
    other = {"after": {"bytes": "1B", "direction": "downstream"}, "to": "both"}
    names = [rule["name"] for rule in rules(started(), injected(1), injected(2, options=other), injected(3))]
    assert names == ["cut", "cut (2)"]


def test_shapes_come_first_and_keep_their_names() -> None:
    """No verdict may keep a shape from a connection, and a shape's draws go by its rule's name; windows stay."""
    found = rules(
        started("redis", CUT, SLOW),
        injected(1),
        injected(2, "slow", "latency", options={"delay": "5ms", "jitter": "0s"}),
        injected(2),
        injected(4, "slow", "latency", options={"delay": "5ms", "jitter": "0s"}),
        injected(4, "slow", "slice", options={"size": "1B"}),
    )
    assert found == [
        {
            "name": "slow",
            "when": {"connection": [2, 4], "window": {"from": "1s"}},
            "latency": {"delay": "5ms", "jitter": "0s"},
            "slice": {"size": "1B"},
        },
        {"name": "cut", "when": {"connection": [1, 2]}, "reset": found[1]["reset"]},
    ]


def test_several_delays_of_connect_add_up() -> None:
    """Each in a rule of its own; a window was for the SYN, and is not asked again."""
    early = {
        "name": "early",
        "when": {"window": {"to": "1m"}},
        "slow_connect": {"delay": "1s"},
        "slice": {"size": "1B"},
    }
    found = rules(
        started("redis", early),
        injected(1, "early", "slow_connect", options={"delay": "1s"}),
        injected(1, "late", "slow_connect", options={"delay": "2s"}),
        injected(1, "early", "slice", options={"size": "1B"}),
    )
    assert found == [
        {"name": "early", "when": {"connection": [1], "window": {"to": "1m"}}, "slice": {"size": "1B"}},
        {"name": "early (2)", "when": {"connection": [1]}, "slow_connect": {"delay": "1s"}},
        {"name": "late", "when": {"connection": [1]}, "slow_connect": {"delay": "2s"}},
    ]


def test_what_waited_for_the_client_to_speak_waits_again() -> None:
    """Or it would be injected before the client has spoken; refusals, which are decided on a SYN, stand above that."""
    admin = {"name": "admin", "when": {"starts_with": "GET", "first": 3}, "broken_pipe": None}
    options = {"after": {"bytes": "0B", "direction": "downstream"}}
    found = rules(
        started("redis", admin),
        injected(1, "admin", "broken_pipe", options=options),
        injected(2, "down", "refuse", options={}),
        injected(3, "admin", "broken_pipe", options={"after": {"bytes": "4B", "direction": "downstream"}}),
    )
    assert [(rule["name"], rule["when"]) for rule in found] == [
        ("down", {"connection": [2]}),
        ("admin", {"connection": [1], "starts_with": "GET"}),
        ("admin (2)", {"connection": [3]}),
    ]


def test_a_live_rule_is_injected_where_it_was() -> None:
    """What the opening of a window injected in mid-life is injected at that byte, or at that time if none had passed."""
    at_once = {"after": {"bytes": "0B", "direction": "downstream"}, "to": "both"}
    later = {"after": {"time": "3s", "direction": "downstream"}}
    found = rules(
        started("redis", RESTART),
        injected(1, "restart", options=at_once, bytes_downstream=1234, elapsed_ms=5000.0),
        injected(2, "restart", options=at_once, bytes_downstream=0, elapsed_ms=5000.25),
        injected(3, "restart", "close", options=later, bytes_downstream=7, elapsed_ms=9000.0),
    )
    assert [next(iter(rule[key].values())) for rule in found for key in rule if key in {"reset", "close"}] == [
        {"bytes": "1234B", "direction": "downstream"},
        {"time": "5.00025s", "direction": "downstream"},
        {"bytes": "7B", "direction": "downstream"},
    ]


def test_a_live_rule_matches_new_connections_as_any_other_does() -> None:
    """At its own trigger, where that was reached while the window was open: not half a millisecond after the accept."""
    triggers = [{"bytes": "0B"}, {"time": "3s"}, {"bytes": "1KiB"}]
    passed, elapsed_ms = [0, 7, 1024], [0.5, 3000.4, 5.0]
    lines = [
        injected(number, "restart", options={"after": after}, bytes_downstream=size, elapsed_ms=elapsed)
        for number, after, size, elapsed in zip(range(1, 4), triggers, passed, elapsed_ms, strict=True)
    ]
    assert [rule["reset"]["after"] for rule in rules(started("redis", RESTART), *lines)] == triggers


def test_outages_come_when_they_came() -> None:
    """Each with its window, since the start; the first of all rules, so that the listener is closed."""
    found = rules(
        started("redis"),
        line("outage.started", 0.0002, proxy="redis", rule="down", fault="refuse"),
        line("outage.ended", 5.0, proxy="redis", rule="down", fault="refuse"),
        injected(1),
        line("outage.started", 20.5, proxy="redis", rule="down", fault="refuse"),
    )
    assert found[:2] == [
        {"name": "down", "when": {"window": {"to": "5s"}}, "refuse": {}},
        {"name": "down (2)", "when": {"window": {"from": "20.5s"}}, "refuse": {}},
    ]
    for fault in ("refuse", "connect_timeout"):
        whole = rules(started("redis"), line("outage.started", 0.01, proxy="redis", rule="down", fault=fault))
        assert whole == [{"name": "down", fault: {}}]


def test_what_was_not_injected_is_left_out() -> None:
    """Dry runs, connections, and what else a log has."""
    dry_run = {**injected(1), "event": "fault.dry_run"}
    assert rules(started("redis", CUT), dry_run, line("connection.opened", proxy="redis"), line("proxy.draining")) == []


def test_other_words_around_the_lines_do_not_matter() -> None:
    """What docker compose puts before a line, and the lines of other programs."""
    lines = [b"redis-1  | " + json.dumps(started(), separators=(",", ":")).encode(), b"Ready to accept connections\n"]
    lines.append(b'{"timestamp":"2026-01-01T00:00:00Z","msg":"another program that logs like this"}')
    assert read_log(lines).config["proxies"]["redis"]["rules"] == []


def test_names_of_any_kind_survive() -> None:
    """Text that YAML could take for something else, and a name as long as may be, twice."""
    named = injected(1, "on"), injected(2, "on", "close", options={}), injected(3, "é" * 200), injected(4, "1e5")
    assert [rule["name"] for rule in rules(started(), *named)] == ["on", "on (2)", "é" * 200, "1e5"]
    long = "x" * 200
    found = rules(started(), injected(1, long), injected(2, long, "close", options={}))
    assert [len(rule["name"]) for rule in found] == [200, 200]


# ---- what it refuses


def test_dropped_lines_are_reported() -> None:
    """Faults may be among them."""
    assert refusal(started(), line("log.dropped", count=12), injected(1)) == (
        "12 lines were dropped before line 2, and faults may be among them; replay needs a whole log"
    )


def test_several_runs_are_reported() -> None:
    """With the line where each begins."""
    assert refusal(started(), injected(1), started(run="3c4d"), injected(1)) == (
        "it holds 2 runs (1a2b from line 1, 3c4d from line 3); give replay the lines of one"
    )


def test_a_log_without_its_beginning_is_reported() -> None:
    """A fault of a proxy that never started, and a log with nothing in it, or of another format."""
    assert refusal(injected(1)).startswith(
        "line 1 is about proxy redis, and no line before it says that this one started"
    )
    for nothing in ([], [b"2026-01-01T00:00:00Z [info] proxy.started proxy=redis\n"]):
        assert refusal(*nothing).startswith(
            "there is no line of a proxy that started; replay needs a whole log in JSON"
        )


def test_a_garbled_line_is_reported() -> None:
    """One that was cut short at the end of a disk, say."""
    cut = json.dumps(injected(1), separators=(",", ":")).encode()[:-10]
    assert refusal(started(), cut) == "line 2 is cut short or garbled; replay needs a whole log"


@pytest.mark.parametrize(
    "wrong",
    [
        line("outage.ended", proxy="redis", rule="down"),
        line("fault.injected", proxy="redis"),
        injected(1, connection="one"),
        {**started(), "timestamp": "yesterday"},
    ],
)
def test_a_line_that_was_tampered_with_is_reported(wrong: Line) -> None:
    """Or one that means something only with another that is missing."""
    reported = refusal(started(), wrong, injected(1))
    assert reported.startswith(f"line 2, {wrong['event']}, is not as it was written; replay needs a whole log")


@pytest.mark.parametrize(
    ("changes", "config", "why"),
    [
        (["seed changed"], {}, "an edit (seed changed) that one configuration cannot replay"),
        (["proxy web removed"], {}, "an edit (proxy web removed) that one configuration cannot replay"),
        (
            ["proxy redis: upstream changed"],
            {"redis": started(upstream="127.0.0.1:1")["config"]},
            "an edit changed upstream of redis, which one configuration cannot replay",
        ),
    ],
)
def test_an_edit_that_changed_more_than_rules_is_reported(changes: list[str], config: Line, why: str) -> None:
    """There would have to be two configurations."""
    assert refusal(started(), line("config.loaded", changes=changes, config=config)) == f"line 2: {why}"


def test_a_fault_by_hand_is_left_out_and_reported() -> None:
    """No rule asked for it, so none repeats it."""
    by_hand = {**injected(2), "rule": None, "source": "api"}
    lines = [started("redis", CUT), injected(1), by_hand, STOPPED]
    assert [rule["when"] for rule in rules(*lines)] == [{"connection": [1]}]
    assert notes(*lines) == ["line 3: reset was injected into redis#2 by hand, which no rule repeats"]


def test_an_edit_of_rules_is_replayed_and_reported() -> None:
    """What was injected before it and after it is in the configuration."""
    edited = line("config.loaded", changes=["proxy redis: rules changed"], config={"redis": started()["config"]})
    lines = [started("redis", CUT), injected(1), edited, injected(2, "other"), STOPPED]
    assert [rule["name"] for rule in rules(*lines)] == ["cut", "other"]
    assert notes(*lines) == [
        "line 3: an edit (proxy redis: rules changed); what was injected before and after is replayed, in each connection from its start"
    ]


def test_shapes_that_an_edit_changed_stand_apart_and_are_reported() -> None:
    """Their draws go by the rule's name, and a window by when the rule took effect: a replay has others."""
    before = {"name": "noise", "corrupt": {"probability": 0.5}}
    after = {"name": "noise", "slice": {"size": "9B", "jitter": "3B"}, "when": {"window": {"to": "1m"}}}
    edited = line("config.loaded", changes=["x"], config={"redis": started("redis", after)["config"]})
    lines = [
        started("redis", before),
        injected(1, "noise", "corrupt", options={"probability": 0.5}),
        edited,
        injected(2, "noise", "slice", options={"size": "9B", "jitter": "3B"}),
        STOPPED,
    ]
    assert rules(*lines) == [
        {"name": "noise", "when": {"connection": [1]}, "corrupt": {"probability": 0.5}},
        {
            "name": "noise (2)",
            "when": {"connection": [2], "window": {"to": "1m"}},
            "slice": {"size": "9B", "jitter": "3B"},
        },
    ]
    assert notes(*lines)[1:] == [
        'redis: the window of "noise" counted from an edit, and does from the start in a replay',
        'redis: an edit changed how "noise" shapes; from there on a replay draws other numbers',
    ]


def test_a_log_without_its_end_is_reported() -> None:
    """Of a run that goes on, that was killed, or whose level an edit has raised."""
    assert notes(started("redis"), started("web"), STOPPED) == [
        "web: the log ends before it has stopped; what came after that is not replayed"
    ]


def test_what_no_rule_can_do_is_reported() -> None:
    """One kind of triggered fault twice in one connection."""
    assert "half_close was injected into redis#1 again" in refusal(
        started(), injected(1, "a", "half_close", options={}), injected(1, "b", "half_close", options={})
    )


def test_a_fault_of_another_version_is_reported() -> None:
    """What is printed is always valid, or nothing is."""
    assert refusal(started(), injected(1, "cut", "explode", options={})).startswith(
        "what it says makes no valid configuration: "
    )


# ---- the command


def replay(file: Path) -> Result:
    return CliRunner().invoke(main, ["replay", str(file)])


def test_the_command_refuses_with_an_exit_code(tmp_path: Path) -> None:
    """1, with the reason on standard error, and nothing on standard output for a file to be made of."""
    file = tmp_path / "log.jsonl"
    file.write_text("")
    done = replay(file)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{file}: there is no line of a proxy that started")
    assert replay(tmp_path / "missing").exit_code == 2


def test_the_command_reads_standard_input() -> None:
    """As the end of a pipe."""
    text = "\n".join(json.dumps(reported, separators=(",", ":")) for reported in (started(), STOPPED))
    done = CliRunner().invoke(main, ["replay", "-"], input=text)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("# What run 1a2b did to its connections, by their numbers.\nseed: 42\n")


def outcomes(address: Address, clients: int) -> list[tuple[bytes, str]]:
    """What each of so many clients got, one after the other: the bytes, and how they ended."""
    found = []
    for _ in range(clients):
        try:
            with connect(address) as client:
                client.sendall(REQUEST)
                with suppress(OSError):  # a reset that came meanwhile is for the read to find
                    client.shutdown(socket.SHUT_WR)
                found.append(read_to_the_end(client))
        except OSError as error:
            found.append((b"", name_of(error)))
    return found


def answer(sock: socket.socket) -> None:
    """A server that reads a request to its end, and sends it back backwards."""
    request = b""
    while data := sock.recv(65536):
        request += data
    sock.sendall(request[::-1])


def test_a_replay_does_the_same(tmp_path: Path) -> None:
    """Run, replay, run: each client gets the same bytes and the same end, though no rule draws or counts any more."""
    settings: Sequence[Line] = [
        {"name": "down", "when": {"nth": [2, 9]}, "refuse": None},
        {"name": "noise", "when": {"every": 4}, "corrupt": {"probability": "1%"}, "slice": {"size": "100B"}},
        {"name": "cold", "when": {"first": 3}, "reset": None},
        {"name": "cut", "when": {"probability": "30%"}, "reset": {"after": "123B"}},
        {"name": "deaf", "when": {"every": 5}, "half_close": {"after": "50B"}},
        {"name": "short", "when": {"probability": "30%"}, "limit": 3, "close": {"after": "1B"}},
    ]
    with Server(answer) as server:
        proxy = {"listen": "127.0.0.1:0", "upstream": server.address, "rules": list(settings)}
        with Faultproxy(tmp_path, {"proxies": {"p": proxy}}) as first:
            before = outcomes(first.address("p"), 40)
            assert first.stop() == 0
        log = tmp_path / "log.jsonl"
        log.write_text("".join(json.dumps(reported, separators=(",", ":")) + "\n" for reported in first.log))
        done = replay(log)
        assert (done.exit_code, done.stderr) == (0, "")
        for word in ("probability: 30", "every", "first", "limit", "nth"):
            assert word not in done.stdout
        with Faultproxy(tmp_path, done.stdout) as second:
            after = outcomes(second.address("p"), 40)
            assert second.stop() == 0
    assert after == before
    assert {"EOF", "ECONNRESET"} <= {end for _, end in before}
    assert len({(len(data), end) for data, end in before}) >= 5

    def faults(run: Faultproxy) -> list[tuple[str, str]]:
        return sorted((reported["connection"], reported["fault"]) for reported in run.seen("fault.injected"))

    assert faults(second) == faults(first)
