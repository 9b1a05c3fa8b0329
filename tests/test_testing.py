"""A proxy inside a test: real sockets, the whole program behind them, and nothing left when it is over."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import unittest
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import trio

import faultproxy
from faultproxy import testing
from faultproxy.connection import Connection
from tests.peers import PATIENCE_S, Server, connect, echo, fate, nobody, read_exactly, read_to_the_end

Rule = dict[str, Any]

RESET: Rule = {"name": "cut", "reset": None}
REFUSE: Rule = {"name": "down", "refuse": None}
PACKAGE = Path(faultproxy.__file__).parent.parent


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that sends back what comes."""
    with Server(echo) as echoing:
        yield echoing.address


def ask(proxy: faultproxy.Proxy | faultproxy.AsyncProxy, data: bytes = b"hi") -> str | bytes:
    """What a client gets that sends and reads as much: the bytes, or how that failed."""
    try:
        with connect((proxy.host, proxy.port)) as client:
            client.sendall(data)
            return read_exactly(client, len(data))
    except OSError as error:
        return type(error).__name__


def left_behind() -> tuple[int, set[threading.Thread]]:
    """How many descriptors are open, and which threads run, once the echo server has seen its last client go."""
    deadline = monotonic() + PATIENCE_S
    while any("_serve" in thread.name for thread in threading.enumerate()) and monotonic() < deadline:
        sleep(0.001)
    return len(os.listdir("/proc/self/fd")), set(threading.enumerate())


def assert_nothing_left(before: tuple[int, set[threading.Thread]]) -> None:
    """No thread or descriptor but those of before; no thread of the proxy even at this moment."""
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("faultproxy")]
    assert left_behind() == before


# ---- from begin to end


def test_the_example_of_the_issue(server: str) -> None:
    """It listens when the block begins; what struck is there as soon as the client has seen it."""
    rules = [{"name": "cold", "when": {"first": 2}, "refuse": None}]
    with faultproxy.Proxy(upstream=server, rules=rules) as proxy:
        assert {ask(proxy), ask(proxy)} <= {"ConnectionRefusedError", "ConnectionResetError"}
        assert ask(proxy) == b"hi"
        assert [(fault.fault, fault.rule, fault.ordinal) for fault in proxy.faults] == [
            ("refuse", "cold", 1),
            ("refuse", "cold", 2),
        ]
        assert proxy.times("cold") == 2


def test_nothing_is_left_behind(server: str) -> None:
    """When the block ends, threads and descriptors are as before, though clients are still connected: they are reset."""
    before = left_behind()
    with faultproxy.Proxy(server) as proxy:
        client = connect((proxy.host, proxy.port))
        client.sendall(b"hi")
        assert read_exactly(client, 2) == b"hi"
    with client:
        assert read_to_the_end(client) == (b"", "ECONNRESET")
    assert_nothing_left(before)


def test_nothing_is_left_behind_by_a_lookup(server: str) -> None:
    """No thread either that has looked up the upstream's name."""
    before = left_behind()
    with faultproxy.Proxy(server.replace("127.0.0.1", "localhost")) as proxy:
        assert ask(proxy) == b"hi"
    assert_nothing_left(before)


