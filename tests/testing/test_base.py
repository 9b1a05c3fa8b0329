"""What a proxy in a test reports of itself and of what happened, and how it judges that."""

import pytest

import faultproxy
from faultproxy.connection.connection import Connection
from tests.peers import PATIENCE_S, Server, connect, connect_and_read, echo, nobody, read_exactly, read_to_the_end
from tests.testing.clients import REFUSE, RESET, ask


def test_what_it_says_of_itself(server: str) -> None:
    """Its repr has its name, where it listens, and what for."""
    proxy = faultproxy.Proxy(server, name="redis")
    assert repr(proxy) == f"<Proxy 'redis' not started, for {server}>"
    with proxy:
        assert repr(proxy) == f"<Proxy 'redis' at 127.0.0.1:{proxy.port}, for {server}>"


def test_it_listens_where_it_should(server: str) -> None:
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

    def crash(_: Connection) -> None:
        raise ZeroDivisionError("bug")

    monkeypatch.setattr(Connection, "_start", crash)
    proxy = faultproxy.Proxy(server)
    proxy.start()
    assert connect_and_read((proxy.host, proxy.port)) == (b"", "ECONNRESET")
    with pytest.raises(RuntimeError, match=r"(?s)a bug in faultproxy.*ZeroDivisionError: bug"):
        proxy.__exit__(None, None, None)


def test_the_seed_is_the_same_each_time(server: str) -> None:
    """Without a seed a test gets the same faults in every run; with another, others."""
    rules = [{"name": "chance", "when": {"probability": "50%"}, "reset": None}]

    def injected(proxy: faultproxy.Proxy) -> list[str | None]:
        with proxy:
            for _ in range(16):
                ask(proxy)
            return [fault.connection for fault in proxy.faults]

    usual = injected(faultproxy.Proxy(server, rules))
    assert (
        usual == injected(faultproxy.Proxy(server, rules, seed=0)) != injected(faultproxy.Proxy(server, rules, seed=1))
    )


def test_waiting_in_vain_says_what_did_happen(server: str) -> None:
    """The error has the faults and the connections that there were."""
    with faultproxy.Proxy(server, [RESET, REFUSE]) as proxy:
        ask(proxy)
        proxy.wait_closed(timeout=PATIENCE_S)
        with pytest.raises(faultproxy.FaultNotSeen) as caught:
            proxy.wait_for("reset", count=2, timeout=0.01)
    reported = str(caught.value).splitlines()
    assert reported[0] == "waited 0.01 s in vain for reset to be injected 2 times"
    assert reported[1].endswith("rules: 'cut' matched 1, injected 1, 'down' matched 0, injected 0")
    assert "proxy#1" in reported[2]
    assert "'cut' no. 1: reset, at once, client sees ECONNRESET" in reported[2]
    assert reported[3].startswith("closed: proxy#1")
    assert isinstance(caught.value, AssertionError)


def test_a_record_names_the_rule_that_came_later(server: str) -> None:
    """One that was injected when the connection was open already: by an edit, or when its window opened."""
    slow = {"name": "slow", "latency": {"delay": "1ms"}}
    watch = {"name": "watch", "live": True, "dry_run": True, "when": {"window": {"to": "1m"}}, "reset": None}
    with faultproxy.Proxy(server) as proxy, connect((proxy.host, proxy.port)) as first:
        with connect((proxy.host, proxy.port)) as second:
            for client in (first, second):
                client.sendall(b"hi")
                assert read_exactly(client, 2) == b"hi"
            proxy.update(rules=[slow, watch])
            second.sendall(b"hi")
            assert read_exactly(second, 2) == b"hi"
        proxy.wait_closed(timeout=PATIENCE_S)
        proxy.update(rules=[slow, {**watch, "name": "restart", "dry_run": False}])
        assert read_to_the_end(first) == (b"", "ECONNRESET")
        proxy.wait_closed(2, timeout=PATIENCE_S)
        assert [(record.rule, record.faults) for record in proxy.connections] == [
            ("slow", ("latency",)),
            ("restart", ("reset",)),
        ]


