"""Arguments of a proxy in a test: right ones, wrong ones, and those that an update leaves alone."""

from pathlib import Path
from typing import Any

import pytest

import faultproxy
from tests.testing.clients import RESET, Rule, ask


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        (
            [{"name": "cut", "reset": {"after": "4"}}],
            r'^rules\[0\]\.reset\.after: "4" is neither a size nor a duration; write 4KiB or 2s',
        ),
        ([{"name": "cut", "rest": None}], r'^rules\[0\]\.rest: "rest" is not a key here; write reset'),
        ([RESET, RESET], r'^rules\[1\]\.name: "cut" already names the rule above'),
        ([{"name": "cut"}], r"^rules\[0\]: has no fault"),
        ("reset", r'^rules: "reset" is not a list'),
        (RESET, r"^rules: .*list"),
    ],
)
def test_a_wrong_rule_is_reported_where_it_is_made(server: str, rules: Any, error: str) -> None:
    """The same words as for a file, without file and line, raised in the thread of the test."""
    with pytest.raises(faultproxy.ConfigError, match=error):
        faultproxy.Proxy(server, rules)


def test_every_wrong_rule_is_reported_in_order(server: str) -> None:
    """All errors at once, from the first rule to the last."""
    with pytest.raises(faultproxy.ConfigError) as caught:
        faultproxy.Proxy(server, [{"name": f"{number}", "wrong": None} for number in range(12)])
    assert [error.partition(":")[0] for error in caught.value.errors] == [
        f"rules[{number}].wrong" for number in range(12)
    ]


def test_a_wrong_address_is_reported(server: str) -> None:
    """So it is for the other arguments."""
    with pytest.raises(faultproxy.ConfigError, match=r'^upstream: "redis" is not an address'):
        faultproxy.Proxy("redis")
    with pytest.raises(faultproxy.ConfigError, match=r"^dial_timeout: "):
        faultproxy.Proxy(server, dial_timeout="5")


def test_an_update_changes_only_what_is_given(server: str) -> None:
    """Rules keep their counts as in any edit, and what is not named stays."""
    cold = {"name": "cold", "when": {"first": 2}, "reset": None}
    with faultproxy.Proxy(server, [cold]) as proxy:
        assert ask(proxy) == "ConnectionResetError"
        proxy.update(dial_timeout="1s")
        assert ask(proxy) == "ConnectionResetError"
        assert ask(proxy) == b"hi"
        assert [fault.ordinal for fault in proxy.faults] == [1, 2]


def test_an_update_knows_nothing_of_rules_that_were_changed_in_place(server: str) -> None:
    """What is not named stays as it was given."""
    rules: list[Rule] = []
    with faultproxy.Proxy(server, rules) as proxy:
        rules.append(RESET)
        proxy.update(dial_timeout="1s")
        assert ask(proxy) == b"hi"


def test_a_wrong_update_changes_nothing(server: str) -> None:
    """It is raised where it was asked for, and the rules stay."""
    with faultproxy.Proxy(server, [RESET]) as proxy:
        with pytest.raises(faultproxy.ConfigError, match=r"^rules\[0\]\.reset: "):
            proxy.update(rules=[{"name": "cut", "reset": 3}])
        assert ask(proxy) == "ConnectionResetError"


def test_waiting_for_what_cannot_be(server: str) -> None:
    """A fault that there is not, or a rule that there never was, is reported at once."""
    with faultproxy.Proxy(server, [RESET]) as proxy:
        with pytest.raises(ValueError, match="no fault is called 'rset'; write reset"):
            proxy.wait_for("rset")
        with pytest.raises(ValueError, match="no rule is called 'cold'; write one of 'cut'"):
            proxy.wait_for(rule="cold")
        with pytest.raises(ValueError, match="no rule is called 'cold'"):
            proxy.times("cold")
        with pytest.raises(ValueError, match="write a count of 1 or more"):
            proxy.wait_for("reset", count=0)
    with (
        faultproxy.Proxy(server) as proxy,
        pytest.raises(ValueError, match="no rule is called 'cold'; there are no rules"),
    ):
        proxy.wait_for(rule="cold")


FILE = """
seed: 5
proxies:
  redis:
    listen: 127.0.0.1:1
    upstream: redis:6379
    keepalive: off
    rules:
      - {name: cut, when: {probability: 50%}, reset: }
  web: {listen: 127.0.0.1:2, upstream: "web:80"}
"""


def test_a_proxy_of_a_file(server: str, tmp_path: Path) -> None:
    """It has the file's rules, names and seed, at a free port; what is given stands above the file."""
    file = tmp_path / "faults.yaml"
    file.write_text(FILE)
    with faultproxy.Proxy.from_file(file, "redis", upstream=server) as proxy:
        assert (proxy.name, proxy.seed) == ("redis", 5)
        answers = [ask(proxy) for _ in range(16)]
    rules = [{"name": "cut", "when": {"probability": "50%"}, "reset": None}]
    with faultproxy.Proxy(server, rules, name="redis", seed=5) as proxy:
        assert [ask(proxy) for _ in range(16)] == answers
    assert {"ConnectionResetError", b"hi"} == set(answers)
    with faultproxy.Proxy.from_file(str(file), proxy="redis", upstream=server, rules=[RESET], seed=1) as proxy:
        assert proxy.seed == 1
        assert ask(proxy) == "ConnectionResetError"
        proxy.update(rules=[])
        assert ask(proxy) == b"hi"
    with pytest.raises(faultproxy.ExpectationUnmet), faultproxy.Proxy.from_file(file, "redis", must_fire=True):
        pass


def test_a_file_with_one_proxy_needs_no_name(server: str, tmp_path: Path) -> None:
    """With several it does; and a name must be one of theirs."""
    file = tmp_path / "faults.yaml"
    file.write_text(FILE)
    with pytest.raises(
        faultproxy.ConfigError, match=r"faults\.yaml: which proxy is not said; write proxy='redis' or 'web'"
    ):
        faultproxy.Proxy.from_file(file)
    with pytest.raises(faultproxy.ConfigError, match=r"""no proxy is called "rdis"; write proxy='redis' or 'web'"""):
        faultproxy.Proxy.from_file(file, "rdis")
    with pytest.raises(faultproxy.ConfigError, match=r"missing\.yaml:1:1: the file does not exist"):
        faultproxy.Proxy.from_file(tmp_path / "missing.yaml")
    file.write_text("proxies: {web: {listen: 127.0.0.1:2, upstream: 'web:80'}}")
    with faultproxy.Proxy.from_file(file, upstream=server) as proxy:
        assert (proxy.name, proxy.seed, ask(proxy)) == ("web", 0, b"hi")


def test_an_argument_that_there_is_not(server: str) -> None:
    """It is reported like a key of a file."""
    with pytest.raises(
        faultproxy.ConfigError, match=r'^dial_timout: "dial_timout" is not a key here; write dial_timeout'
    ):
        faultproxy.Proxy(server, dial_timout="1s")  # type: ignore[call-arg]
    with faultproxy.Proxy(server) as proxy, pytest.raises(faultproxy.ConfigError, match=r"^seed: "):
        proxy.update(seed=1)  # type: ignore[call-arg]