def test_nothing_is_left_behind_by_a_lookup_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the block waits for a lookup that its connection has given up."""
    before = left_behind()
    asked, answer, look_up = threading.Event(), threading.Event(), socket.getaddrinfo

    def hang(host: str, *rest: Any, **named: Any) -> list[Any]:
        if host != "db":
            return look_up(host, *rest, **named)
        asked.set()
        answer.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with faultproxy.Proxy("db:5432") as proxy, connect((proxy.host, proxy.port)):
        assert asked.wait(PATIENCE_S)
        later = threading.Timer(0.05, answer.set)
        later.start()
    assert answer.is_set()
    later.join()
    assert_nothing_left(before)


def test_nothing_is_left_behind_by_an_error(server: str) -> None:
    """A block that raises, and a start that fails, leave nothing either."""
    before = left_behind()
    with pytest.raises(KeyError), faultproxy.Proxy(server):
        raise KeyError
    with nobody() as taken, pytest.raises(faultproxy.CannotListen), faultproxy.Proxy(server, listen=taken):
        pass
    assert_nothing_left(before)


def test_nothing_is_left_behind_by_an_interrupted_start(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it is waited for: there is no block yet whose end would stop it."""

    class Interrupted(Future[None]):
        def result(self, timeout: float | None = None) -> None:
            raise KeyboardInterrupt

    before = left_behind()
    monkeypatch.setattr(testing, "Future", Interrupted)
    with pytest.raises(KeyboardInterrupt), faultproxy.Proxy(server):
        pass
    assert_nothing_left(before)


def test_several_at_once(server: str) -> None:
    """Proxies in one process know nothing of each other, and may stand one behind the other."""
    with faultproxy.Proxy(server, [RESET], name="first") as first, faultproxy.Proxy(server, name="second") as second:
        with faultproxy.Proxy(second.address, name="third") as third:
            assert ask(third) == b"hi"
        assert ask(first) == "ConnectionResetError"
        assert (len(first.faults), len(second.faults), len(third.faults)) == (1, 0, 0)
        assert [connection.connection for connection in second.wait_closed()] == ["second#1"]


def test_thirty_two_at_once(server: str) -> None:
    """Starting and stopping from many threads at once goes well."""
    answers: list[str | bytes] = []

    def use() -> None:
        with faultproxy.Proxy(server) as proxy:
            answers.append(ask(proxy))

    threads = [threading.Thread(target=use) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"hi"] * 32


def test_a_proxy_is_started_once(server: str) -> None:
    """A second start is an error, a second stop is not; before the start there is no port."""
    proxy = faultproxy.Proxy(server)
    with pytest.raises(RuntimeError, match="with statement"):
        _ = proxy.port
    with pytest.raises(RuntimeError, match="not running"):
        proxy.update(rules=[])
    with pytest.raises(RuntimeError, match="not running"):
        proxy.wait_for("reset")
    proxy.stop()
    proxy.start()
    proxy.stop()
    proxy.stop()
    with pytest.raises(RuntimeError, match="started once"):
        proxy.start()


def test_what_it_says_of_itself(server: str) -> None:
    """Its repr has its name, where it listens, and what for."""
    proxy = faultproxy.Proxy(server, name="redis")
    assert repr(proxy) == f"<Proxy 'redis' not started, for {server}>"
    with proxy:
        assert repr(proxy) == f"<Proxy 'redis' at 127.0.0.1:{proxy.port}, for {server}>"