def test_a_record_has_exact_byte_counts(server: str) -> None:
    """Every connection that is over has its record: bytes each way, who ended it, which faults it had."""
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
        assert connect_and_read((proxy.host, proxy.port)) == (b"bye", "EOF")
        (record,) = proxy.wait_closed(timeout=PATIENCE_S)
        assert (record.ended_by, record.bytes_downstream) == ("server", 3)
    with nobody() as address, faultproxy.Proxy(address) as proxy:
        connect_and_read((proxy.host, proxy.port))
        (record,) = proxy.wait_closed(timeout=PATIENCE_S)
        assert record.ended_by == "upstream_error"
        assert "upstream failed: proxy#1: ECONNREFUSED" in proxy.summary()
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
            connect_and_read((proxy.host, proxy.port))
        records = proxy.wait_closed(1010, timeout=PATIENCE_S)
        assert len(records) == 1000
        assert {record.connection for record in records}.isdisjoint({f"proxy#{number}" for number in range(1, 5)})
        assert proxy.times("cut") == 1010
        assert "closed: 960 earlier ones" in proxy.summary()


def test_dry_runs_are_kept_apart(server: str) -> None:
    """A rule with dry_run injects nothing, and what it would have done is there to see."""
    with faultproxy.Proxy(server, [{**RESET, "dry_run": True}]) as proxy:
        assert ask(proxy) == b"hi"
        proxy.wait_closed(timeout=PATIENCE_S)
        assert proxy.faults == ()
        assert [(fault.rule, fault.connection) for fault in proxy.dry_runs] == [("cut", "proxy#1")]


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
    """A rule that injected fewer or more faults than its expect says fails the test when the block ends."""

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
        proxy.summary().splitlines()[0],
    ]
    for names in (["cut"], "cut"):
        with faultproxy.Proxy(server, rules, must_fire=names) as proxy:
            ask(proxy)


def test_an_update_does_not_take_back_what_was_expected(server: str) -> None:
    """A rule that is taken away must have injected before; one that stays is judged by its last expect."""
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
    """A name that no rule ever had is reported as that."""
    proxy = faultproxy.Proxy(server, [RESET], must_fire=["ctu"])
    assert proxy.unmet() == ['proxy: there never was a rule "ctu", which must fire']


def test_a_dry_run_counts_for_must_fire(server: str) -> None:
    """must_fire counts dry runs; a rule that an update took away must have injected before."""
    with faultproxy.Proxy(server, [{**RESET, "dry_run": True}], must_fire=True) as proxy:
        ask(proxy)
        proxy.wait_closed(timeout=PATIENCE_S)
        proxy.update(rules=[])


def test_a_test_that_failed_is_not_judged_by_expectations(server: str) -> None:
    """What the block raised comes out, whatever the rules did."""
    with pytest.raises(ZeroDivisionError), faultproxy.Proxy(server, [RESET], must_fire=True):
        raise ZeroDivisionError


def test_what_was_corrupted_is_reported(server: str) -> None:
    """How many bytes were changed is in the connection's record, and in the report."""
    with faultproxy.Proxy(server, [{"name": "noise", "corrupt": {"at": [0, 1], "direction": "downstream"}}]) as proxy:
        assert ask(proxy) != b"hi"
        (connection,) = proxy.wait_closed(timeout=PATIENCE_S)
        assert connection.bytes_changed == 2
        assert "2 B down, 2 B changed" in proxy.summary()


def test_the_report_says_what_the_clients_did(server: str) -> None:
    """A client that tries again until it is served; what waited for a fault finds its attempt in the report."""
    with faultproxy.Proxy(server, [{**RESET, "when": {"first": 3}}]) as proxy:
        for number in range(1, 4):
            ask(proxy)
            assert proxy.report().client("127.0.0.1").failures == number
        assert ask(proxy) == b"hi"
        proxy.wait_closed(4, timeout=PATIENCE_S)
        client = proxy.report().client("127.0.0.1")
        assert (client.attempts, client.failures, len(client.episodes[0].gaps_s)) == (4, 3, 3)
        assert client.episodes[0].end == "recovered"
        assert "127.0.0.1 retried 3 times" in str(proxy.report())
        assert "127.0.0.1 retried 3 times" in proxy.summary()
