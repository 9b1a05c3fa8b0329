"""The pytest plugin, in runs of pytest of its own: what it makes, what it shows, and when it fails a test."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.commands import PACKAGE
from tests.peers import Server, echo

SUITE = """
import os
import socket
import threading

import pytest

UPSTREAM = os.environ["UPSTREAM"]
CUT = {"name": "cut", "reset": {"to": "client"}}
NEVER = {"name": "never", "when": {"client": "10.0.0.1"}, "close": None}


def ask(proxy):
    try:
        with socket.create_connection((proxy.host, proxy.port), 20) as client:
            client.sendall(b"hi")
            return client.recv(2)
    except ConnectionResetError as error:
        return type(error).__name__


def test_good(faultproxy):
    first, second = faultproxy(UPSTREAM, [CUT]), faultproxy(upstream=UPSTREAM)
    assert (first.name, second.name) == ("proxy", "proxy2")
    assert (ask(first), ask(second)) == ("ConnectionResetError", b"hi")


def test_nothing_left():
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("faultproxy")]


def test_bad(faultproxy):
    proxy = faultproxy(UPSTREAM, [CUT], name="redis")
    ask(proxy)
    assert ask(proxy) == b"hi"


def test_bad_without_a_proxy(faultproxy):
    assert False


@pytest.mark.faultproxy(must_fire=True)
def test_marker(faultproxy):
    ask(faultproxy(UPSTREAM, [CUT, NEVER]))


@pytest.mark.faultproxy
def test_marker_alone(faultproxy):
    ask(faultproxy(UPSTREAM, [NEVER]))


@pytest.mark.faultproxy(must_fire=["cut"])
def test_marker_names(faultproxy):
    ask(faultproxy(UPSTREAM, [CUT, NEVER]))


@pytest.mark.faultproxy(must_fire="cut")
def test_marker_names_a_rule_of_one(faultproxy):
    ask(faultproxy(UPSTREAM, [CUT]))
    ask(faultproxy(UPSTREAM, [NEVER]))


@pytest.mark.faultproxy(must_fire=["cut", "never", "ctu"])
def test_marker_names_more(faultproxy):
    ask(faultproxy(UPSTREAM, [CUT]))
    ask(faultproxy(UPSTREAM, [NEVER]))


@pytest.mark.faultproxy
def test_marker_without_a_proxy():
    pass


@pytest.mark.faultproxy
class TestMarked:
    def test_class_marker_without_a_proxy(self):
        pass


@pytest.mark.faultproxy(must_fire=True)
def test_argument_over_marker(faultproxy):
    faultproxy(UPSTREAM, [NEVER], must_fire=False)


def test_argument(faultproxy):
    faultproxy(UPSTREAM, [NEVER], must_fire=["never"])


def test_expect(faultproxy):
    ask(faultproxy(UPSTREAM, [{**CUT, "expect": {"min": 2}}]))


def test_skipped(faultproxy):
    faultproxy(UPSTREAM, [NEVER], must_fire=True)
    pytest.skip("it is not judged")


@pytest.mark.xfail(strict=True)
def test_expected_to_fail(faultproxy):
    faultproxy(UPSTREAM, [NEVER], must_fire=True)


@pytest.mark.faultproxy(never="cut")
def test_wrong_marker(faultproxy):
    pass


def test_wrong_rule(faultproxy):
    faultproxy(UPSTREAM, [{"name": "cut", "rest": None}])
"""


def run_pytest(folder: Path, upstream: str, suite: str, *options: str) -> str:
    """What a run of pytest says that has this plugin, and no other that is not named."""
    (folder / "test_suite.py").write_text(suite)
    environment = {
        **os.environ,
        "PYTHONPATH": str(PACKAGE),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "UPSTREAM": upstream,
        "COLUMNS": "200",
    }
    plugin = ["-p", "faultproxy.testing.pytest_plugin", "-p", "no:cacheprovider", "--strict-markers", "-W", "error"]
    command = [sys.executable, "-P", "-m", "pytest", "-rA", *plugin, *options, str(folder)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with Server(echo) as server:
        yield server.address


@pytest.fixture(scope="module")
def said(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of the whole suite."""
    return run_pytest(tmp_path_factory.mktemp("suite"), upstream, SUITE)