def test_it_listens_where_it_is_told(server: str) -> None:
    """At a port of IPv6, or at all addresses, where this host's own is given to clients."""
    with faultproxy.Proxy(server, listen="[::1]:0") as proxy:
        assert proxy.address == f"[::1]:{proxy.port}"
        assert ask(proxy) == b"hi"
    for listen, host in [(":0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "[::1]")]:
        with faultproxy.Proxy(server, listen=listen) as proxy:
            assert proxy.address == f"{host}:{proxy.port}"
            assert ask(proxy) == b"hi"


def test_a_bug_of_ours_is_not_silent(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that a bug has ended fails the test at the end of the block, with the traceback."""

    async def crash(_: Connection) -> None:
        raise ZeroDivisionError("bug")

    monkeypatch.setattr(Connection, "_live", crash)
    proxy = faultproxy.Proxy(server)
    proxy.start()
    assert fate((proxy.host, proxy.port)) == (b"", "ECONNRESET")
    with pytest.raises(RuntimeError, match=r"(?s)a bug in faultproxy.*ZeroDivisionError: bug"):
        proxy.__exit__(None, None, None)


def test_importing_it_costs_little() -> None:
    """The package alone imports neither trio nor pydantic, because pytest loads its plugin in every run."""
    program = "import sys, faultproxy.pytest_plugin; print({'trio', 'pydantic', 'structlog'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run([sys.executable, "-P", "-c", program], env=environment, capture_output=True, check=True)
    assert done.stdout == b"set()\n"


def test_all_names_are_there() -> None:
    """What __all__ names can be had, and nothing else."""
    assert all(getattr(faultproxy, name) for name in faultproxy.__all__)
    with pytest.raises(AttributeError, match="Proxies"):
        _ = faultproxy.Proxies  # type: ignore[attr-defined]


# ---- rules


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
    ],
)
def test_a_wrong_rule_is_told_where_it_is_made(server: str, rules: Any, error: str) -> None:
    """The same words as for a file, without file and line, raised in the thread of the test."""
    with pytest.raises(faultproxy.ConfigError, match=error):
        faultproxy.Proxy(server, rules)


def test_every_wrong_rule_is_told_in_order(server: str) -> None:
    """All errors at once, from the first rule to the last."""
    with pytest.raises(faultproxy.ConfigError) as caught:
        faultproxy.Proxy(server, [{"name": f"{number}", "wrong": None} for number in range(12)])
    assert [error.partition(":")[0] for error in caught.value.errors] == [
        f"rules[{number}].wrong" for number in range(12)
    ]


def test_a_wrong_address_is_told(server: str) -> None:
    """So it is for the other arguments."""
    with pytest.raises(faultproxy.ConfigError, match=r'^upstream: "redis" is not an address'):
        faultproxy.Proxy("redis")
    with pytest.raises(faultproxy.ConfigError, match=r"^dial_timeout: "):
        faultproxy.Proxy(server, dial_timeout="5")


def test_an_update_is_in_force_when_it_returns(server: str) -> None:
    """Also where the listener must be shut or opened for it; the port stays."""
    with faultproxy.Proxy(server) as proxy:
        port = proxy.port
        for _ in range(10):
            proxy.update(rules=[REFUSE])
            assert ask(proxy) == "ConnectionRefusedError"
            proxy.update(rules=[RESET])
            assert ask(proxy) == "ConnectionResetError"
            proxy.update(enabled=False)
            assert ask(proxy) == "ConnectionRefusedError"
            proxy.update(rules=[], enabled=True)
            assert ask(proxy) == b"hi"
        assert proxy.port == port


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


def test_the_seed_is_the_same_each_time(server: str) -> None:
    """Without a seed a test meets the same fates in every run; with another, others."""
    rules = [{"name": "chance", "when": {"probability": "50%"}, "reset": None}]

    def struck(proxy: faultproxy.Proxy) -> list[str | None]:
        with proxy:
            for _ in range(16):
                ask(proxy)
            return [fault.connection for fault in proxy.faults]

    usual = struck(faultproxy.Proxy(server, rules))
    assert usual == struck(faultproxy.Proxy(server, rules, seed=0)) != struck(faultproxy.Proxy(server, rules, seed=1))


# ---- waiting


def test_waiting_for_a_fault_to_come(server: str) -> None:
    """It returns when the fault has struck, not before."""
    rules = [{"name": "later", "reset": {"after": "30ms"}}]
    with faultproxy.Proxy(server, rules) as proxy, connect((proxy.host, proxy.port)) as client:
        fault = proxy.wait_for("reset", timeout=PATIENCE_S)
        assert (fault.rule, fault.trigger, fault.client_sees) == ("later", "30ms", "ECONNRESET")
        assert fault.elapsed_ms >= 30
        assert read_to_the_end(client) == (b"", "ECONNRESET")


def test_waiting_for_what_has_been(server: str) -> None:
    """A fault that has struck already is found at once: the last of as many as are asked for."""
    with faultproxy.Proxy(server, [RESET]) as proxy:
        for _ in range(3):
            ask(proxy)
        assert proxy.wait_for("reset", timeout=0).connection == "proxy#1"
        assert proxy.wait_for(rule="cut", count=3, timeout=0).connection == "proxy#3"


def test_waiting_for_an_outage(server: str) -> None:
    """A listener that is shut is a fault too: a refuse of no connection, for every client."""
    with faultproxy.Proxy(server, [REFUSE]) as proxy:
        fault = proxy.wait_for("refuse", timeout=PATIENCE_S)
        assert (fault.connection, fault.rule, fault.ordinal, fault.client_sees) == (None, "down", 1, "ECONNREFUSED")


def test_waiting_in_vain_tells_what_did_happen(server: str) -> None:
    """The error has the faults and the connections that there were."""
    with faultproxy.Proxy(server, [RESET, REFUSE]) as proxy:
        ask(proxy)
        proxy.wait_closed(timeout=PATIENCE_S)
        with pytest.raises(faultproxy.FaultNotSeen) as caught:
            proxy.wait_for("reset", count=2, timeout=0.01)
    told = str(caught.value).splitlines()
    assert told[0] == "waited 0.01 s in vain for reset to be injected 2 times"
    assert told[1].endswith("rules: 'cut' matched 1, injected 1, 'down' matched 0, injected 0")
    assert "proxy#1" in told[2]
    assert "'cut' no. 1: reset, at once, client sees ECONNRESET" in told[2]
    assert told[3].startswith("closed: proxy#1")
    assert isinstance(caught.value, AssertionError)


def test_waiting_for_what_cannot_be(server: str) -> None:
    """A fault that there is not, or a rule that there never was, is told at once."""
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


# ---- records


def test_a_record_names_the_rule_that_came_later(server: str) -> None:
    """One that met the connection when it was open already: by an edit, or when its window opened."""
    slow = {"name": "slow", "latency": {"delay": "1ms"}}
    watch = {"name": "watch", "live": True, "mode": "shadow", "when": {"window": {"to": "1m"}}, "reset": None}
    with faultproxy.Proxy(server) as proxy, connect((proxy.host, proxy.port)) as first:
        with connect((proxy.host, proxy.port)) as second:
            for client in (first, second):
                client.sendall(b"hi")
                assert read_exactly(client, 2) == b"hi"
            proxy.update(rules=[slow, watch])
            second.sendall(b"hi")
            assert read_exactly(second, 2) == b"hi"
        proxy.wait_closed(timeout=PATIENCE_S)
        proxy.update(rules=[slow, {**watch, "name": "restart", "mode": "enforce"}])
        assert read_to_the_end(first) == (b"", "ECONNRESET")
        proxy.wait_closed(2, timeout=PATIENCE_S)
        assert [(record.rule, record.faults) for record in proxy.connections] == [
            ("slow", ("latency",)),
            ("restart", ("reset",)),
        ]


def test_a_record_has_exact_byte_counts(server: str) -> None:
    """Every connection that is over has its record: bytes each way, who ended it, which faults it met."""
    rules = [{"name": "cut", "when": {"first": 1}, "reset": {"after": "100B"}}]
    with faultproxy.Proxy(server, rules) as proxy:
        with connect((proxy.host, proxy.port)) as client:
            client.sendall(b"x" * 250)
            assert read_to_the_end(client) == (b"x" * 100, "ECONNRESET")
        assert ask(proxy, b"y" * 1000) == b"y" * 1000
        first, second = sorted(proxy.wait_closed(2, timeout=PATIENCE_S), key=lambda record: record.connection)
    assert (first.ended_by, first.faults, first.rule) == ("fault", ("reset",), "cut")
    assert (first.bytes_upstream, first.bytes_downstream) == (250, 100)
    assert (second.ended_by, second.faults, second.rule) == ("client", (), None)
    assert (second.bytes_upstream, second.bytes_downstream) == (1000, 1000)


def test_a_record_says_who_ended_the_connection() -> None:
    """The server that hangs up, the upstream that is not there, and the end of the proxy itself."""
    with Server(lambda sock: sock.sendall(b"bye")) as server, faultproxy.Proxy(server.address) as proxy:
        assert fate((proxy.host, proxy.port)) == (b"bye", "EOF")
        (record,) = proxy.wait_closed(timeout=PATIENCE_S)
        assert (record.ended_by, record.bytes_downstream) == ("server", 3)
    with nobody() as address, faultproxy.Proxy(address) as proxy:
        fate((proxy.host, proxy.port))
        (record,) = proxy.wait_closed(timeout=PATIENCE_S)
        assert record.ended_by == "upstream_error"
        assert "upstream failed: proxy#1: ECONNREFUSED" in proxy.report()
    with Server(echo) as server, faultproxy.Proxy(server.address) as proxy:
        client = connect((proxy.host, proxy.port))
        client.sendall(b"hi")
        read_exactly(client, 2)
    client.close()
    assert [record.ended_by for record in proxy.connections] == ["drain"]


def test_the_last_thousand_records_are_kept(server: str) -> None:
    """Of more, the oldest go; how many there were is still known."""
    with faultproxy.Proxy(server, [{"name": "cut", "reset": {"to": "client"}}]) as proxy:
        for _ in range(1010):
            fate((proxy.host, proxy.port))
        records = proxy.wait_closed(1010, timeout=PATIENCE_S)
        assert len(records) == 1000
        assert {record.connection for record in records}.isdisjoint({f"proxy#{number}" for number in range(1, 5)})
        assert proxy.times("cut") == 1010
        assert "closed: 960 earlier ones" in proxy.report()


def test_dry_runs_are_kept_apart(server: str) -> None:
    """A rule in shadow mode strikes nobody, and what it would have done is there to see."""
    with faultproxy.Proxy(server, [{**RESET, "mode": "shadow"}]) as proxy:
        assert ask(proxy) == b"hi"
        proxy.wait_closed(timeout=PATIENCE_S)
        assert proxy.faults == ()
        assert [(fault.rule, fault.connection) for fault in proxy.dry_runs] == [("cut", "proxy#1")]


# ---- expectations


@pytest.mark.parametrize(
    ("expect", "clients", "wrong"),
    [
        ({"min": 1}, 0, "injected 0 faults, expected at least 1"),
        ({"max": 1}, 2, "injected 2 faults, expected at most 1"),
        ({"min": 2, "max": 3}, 1, "injected 1 fault, expected at least 2"),
        ({"min": 0, "max": 0}, 1, "injected 1 fault, expected at most 0"),
        ({"min": 1, "max": 2}, 2, None),
        ({"min": 1}, 1, None),
        ({"max": 0}, 0, None),
    ],
)
def test_expect_is_judged_at_the_end(server: str, expect: dict[str, int], clients: int, wrong: str | None) -> None:
    """A rule that fired less or more often than its expect says fails the test when the block ends."""

    def play() -> None:
        with faultproxy.Proxy(server, [{**RESET, "expect": expect}]) as proxy:
            for _ in range(clients):
                ask(proxy)

    if wrong is None:
        play()
    else:
        with pytest.raises(faultproxy.ExpectationUnmet, match=f'^proxy: "cut" {wrong}\n'):
            play()


def test_a_rule_that_must_fire(server: str) -> None:
    """must_fire is for all rules with a fault, or for those it names."""
    rules = [RESET, {"name": "never", "when": {"client": "10.0.0.1"}, "close": None}, {"name": "spare", "pass": None}]
    proxy = faultproxy.Proxy(server, rules, must_fire=True)
    proxy.start()
    ask(proxy)
    with pytest.raises(faultproxy.ExpectationUnmet) as caught:
        proxy.__exit__(None, None, None)
    assert str(caught.value).splitlines()[:2] == [
        'proxy: "never" injected no fault, and must have',
        proxy.report().splitlines()[0],
    ]
    for names in (["cut"], "cut"):
        with faultproxy.Proxy(server, rules, must_fire=names) as proxy:
            ask(proxy)


def test_an_update_does_not_take_back_what_was_expected(server: str) -> None:
    """A rule that is taken away must have fired before; one that stays is judged by its last expect."""
    cut = {**RESET, "when": {"client": "10.0.0.1"}, "expect": {"min": 1}}
    for rules, unmet in [
        ([], ['proxy: "cut" injected 0 faults, expected at least 1']),
        ([{**cut, "expect": {"min": 2}}], ['proxy: "cut" injected 0 faults, expected at least 2']),
        ([{**cut, "expect": {"max": 2}}], []),
        ([RESET], []),
    ]:
        proxy = faultproxy.Proxy(server, [cut])
        proxy.start()
        proxy.update(rules=rules)
        proxy.stop()
        assert proxy.unmet() == unmet


def test_a_rule_that_must_fire_and_is_not_there(server: str) -> None:
    """A name that no rule ever had is told as that."""
    proxy = faultproxy.Proxy(server, [RESET], must_fire=["ctu"])
    assert proxy.unmet() == ['proxy: there never was a rule "ctu", which must fire']


def test_a_shadow_that_fired_has_fired(server: str) -> None:
    """must_fire asks whether a rule would have struck; a rule that an update took away must have fired before."""
    with faultproxy.Proxy(server, [{**RESET, "mode": "shadow"}], must_fire=True) as proxy:
        ask(proxy)
        proxy.wait_closed(timeout=PATIENCE_S)
        proxy.update(rules=[])


def test_a_test_that_failed_is_not_told_of_expectations(server: str) -> None:
    """What the block raised comes out, whatever the rules did."""
    with pytest.raises(ZeroDivisionError), faultproxy.Proxy(server, [RESET], must_fire=True):
        raise ZeroDivisionError


# ---- at home everywhere


class InUnittest(unittest.TestCase):
    """unittest's own test cases."""

    def test_it(self) -> None:
        """enterContext starts it, and the clean-up stops it."""
        with Server(echo) as server:
            proxy = faultproxy.Proxy(server.address, [RESET])
            proxy.start()
            self.addCleanup(proxy.stop)
            assert ask(proxy) == "ConnectionResetError"
            self.enterContext(faultproxy.Proxy(server.address))


def test_in_asyncio(server: str) -> None:
    """The proxy has a loop of its own, and asyncio's is free."""

    async def main() -> None:
        with faultproxy.Proxy(server, [{"name": "cut", "reset": {"after": "1B"}}]) as proxy:
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            writer.write(b"hi")
            assert await reader.read(1) == b"h"
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            writer.close()
            await asyncio.to_thread(proxy.wait_for, "reset")
            proxy.update(rules=[])
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            writer.write(b"hi")
            assert await reader.readexactly(2) == b"hi"
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


async def test_in_trio(server: str) -> None:
    """The proxy of the thread may be used, and updated, from a trio program."""
    with faultproxy.Proxy(server, [RESET]) as proxy:
        assert await trio.to_thread.run_sync(ask, proxy) == "ConnectionResetError"
        proxy.update(rules=[])
        assert await trio.to_thread.run_sync(ask, proxy) == b"hi"


# ---- among trio's tasks


async def open_client(proxy: faultproxy.AsyncProxy) -> trio.SocketStream:
    return await trio.open_tcp_stream(proxy.host, proxy.port)


async def test_an_async_proxy(server: str) -> None:
    """It strikes, tells and waits as the other does, in the test's own loop, and leaves no descriptor."""
    before = left_behind()
    async with faultproxy.AsyncProxy(server, [{"name": "cut", "reset": {"after": "1B"}}], must_fire=True) as proxy:
        async with await open_client(proxy) as client:
            await client.send_all(b"hi")
            assert await client.receive_some(2) == b"h"
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some(1)
        fault = await proxy.wait_for("reset", timeout=PATIENCE_S)
        assert (fault.bytes_upstream, fault.bytes_downstream) == (2, 1)
        await proxy.update(rules=[])
        async with await open_client(proxy) as client:
            await client.send_all(b"hi")
            assert await client.receive_some(2) == b"hi"
        records = await proxy.wait_closed(2, timeout=PATIENCE_S)
        assert {record.connection: record.ended_by for record in records} == {"proxy#1": "fault", "proxy#2": "client"}
    assert_nothing_left(before)


async def test_an_async_update_is_in_force_when_it_returns(server: str) -> None:
    """Also where the listener must be shut or opened for it."""
    async with faultproxy.AsyncProxy(server) as proxy:
        for _ in range(10):
            await proxy.update(rules=[REFUSE])
            with pytest.raises(OSError, match=r"refused|attempts"):
                await open_client(proxy)
            await proxy.update(rules=[])
            await (await open_client(proxy)).aclose()


async def test_an_async_wait_in_vain(server: str) -> None:
    """It says what did happen."""
    async with faultproxy.AsyncProxy(server, [RESET]) as proxy:
        with pytest.raises(
            faultproxy.FaultNotSeen, match=r"^waited 0\.01 s in vain for reset of 'cut' to be injected\n"
        ):
            await proxy.wait_for("reset", rule="cut", timeout=0.01)
        with pytest.raises(faultproxy.FaultNotSeen, match="in vain for 2 connections to be over"):
            await proxy.wait_closed(2, timeout=0.01)


async def test_an_async_block_raises_what_it_raises(server: str) -> None:
    """No group is put around it, and the proxy is gone."""
    with pytest.raises(KeyError):
        async with faultproxy.AsyncProxy(server) as proxy:
            raise KeyError
    with pytest.raises(OSError, match=r"refused|attempts"):
        await open_client(proxy)


async def test_an_async_block_can_be_cancelled(server: str) -> None:
    """A timeout around the block ends it, and the proxy with it."""
    with trio.move_on_after(0.02) as scope:
        async with faultproxy.AsyncProxy(server) as proxy:
            await trio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(OSError, match=r"refused|attempts"):
        await open_client(proxy)


async def test_an_async_block_can_be_cancelled_before_it_begins(server: str) -> None:
    """A timeout that is over already ends the start, and the proxy with it."""
    before = left_behind()
    with trio.move_on_after(0) as scope:
        async with faultproxy.AsyncProxy(server):
            raise AssertionError("it began")
    assert scope.cancelled_caught
    assert_nothing_left(before)


async def test_an_async_proxy_that_does_not_run(server: str) -> None:
    """It is told, as the other proxy tells it."""
    proxy = faultproxy.AsyncProxy(server)
    for ask_it in (proxy.wait_for, proxy.wait_closed, proxy.update):
        with pytest.raises(RuntimeError, match="the proxy is not running"):
            await ask_it()
    async with proxy:
        pass
    with pytest.raises(RuntimeError, match="the proxy is not running"):
        await proxy.update(rules=[])


async def test_an_async_proxy_cannot_listen(server: str) -> None:
    """It is told where the block begins."""
    with nobody() as taken, pytest.raises(faultproxy.CannotListen, match="Address already in use"):
        async with faultproxy.AsyncProxy(server, listen=taken):
            pass


async def test_an_async_proxy_judges_its_rules(server: str) -> None:
    """expect and must_fire fail the test at the end of the block."""
    with pytest.raises(faultproxy.ExpectationUnmet, match="expected at least 1"):
        async with faultproxy.AsyncProxy(server, [{**RESET, "expect": {"min": 1}}]):
            pass
    with pytest.raises(faultproxy.ExpectationUnmet, match="injected no fault"):
        async with faultproxy.AsyncProxy(server, [RESET], must_fire=True):
            pass
