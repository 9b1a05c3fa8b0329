"""What is expected, and that it is what happens: the engine is one."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import faultproxy
from faultproxy.cli import main
from faultproxy.rules.explain import Forecast, forecast
from faultproxy.rules.facts import ConnectionFacts
from faultproxy.rules.rule import BaseRule, Rule
from faultproxy.rules.rule_set import RuleSet
from tests.peers import Server, connect, echo, read_to_the_end

Settings = dict[str, Any]

RULES: list[Settings] = [
    {"name": "late", "when": {"connection": [4, 9]}, "slow_connect": {"delay": "1ms"}},
    {"name": "down", "when": {"nth": [4, 44, 144]}, "refuse": None},
    {"name": "others", "when": {"client": "10.0.0.0/8"}, "reset": None},
    {"name": "slow", "when": {"every": 7}, "latency": {"delay": "1ms"}},
    {"name": "watch", "dry_run": True, "when": {"probability": "50%"}, "reset": {"after": "1B"}},
    {"name": "spare", "when": {"connection": [5, 6, 7, 100]}, "pass": None},
    {"name": "cold", "when": {"first": 10}, "reset": {"after": "1B"}},
    {"name": "chance", "when": {"probability": "20%"}, "limit": 20, "close": {"after": "2B"}},
    {"name": "third", "when": {"skip": 5, "every": 3}, "half_close": {"after": "1B"}},
    {"name": "both", "when": {"probability": 0.3}, "slice": {"size": "1B"}, "reset": {"after": "2B"}},
]


def rule(when: Settings | None = None, name: str = "cut", **keys: Any) -> BaseRule:
    fault = {} if keys.keys() & {"pass", "refuse", "close", "latency"} else {"reset": None}
    return Rule.model_validate({"name": name, "when": when or {}, **fault, **keys})


def forecasts(
    *rules: BaseRule, connections: int = 1, at_s: float = 0.0, first_bytes: bytes = b"", enabled: bool = True
) -> list[Forecast]:
    coming = [ConnectionFacts(number, "127.0.0.1", at_s, 1, first_bytes) for number in range(1, connections + 1)]
    return list(forecast(RuleSet.open("redis", 42, rules, 0.0), coming, enabled=enabled))


def because(*rules: BaseRule, connections: int = 1, at_s: float = 0.0, first_bytes: bytes = b"") -> str:
    """What the last rule says to the last connection, after whether it holds."""
    reason = forecasts(*rules, connections=connections, at_s=at_s, first_bytes=first_bytes)[-1].reasons[-1]
    return f"{'yes' if reason.holds else 'no'}: {reason.because}"


def explain(folder: Path, config: Settings, *options: str) -> Result:
    file = folder / "faultproxy.yaml"
    file.write_text(yaml.safe_dump(config))
    return CliRunner().invoke(main, ["explain", str(file), *options])


def one(*rules: Settings, **settings: Any) -> Settings:
    proxy = {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", **settings, "rules": list(rules)}
    return {"seed": 42, "proxies": {"redis": proxy}}


@pytest.mark.parametrize(
    ("when", "connections", "said"),
    [
        ({}, 1, "yes: it has no condition"),
        ({"client": "10.0.0.0/8"}, 1, "no: client 127.0.0.1 is not in 10.0.0.0/8"),
        ({"client": ["10.0.0.0/8", "::1"]}, 1, "no: client 127.0.0.1 is not in 10.0.0.0/8 or ::1/128"),
        ({"client": "127.0.0.0/8"}, 1, "yes: client 127.0.0.1 is in 127.0.0.0/8"),
        ({"window": {"from": "30s"}}, 1, "no: at 0s its window, from 30s on, is closed"),
        (
            {"window": {"from": "30s", "to": "45s", "every": "1m"}},
            1,
            "no: at 0s its window, from 30s to 45s of every 1m, is closed",
        ),
        ({"window": {"to": "45s"}}, 1, "yes: at 0s its window, from 0s to 45s, is open"),
        ({"open_connections": {"min": 2}}, 1, "no: 1 connection is open, not at least 2"),
        ({"open_connections": {"min": 2, "max": 3}}, 1, "no: 1 connection is open, not 2 to 3"),
        ({"open_connections": {"max": 3}}, 1, "yes: 1 connection is open, which is at most 3"),
        ({"connection": [3, 17]}, 2, "no: this is connection 2, not 3 or 17"),
        ({"connection": 2}, 2, "yes: this is connection 2"),
        ({"first": 2}, 3, "no: 3rd that it counts, past the first 2"),
        ({"first": 3}, 3, "yes: 3rd that it counts, of the first 3"),
        ({"skip": 3}, 3, "no: 3rd that it counts, one of the 3 to skip"),
        ({"skip": 3}, 4, "yes: 4th that it counts, past the 3 to skip"),
        ({"nth": [2, 11]}, 12, "no: 12th that it counts, not the 2nd or 11th"),
        ({"nth": 21}, 21, "yes: 21st that it counts, as asked"),
        ({"every": 3}, 4, "no: 4th that it counts, not one of every 3rd"),
        ({"skip": 1, "every": 3}, 6, "yes: 6th that it counts, past the 1 to skip, every 3rd"),
        ({"starts_with": "GET /"}, 1, "no: its first bytes are asked for (starts_with), and this client says nothing"),
    ],
)
def test_every_condition_says_why(when: Settings, connections: int, said: str) -> None:
    """The first condition that fails is named with its values; or else all that hold are."""
    assert because(rule(when), connections=connections) == said


def test_chance_says_what_was_drawn() -> None:
    """The number is the one that decided, and so on which side of the probability it lies."""
    seen = set()
    for each in forecasts(rule({"probability": "40%"}), connections=50):
        (reason,) = each.reasons
        drawn = float(reason.because.split()[1].rstrip(","))
        assert reason.because == f"drew {drawn:.6f}, {'below' if reason.holds else 'not below'} 0.4"
        assert reason.holds == (drawn < 0.4) == bool(each.faults)
        seen.add(reason.holds)
    assert seen == {True, False}


def test_a_limit_says_how_often_it_fired() -> None:
    """Up to the limit it counts, and then it says so."""
    assert because(rule(limit=2), connections=2) == "yes: no. 2 of at most 2"
    assert because(rule(limit=2), connections=3) == "no: it has matched 2 times, its limit"


def test_first_bytes_say_what_was_said() -> None:
    """A client that says something is judged by it."""
    get = rule({"starts_with": "GET /"})
    assert because(get, first_bytes=b"GET /a") == 'yes: it says "GET /a"'
    assert because(get, first_bytes=b"PUT /a").endswith('this client says "PUT /a"')


def test_what_is_not_read_says_so() -> None:
    """A rule below the verdict names it; a dry run is no verdict and says what it is."""
    assert because(rule(), rule(name="below")) == 'no: not read: "cut" has decided'
    assert because(rule(dry_run=True)) == "yes: it has no condition; a dry run: logged, and not carried out"
    assert because(rule(dry_run=True), rule(name="below")) == "yes: it has no condition"


def test_an_outage_lets_nobody_in() -> None:
    """While it lasts nobody is counted, and its window says why."""
    outage = rule({"window": {"from": "10s"}}, "down", refuse=None)
    cut = rule({"first": 1})
    assert [each.text for each in forecasts(outage, cut, connections=2, at_s=5.0)] == ["reset at once", "nothing"]
    for each in forecasts(outage, cut, connections=2, at_s=10.0):
        assert (each.text, [(fault.rule, fault.fault, fault.count) for fault in each.faults]) == (
            "refuse",
            [("down", "refuse", 1)],
        )
        assert [reason.holds for reason in each.reasons] == [True, False]
        assert each.reasons[0].because == "an outage: the listener is closed; at 10s its window, from 10s on, is open"


def test_a_proxy_that_is_not_enabled_lets_nobody_in() -> None:
    """There is no fault to tell then, but a reason."""
    (each,) = forecasts(rule(), enabled=False)
    assert (each.faults, each.text) == ((), "refused: the proxy is not enabled")


def test_a_forecast_in_words() -> None:
    """Every fault with its options and its trigger, in the order of the rules."""
    slow = rule(None, "slow", latency={"delay": "20ms", "jitter": "5ms"})
    cut = Rule.model_validate(
        {"name": "cut", "reset": {"after": "4KiB", "to": "client"}, "half_close": {"after": "2s"}}
    )
    assert forecasts(slow, cut)[0].text == (
        "latency delay 20ms jitter 5ms, reset after 4KiB downstream to client, half_close after 2s"
    )
    assert forecasts(rule(None, "spare", **{"pass": None}))[0].text == "pass"


@pytest.mark.parametrize(
    ("end", "idle"),
    [
        ({"refuse": None}, {"slow_connect", "latency"}),
        ({"reset": None}, {"latency"}),
        ({"hang": None}, {"latency"}),
        ({"hang": {"for": "1s"}}, set()),
        ({"half_close": None}, set()),
        ({"reset": {"after": "1B"}}, set()),
    ],
)
def test_a_shape_with_nothing_to_shape_is_not_expected(end: Settings, idle: set[str]) -> None:
    """Of a client that is refused, or whose connection moves no byte."""
    delays = {"slow_connect": {"delay": "20ms"}, "latency": {"delay": "10ms"}}
    rules = [Rule.model_validate({"name": "slow", **delays}), Rule.model_validate({"name": "end", **end})]
    (each,) = forecasts(*rules)
    assert {fault.fault for fault in each.faults} == (delays.keys() - idle) | end.keys()
    assert [part.split()[0] for part in each.text.split(", ")] == [fault.fault for fault in each.faults]


def test_two_hundred_expected_are_two_hundred_real(tmp_path: Path) -> None:
    """Each real connection meets the faults that were expected for it, by the same rules, with the same counts."""
    config = {"seed": 7, "proxies": {"p": {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "rules": RULES}}}
    reported = explain(tmp_path, config, "--connections", "200", "--json")
    assert reported.exit_code == 0
    expected = {
        line["connection"]: sorted((fault["rule"], fault["fault"], fault["count"]) for fault in line["faults"])
        for line in map(json.loads, reported.stdout.splitlines())
    }
    real: dict[int, list[tuple[str, str, int]]] = {number: [] for number in range(1, 201)}
    with Server(echo) as server, faultproxy.Proxy(server.address, RULES, name="p", seed=7) as proxy:
        for _ in range(200):
            try:
                with connect((proxy.host, proxy.port)) as client:
                    client.sendall(b"hello")
                    client.shutdown(socket.SHUT_WR)
                    read_to_the_end(client)
            except OSError:
                pass  # which one is for the tests of each fault to say
        for fault in proxy.faults:
            assert fault.rule is not None
            assert fault.ordinal is not None
            real[int((fault.connection or "").rpartition("#")[2])].append((fault.rule, fault.fault, fault.ordinal))
    assert {number: sorted(faults) for number, faults in real.items()} == expected
    injected = {rule for faults in real.values() for rule, _, _ in faults}
    assert injected == {settings["name"] for settings in RULES} - {"others", "watch", "spare"}


def test_a_client_may_say_any_bytes(tmp_path: Path) -> None:
    """Also those that are no text, as a shell may give them."""
    hello = {"name": "hello", "when": {"starts_with": {"hex": "16 ff"}}, "reset": None}
    config = {"proxies": {"p": {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "rules": [hello]}}}
    for options in ([], ["--json"]):
        reported = explain(tmp_path, config, "--connections", "1", "--says", os.fsdecode(b"\x16\xff\x03"), *options)
        assert (reported.exit_code, "reset" in reported.stdout) == (0, True)


def test_the_json_lines(tmp_path: Path) -> None:
    """An object a line: proxy, connection, faults, rules, with exactly these keys."""
    done = explain(tmp_path, one({"name": "cut", "when": {"first": 1}, "reset": None}), "--connections", "2", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "proxy": "redis",
            "connection": 1,
            "faults": [{"rule": "cut", "fault": "reset", "count": 1}],
            "rules": [{"rule": "cut", "holds": True, "because": "1st that it counts, of the first 1"}],
        },
        {
            "proxy": "redis",
            "connection": 2,
            "faults": [],
            "rules": [{"rule": "cut", "holds": False, "because": "2nd that it counts, past the first 1"}],
        },
    ]


def test_the_table(tmp_path: Path) -> None:
    """A table a proxy, a row a connection; what users wrote is never taken for markup."""
    config = one({"name": "[red]cut", "when": {"first": 1}, "reset": None})
    config["proxies"]["other"] = {**config["proxies"]["redis"], "listen": "127.0.0.1:1234", "rules": []}
    done = explain(tmp_path, config, "--connections", "3")
    assert done.exit_code == 0
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "redis: 127.0.0.1:0 for 127.0.0.1:9; clients from 127.0.0.1, from the start" in lines
    assert any(line.startswith("1   reset at once") and "[red]cut: 1st that it counts" in line for line in lines)
    assert sum(line.startswith("3   nothing") for line in lines) == 2


def test_the_options(tmp_path: Path) -> None:
    """One proxy, another client, a later time, another seed, other first bytes."""
    config = one(
        {"name": "late", "when": {"client": "10.0.0.1", "window": {"from": "1m"}, "matches": "^hi"}, "reset": None},
        {"name": "chance", "when": {"probability": 0.5}, "reset": None},
    )
    config["proxies"]["other"] = {**config["proxies"]["redis"], "listen": "127.0.0.1:1234"}
    options = ("--proxy", "redis", "--client", "::ffff:10.0.0.1", "--at", "2m", "--says", "hi", "--json")
    done = explain(tmp_path, config, *options)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["proxy"], line["faults"][0]["rule"]) for line in lines] == [("redis", "late")] * 20
    assert explain(tmp_path, config, "--json").stdout != explain(tmp_path, config, "--json", "--seed", "1").stdout


def test_a_seed_that_is_drawn_is_reported(tmp_path: Path) -> None:
    """Without a seed the draws of a run will be others, so the command says how to have these."""
    config = one({"name": "chance", "when": {"probability": 0.5}, "reset": None})
    del config["seed"]
    done = explain(tmp_path, config, "--json")
    seed = done.stderr.split("--seed ")[1].strip()
    assert explain(tmp_path, config, "--json", "--seed", seed).stdout == done.stdout


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--proxy", "rdis"], "there is no proxy rdis; it has redis"),
        (["--client", "localhost"], '"localhost" is not an IP address; write one such as 10.0.0.1'),
        (["--at", "30"], '"30" is not a duration'),
        (["--connections", "0"], '"0" is not a number from 1 to 1000000'),
    ],
)
def test_a_wrong_option(tmp_path: Path, options: list[str], wrong: str) -> None:
    """Exit code 2, and what would be right."""
    done = explain(tmp_path, one(), *options)
    assert done.exit_code == 2
    assert wrong in done.stderr


def test_a_wrong_file(tmp_path: Path) -> None:
    """Exit code 2, and every error with its place."""
    done = explain(tmp_path, one({"name": "cut", "rest": None}))
    assert done.exit_code == 2
    assert '"rest" is not a key here; write reset' in done.stderr