def story(said: str, test: str) -> str:
    """The report of one test that failed."""
    found = re.search(rf"^_+ (?:ERROR at \w+ of )?{test} _+$(.*?)^(?:_{{5,}} |=+ )", said, re.MULTILINE | re.DOTALL)
    assert found, said
    return found[1]


@pytest.mark.parametrize(
    ("outcome", "tests"),
    [
        ("PASSED", {"good", "nothing_left", "marker_names", "marker_names_a_rule_of_one", "argument_over_marker"}),
        (
            "FAILED",
            {"bad", "bad_without_a_proxy", "marker", "marker_alone", "argument", "expect", "wrong_rule"}
            | {"marker_names_more", "marker_without_a_proxy"},
        ),
        ("ERROR", {"wrong_marker"}),
        ("XFAIL", {"expected_to_fail"}),
    ],
)
def test_outcomes(said: str, outcome: str, tests: set[str]) -> None:
    """Exactly these tests of the suite end like that."""
    assert set(re.findall(rf"^{outcome} test_suite\.py::test_(\w+)", said, re.MULTILINE)) == tests


def test_a_failed_test_shows_its_faults_and_connections(said: str) -> None:
    """Under a heading of its own, for each proxy: where it was, what was injected, what was over."""
    report = story(said, "test_bad")
    assert re.search(r"^-+ faultproxy -+$", report, re.MULTILINE)
    reported = report.partition(" faultproxy -")[2].splitlines()[1:]
    assert re.match(r"redis: 127\.0\.0\.1:\d+ for \S+, seed 0; rules: 'cut' matched 2, injected 2$", reported[0])
    assert [line.split()[:2] for line in reported[1:3]] == [["injected:", "redis#1"], ["injected:", "redis#2"]]
    assert "reset, at once, client sees ECONNRESET" in reported[1]
    assert reported[3].startswith("closed: redis#1")


def test_a_failed_test_without_a_proxy_shows_nothing(said: str) -> None:
    """There is no empty heading."""
    assert "- faultproxy -" not in story(said, "test_bad_without_a_proxy")


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("marker", '"never" injected no fault, and must have'),
        ("marker_alone", '"never" injected no fault, and must have'),
        ("argument", '"never" injected no fault, and must have'),
        ("expect", '"cut" injected 1 fault, expected at least 2'),
    ],
)
def test_a_rule_that_did_not_fire_is_named(said: str, test: str, why: str) -> None:
    """The test fails, in its call, with one sentence a rule."""
    assert story(said, f"test_{test}").splitlines()[1] == f"proxy: {why}"


def test_a_marker_may_name_rules_of_different_proxies(said: str) -> None:
    """A proxy that has no such rule is not asked; one of them must have had it."""
    assert story(said, "test_marker_names_more").splitlines()[1:3] == [
        'proxy2: "never" injected no fault, and must have',
        'there never was a rule "ctu", which must fire',
    ]


def test_a_marker_that_marks_nothing_is_reported(said: str) -> None:
    """On a test that makes no proxy with the fixture, and so would prove nothing; a class may have such tests too."""
    assert "and it made none" in story(said, "test_marker_without_a_proxy")
    assert "PASSED test_suite.py::TestMarked::test_class_marker_without_a_proxy" in said


def test_a_wrong_rule_fails_the_test_that_has_it(said: str) -> None:
    """With the words that a file would get."""
    assert 'ConfigError: rules[0].rest: "rest" is not a key here; write reset' in story(said, "test_wrong_rule")


def test_a_wrong_marker_says_what_is_right(said: str) -> None:
    """An error, not a silent pass."""
    assert "the faultproxy marker takes must_fire=True or must_fire=[rule, ...]" in said


def test_under_xdist(upstream: str, tmp_path: Path) -> None:
    """Several workers at once; reports carry the faults, and no worker keeps a thread."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    said = run_pytest(tmp_path, upstream, SUITE, "-p", "xdist", "-n", "2")
    assert "6 passed" in said
    assert "9 failed" in said
    assert "redis#1" in story(said, "test_bad")


def test_it_comes_with_the_package() -> None:
    """Where faultproxy is installed, pytest has the fixture."""
    found = entry_points(group="pytest11", name="faultproxy")
    if not found:
        pytest.skip("faultproxy is not installed here, only its tree is on the path")
    assert {entry.value for entry in found} == {"faultproxy.testing.pytest_plugin"}
