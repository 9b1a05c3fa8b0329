"""SYN interception, with real clients: who is refused, and how, is decided before the kernel answers."""

import errno
import os
import select
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from faultproxy.kernel import raw_socket
from tests.network import Flood, Namespaces, connect_many, forged_syn, inside, need_syn_interception
from tests.peers import (
    PATIENCE_S,
    Background,
    Server,
    Upstream,
    connect,
    connect_error,
    echo,
    name_of,
    read_exactly,
)
from tests.running import Faultproxy, Scene, Settings, Stage, one

pytestmark = pytest.mark.usefixtures("_interception")


def rule(name: str = "r", **more: Any) -> Settings:
    return {"name": name, **more}


EVERY_SECOND = [rule(when={"every": 2}, refuse=None)]
SCENES = {
    "half": Scene(EVERY_SECOND),
    "half6": Scene(EVERY_SECOND, {"listen": "[::1]:0"}),
    "half_all": Scene(EVERY_SECOND, {"listen": ":0"}),
    "host": Scene([rule(when={"first": 1}, unreachable=None)]),
    "net": Scene([rule(when={"first": 1}, unreachable={"code": "net"})]),
    "host6": Scene([rule(when={"first": 1}, unreachable=None)], {"listen": "[::1]:0"}),
    "net6": Scene([rule(when={"first": 1}, unreachable={"code": "net"})], {"listen": "[::1]:0"}),
    "ignored": Scene([rule(when={"every": 2}, connect_timeout=None)]),
    "ignored6": Scene([rule(when={"first": 1}, connect_timeout=None)], {"listen": "[::1]:0"}),
    "ignored_all": Scene([rule(when={"first": 2}, connect_timeout=None)], {"listen": ":0"}),
    "slow": Scene(
        [rule("a", when={"first": 2}, slow_connect={"delay": "100ms"}), rule("b", slow_connect={"delay": "50ms"})]
    ),
    "slow6": Scene([rule("v6", when={"client": "::1"}, slow_connect={"delay": "200ms"})], {"listen": "[::1]:0"}),
    "slow_all": Scene(
        [
            rule("v4", when={"client": "127.0.0.0/8"}, slow_connect={"delay": "100ms"}),
            rule("v6", when={"client": "::1"}, slow_connect={"delay": "200ms"}),
        ],
        {"listen": ":0"},
    ),
    "mixed": Scene(
        [
            rule("watch", dry_run=True, refuse=None),
            rule("peeked", when={"starts_with": "no"}, latency={"delay": "1ms"}),
            rule("refused", when={"every": 2}, refuse=None),
            rule("cut", when={"starts_with": "cut"}, reset=None),
        ]
    ),
    "chance": Scene([rule(when={"probability": "30%"}, refuse=None)]),
    "here": Scene([rule(when={"client": "127.0.0.2"}, refuse=None)]),
    "free": Scene(),
}


@pytest.fixture(scope="module")
def _interception() -> None:
    need_syn_interception()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    need_syn_interception()
    with Stage(tmp_path_factory.mktemp("syns"), SCENES) as stage:
        yield stage


@pytest.fixture
def echoing() -> Iterator[str]:
    with Server(echo, Upstream(backlog=2048)) as server:
        yield server.address


@pytest.mark.parametrize("name", ["half", "half6", "half_all"])
def test_every_second_of_a_burst_is_refused(stage: Stage, name: str) -> None:
    """400 clients at once: 200 connect, 200 get ECONNREFUSED; each is logged once, exact, with its address."""
    assert connect_many(stage.proxy.address(name), 400) == {"connected": 200, "ECONNREFUSED": 200}
    stage.proxy.wait_for("fault.injected", nth=200, proxy=name)
    injected = stage.proxy.seen("fault.injected", proxy=name)
    assert {(line["fidelity"], line["client_sees"], line["trigger"]) for line in injected} == {
        ("exact", "ECONNREFUSED", "connect")
    }
    assert [line["ordinal"] for line in injected] == list(range(2, 401, 2))
    assert len({line["client"] for line in injected}) == 200
    stage.proxy.wait_for("connection.opened", nth=200, proxy=name)
    opened = {line["connection"] for line in stage.proxy.seen("connection.opened", proxy=name)}
    assert opened == {f"{name}#{number}" for number in range(1, 400, 2)}


def test_a_listener_of_all_addresses_refuses_ipv4_and_ipv6(stage: Stage) -> None:
    """Both families are counted by the one rule."""
    _, port = stage.proxy.address("half_all")
    seen = [connect_error((host, port)) for host in ("127.0.0.1", "::1", "::1", "127.0.0.1")]
    assert seen == [None, "ECONNREFUSED", None, "ECONNREFUSED"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("host", "EHOSTUNREACH"), ("net", "ENETUNREACH"), ("host6", "EHOSTUNREACH"), ("net6", "ENETUNREACH")],
)
def test_unreachable(stage: Stage, name: str, expected: str) -> None:
    """connect() fails with the errno of the code, over IPv4 and IPv6; the next client gets in."""
    address = stage.proxy.address(name)
    assert [connect_error(address), connect_error(address)] == [expected, None]
    injected = stage.injected(name)
    assert (injected["client_sees"], injected["fidelity"], injected["ordinal"]) == (expected, "exact", 1)


def test_connect_timeout(stage: Stage) -> None:
    """The SYN and its retransmissions are never answered, nor counted again; the next client gets in."""
    address = stage.proxy.address("ignored")
    connect(address).close()
    with socket.socket() as client:
        client.settimeout(3.5)  # retransmissions after 1 s and 2 s or 3 s
        with pytest.raises(TimeoutError):
            client.connect(address)
        connect(address).close()
    injected = stage.injected("ignored", 2)
    assert (injected["client_sees"], injected["fidelity"], injected["ordinal"]) == ("ETIMEDOUT", "exact", 2)
    assert len(stage.proxy.seen("fault.injected", proxy="ignored")) == 1


def test_connect_timeout_over_ipv6_and_at_a_listener_of_all_addresses(stage: Stage) -> None:
    """connect() itself fails with ETIMEDOUT, after a retransmission that is not counted; later clients get in."""
    connects = [("ignored6", 1, "::1"), ("ignored_all", 1, "127.0.0.1"), ("ignored_all", 2, "::1")]
    addresses = [(host, stage.proxy.address(name)[1]) for name, _, host in connects]
    with ExitStack() as stack:
        clients = []
        for (name, number, host), address in zip(connects, addresses, strict=True):
            client = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
            client.setblocking(False)
            client.connect_ex(address)
            stage.injected(name, number, ordinal=number, client_sees="ETIMEDOUT", fidelity="exact")
            clients.append(client)
        for client in clients:
            assert select.select([], [client], [], PATIENCE_S)[1]
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT
    assert [connect_error(address) for address in addresses] == [None] * 3
    assert len(stage.proxy.seen("fault.injected", proxy="ignored6")) == 1
    assert len(stage.proxy.seen("fault.injected", proxy="ignored_all")) == 2


def test_slow_connect_adds_up(stage: Stage) -> None:
    """connect() itself takes the sum of the delays, never less."""
    stage.proxy.address("slow")  # it has started
    for expected_s in (0.15, 0.15, 0.05):
        before = time.monotonic()
        with stage.ends("slow"):
            took_s = time.monotonic() - before
        assert expected_s <= took_s < expected_s + 0.5
    assert stage.injected("slow", 3)["rule"] == "b"
    closed = stage.closed("slow")
    assert (closed["faults"], closed["rule"]) == (["slow_connect", "slow_connect"], "b")


@pytest.mark.parametrize(
    ("name", "host", "rule_name", "delay_s"),
    [("slow6", "::1", "v6", 0.2), ("slow_all", "127.0.0.1", "v4", 0.1), ("slow_all", "::1", "v6", 0.2)],
)
def test_slow_connect_over_ipv6_and_at_a_listener_of_all_addresses(
    stage: Stage, name: str, host: str, rule_name: str, delay_s: float
) -> None:
    """connect() takes its client's delay, never less; what was done to the SYN is logged for its connection."""
    address = host, stage.proxy.address(name)[1]
    before = time.monotonic()
    with connect(address) as client:
        took_s = time.monotonic() - before
        local, port = client.getsockname()[:2]
        with stage.upstreams[name].accept():
            pass
    assert took_s >= delay_s
    who = f"[{local}]:{port}" if ":" in local else f"{local}:{port}"
    injected = stage.proxy.wait_for("fault.injected", proxy=name, client=who)
    assert (injected["fault"], injected["rule"], injected["fidelity"]) == ("slow_connect", rule_name, "exact")
    closed = stage.proxy.wait_for("connection.closed", connection=injected["connection"])
    assert (closed["client"], closed["faults"]) == (who, ["slow_connect"])


def test_a_dry_run_is_logged_and_bytes_are_judged_later(stage: Stage) -> None:
    """One reading of the rules: some judge the SYN, others what the client says; none counts it twice."""
    address = stage.proxy.address("mixed")
    with connect(address) as client:
        client.sendall(b"cut")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    stage.upstreams["mixed"].accept().close()
    assert connect_error(address) == "ECONNREFUSED"
    with connect(address) as client, stage.upstreams["mixed"].accept() as server:
        client.sendall(b"no")
        assert read_exactly(server, 2) == b"no"
    for number in (1, 2, 3):
        dry_run = stage.proxy.wait_for("fault.dry_run", connection=f"mixed#{number}")
        assert (dry_run["rule"], dry_run["ordinal"]) == ("watch", number)
    assert len(stage.proxy.seen("fault.dry_run", proxy="mixed")) == 3
    stage.proxy.wait_for("fault.injected", connection="mixed#3")
    reported = {
        line["connection"]: (line["rule"], line["ordinal"])
        for line in stage.proxy.seen("fault.injected", proxy="mixed")
    }
    assert reported == {"mixed#1": ("cut", 1), "mixed#2": ("refused", 2), "mixed#3": ("peeked", 1)}


def test_probability_draws_by_the_connections_number(stage: Stage) -> None:
    """About three of ten, and a second run with the same seed refuses the same numbers."""
    seen = connect_many(stage.proxy.address("chance"), 400)
    assert seen.keys() == {"connected", "ECONNREFUSED"}
    assert 80 < seen["ECONNREFUSED"] < 160


def test_client_conditions(stage: Stage) -> None:
    """The SYN's source is what the condition is held against."""
    address = stage.proxy.address("here")
    with socket.socket() as client:
        client.bind(("127.0.0.2", 0))
        with pytest.raises(ConnectionRefusedError):
            client.connect(address)
    assert connect_error(address) is None


@pytest.mark.alone
def test_interception_costs_an_accepted_client_less_than_a_millisecond(stage: Stage) -> None:
    """The median of connect() to a proxy that intercepts SYNs, against one that does not intercept."""

    def cost_ms(name: str, step: int) -> float:
        took = []
        address = stage.proxy.address(name)
        for _ in range(200):
            before = time.perf_counter()
            error = connect_error(address)
            if error is None:
                took.append(time.perf_counter() - before)
        assert len(took) == 200 // step
        return median(took) * 1000

    without, with_it = cost_ms("free", 1), cost_ms("half", 2)
    assert with_it - without < 1, f"{without:.3f} ms without interception, {with_it:.3f} ms with it"


def test_across_network_namespaces(tmp_path: Path) -> None:
    """Over veth, whose packets come with unfinished checksums: refusals, unreachables and handshakes, IPv4 and IPv6."""
    with ExitStack() as stack:
        namespaces = stack.enter_context(Namespaces())
        with inside(namespaces.server):
            server = stack.enter_context(Upstream(backlog=1024))
            proxies = {
                name: {"listen": f"{host}:0", "upstream": server.address, "rules": EVERY_SECOND}
                for name, host in (("v4", namespaces.SERVER), ("v6", f"[{namespaces.SERVER6}]"), ("all", ""))
            }
            unreachable = {"rules": [rule(when={"every": 2}, unreachable=None)]}
            proxies["icmp"] = {**proxies["v4"], **unreachable}
            proxies["icmp6"] = {**proxies["v6"], **unreachable}
            proxy = stack.enter_context(Faultproxy(tmp_path, {"proxies": proxies}))
        with inside(namespaces.client):
            for name in ("v4", "v6"):
                assert connect_many(proxy.address(name), 200) == {"connected": 100, "ECONNREFUSED": 100}
                assert connect_many(proxy.address(f"icmp{name[1:].strip('4')}"), 20) == {
                    "connected": 10,
                    "EHOSTUNREACH": 10,
                }
            _, port = proxy.address("all")
            seen = [connect_error((host, port)) for host in (namespaces.SERVER, namespaces.SERVER6) * 2]
            assert seen == [None, "ECONNREFUSED", None, "ECONNREFUSED"]
            with connect(proxy.address("v4")) as client:
                client.sendall(b"across")
        reported = proxy.wait_for("fault.injected", proxy="v4")
        assert reported["client"].startswith(namespaces.CLIENT)
        assert reported["fidelity"] == "exact"


@pytest.mark.alone
def test_forged_syns_use_bounded_memory(tmp_path: Path) -> None:
    """A flood from clients that do not exist: real ones still get in, and memory stays within a few dozen MiB."""
    ignore = rule("ignored", when={"client": "127.7.0.0/16"}, connect_timeout=None)
    with Upstream() as upstream, Faultproxy(tmp_path, one(upstream.address, ignore)) as proxy:
        _, port = proxy.address("p")
        before = proxy.resident_bytes()
        with raw_socket.sender(socket.AF_INET) as sender:
            for number in range(60_000):
                third, fourth = divmod(number % 65025, 255)
                packet = forged_syn(f"127.7.{third}.{fourth + 1}", ("127.0.0.1", port), 1024 + number // 65025, number)
                raw_socket.send(sender, packet, socket.inet_aton("127.0.0.1"), 0)
                if number % 1000 == 0:
                    time.sleep(0.02)
        assert connect_error(("127.0.0.1", port)) is None
        assert proxy.resident_bytes() - before < 32 * 2**20


@pytest.mark.alone
def test_who_is_not_held_is_reported_as_degraded(tmp_path: Path) -> None:
    """Forged SYNs use up what may be held: a client that comes then is accepted at once, and the log does not say otherwise."""
    slow = rule("slow", slow_connect={"delay": "1m"})
    with Upstream() as upstream, Faultproxy(tmp_path, one(upstream.address, slow)) as proxy:
        _, port = proxy.address("p")
        with raw_socket.sender(socket.AF_INET) as sender:
            for number in range(4096):
                packet = forged_syn(f"127.7.{number // 250}.{number % 250 + 1}", ("127.0.0.1", port), 1024, number)
                raw_socket.send(sender, packet, socket.inet_aton("127.0.0.1"), 0)
                if number % 500 == 0:
                    time.sleep(0.02)
        proxy.wait_for("fault.injected", connection="p#4096")
        assert connect_error(("127.0.0.1", port)) is None
        reported = proxy.wait_for("fault.injected", connection="p#4097")
        assert (reported["client_sees"], reported["fidelity"]) == ("nothing", "degraded")
        assert reported["reason"] == "it is accepted at once: 4096 clients are held already"
        proxy.signal(signal.SIGTERM)


@pytest.mark.alone
def test_a_listener_changes_hands_under_load(tmp_path: Path, echoing: str) -> None:
    """Two proxies, again and again with other names: each client is judged once, by the proxy that serves it."""
    refuse = rule("half", when={"every": 2}, refuse=None)
    with Upstream() as one_port, Upstream() as other_port:
        ports = [one_port.port, other_port.port]

    def named(*names: str) -> Settings:
        listens = zip(names, ports, strict=True)
        one_each = {"upstream": echoing, "rules": [refuse]}
        return {"proxies": {name: {"listen": f"127.0.0.1:{port}", **one_each} for name, port in listens}}

    outcomes: Counter[str | None] = Counter()
    over = threading.Event()

    def come_and_go(port: int) -> None:
        while not over.is_set():
            try:
                with connect(("127.0.0.1", port)) as client:
                    client.sendall(b"ping")
                    read_exactly(client, 4)
                outcomes["served"] += 1
            except OSError as error:
                outcomes[name_of(error)] += 1

    with Faultproxy(tmp_path, named("a", "b")) as proxy:
        proxy.address("b")
        with ExitStack() as clients:
            for port in (*ports, *ports):
                clients.enter_context(Background(lambda port=port: come_and_go(port)))  # type: ignore[misc]
            clients.callback(over.set)
            for names in [("b", "c"), ("c", "a"), ("a", "b"), ("b", "a")] * 5:
                proxy.edit(named(*names))
        assert outcomes.keys() == {"served", "ECONNREFUSED"}
        reported = proxy.seen("fault.injected")
        assert len(reported) == outcomes["ECONNREFUSED"]
        assert {line["fidelity"] for line in reported} == {"exact"}


@pytest.mark.alone
def test_edits_turn_it_on_and_off_under_load(tmp_path: Path, echoing: str) -> None:
    """While clients come without a pause, none is refused, reset or kept waiting but by the rule, and each has a number."""
    off = one(echoing)
    on = one(echoing, rule(when={"client": "127.0.0.2"}, refuse=None))
    with Faultproxy(tmp_path, off) as proxy:
        address = proxy.address("p")
        deadline = time.monotonic() + 6
        slowest, count = 0.0, 0
        edits = [off, on] * 10
        next_edit = time.monotonic()
        while time.monotonic() < deadline:
            if edits and time.monotonic() > next_edit:
                proxy.write(edits.pop())
                next_edit += 0.6
            before = time.monotonic()
            with connect(address) as client:
                client.sendall(b"x")
                assert read_exactly(client, 1) == b"x"
            slowest = max(slowest, time.monotonic() - before)
            count += 1
        assert len(proxy.seen("config.loaded")) >= 6
        proxy.wait_for("connection.closed", nth=count)
        numbers = [line["connection"] for line in proxy.seen("connection.opened")]
        assert sorted(numbers) == sorted(f"p#{number}" for number in range(1, count + 1))
        assert not proxy.seen("fault.injected")
        assert slowest < 0.9, f"a client of {count} waited for {slowest:.3f} s"


def test_an_edit_lets_in_whom_a_rule_has_ignored(tmp_path: Path, echoing: str) -> None:
    """Its retransmission is answered; it is still the same connection, counted once."""
    ignored = rule(connect_timeout=None)
    with Faultproxy(tmp_path, one(echoing, ignored)) as proxy, socket.socket() as client:
        client.setblocking(False)
        client.connect_ex(proxy.address("p"))
        proxy.wait_for("fault.injected", connection="p#1")
        proxy.edit(one(echoing))
        assert select.select([], [client], [], 10)[1]
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        proxy.wait_for("connection.opened", connection="p#1")
        assert len(proxy.seen("fault.injected")) == 1


def test_an_edit_of_other_rules_lets_nobody_in_early(tmp_path: Path, echoing: str) -> None:
    """Who is held by slow_connect stays so through an edit, and connects when its delay is over."""
    slow = rule("slow", slow_connect={"delay": "700ms"})
    with Faultproxy(tmp_path, one(echoing, slow)) as proxy, socket.socket() as client:
        address = proxy.address("p")
        client.setblocking(False)
        before = time.monotonic()
        client.connect_ex(address)
        proxy.wait_for("fault.injected", connection="p#1")
        proxy.edit(one(echoing, slow, rule("other", latency={"delay": "1ms"})))
        assert select.select([], [client], [], PATIENCE_S)[1]
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert time.monotonic() - before >= 0.7


def test_nothing_remains_after_a_kill(tmp_path: Path, echoing: str) -> None:
    """SIGKILL, and the same port serves a plain server at once."""
    with Faultproxy(tmp_path, one(echoing, rule(connect_timeout=None)), may_complain=True) as proxy:
        address = proxy.address("p")
        proxy.signal(signal.SIGKILL)
        proxy.exit_code()
        with socket.create_server(address) as server, connect(address), server.accept()[0]:
            pass


def test_outages_and_interception_take_turns(tmp_path: Path, echoing: str) -> None:
    """A window of outage over a rule on SYNs: refused by the kernel in it, judged by the SYN after it."""
    down = rule("down", when={"window": {"from": "500ms", "to": "1s"}}, refuse=None)
    with Faultproxy(tmp_path, one(echoing, down, *EVERY_SECOND)) as proxy:
        address = proxy.address("p")
        assert [connect_error(address) for _ in range(4)] == [None, "ECONNREFUSED"] * 2
        proxy.wait_for("outage.started")
        assert [connect_error(address) for _ in range(4)] == ["ECONNREFUSED"] * 4
        proxy.wait_for("outage.ended")
        assert [connect_error(address) for _ in range(4)] == [None, "ECONNREFUSED"] * 2
        proxy.wait_for("fault.injected", nth=4)


def test_a_burst_at_the_start_is_judged_from_the_first_client_on(tmp_path: Path, echoing: str) -> None:
    """Nobody slips in between listening and judging."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    config = one(echoing, rule(when={"first": 3}, refuse=None))
    config["proxies"]["p"]["listen"] = f"127.0.0.1:{address[1]}"
    with Faultproxy(tmp_path, config) as proxy:
        seen: Counter[str | None] = Counter()
        while seen[None] < 3:
            seen[connect_error(address)] += 1
        proxy.wait_for("fault.injected", nth=3)
        assert {line["fidelity"] for line in proxy.seen("fault.injected")} == {"exact"}


@pytest.mark.alone
def test_a_flood_of_forged_syns_stops_nobody_else(tmp_path: Path, echoing: str) -> None:
    """20,000 a second at one listener, and edits meanwhile: connections, and clients of others, go on within seconds.

    An edit has those judged who wait, and does not go on until no more come.
    """
    ignored = rule("flood", when={"client": "127.7.0.0/16"}, connect_timeout=None)
    some = rule("some", when={"client": "127.9.9.9"}, refuse=None)
    new = rule("new", when={"client": "127.9.9.8"}, refuse=None)
    rules = {"flooded": [ignored], "judged": [some], "plain": []}

    def configured(*more: Settings) -> Settings:
        listens = {name: {"listen": "127.0.0.1:0", "upstream": echoing} for name in rules}
        return {"proxies": {name: {**listens[name], "rules": [*more, *its]} for name, its in rules.items()}}

    slowest_s: dict[str, float] = {}
    over = threading.Event()

    def exchange(client: socket.socket) -> None:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"

    def measure(name: str, call: Callable[[], None]) -> None:
        while not over.is_set():
            before = time.monotonic()
            call()
            slowest_s[name] = max(slowest_s.get(name, 0.0), time.monotonic() - before)
            time.sleep(0.005)

    def connect_to(name: str) -> None:
        with connect(proxy.address(name)) as client:
            exchange(client)

    with Faultproxy(tmp_path, configured()) as proxy, connect(proxy.address("plain")) as open_one, ExitStack() as stack:
        stack.enter_context(Background(lambda: measure("open", lambda: exchange(open_one))))
        for name in ("plain", "judged"):
            stack.enter_context(Background(lambda name=name: measure(name, lambda: connect_to(name))))  # type: ignore[misc]
        stack.callback(over.set)
        with Flood(proxy.address("flooded"), 20_000):
            for more in ([new], [], [new], []):
                time.sleep(0.5)
                before = time.monotonic()
                proxy.edit(configured(*more))
                slowest_s["edit"] = max(slowest_s.get("edit", 0.0), time.monotonic() - before)
    assert max(slowest_s.values()) < 3, slowest_s


@pytest.mark.alone
def test_forged_syns_that_carry_much_use_no_memory(tmp_path: Path) -> None:
    """60 KB each: they are not worth keeping; a client that carries so much sends its SYN again without."""
    ignore = rule("ignored", when={"client": "127.7.0.0/16"}, connect_timeout=None)
    with Upstream() as upstream, Faultproxy(tmp_path, one(upstream.address, ignore)) as proxy:
        proxy.address("p")
        before = proxy.resident_bytes()
        for size in (60_000, 1_400):
            with Flood(proxy.address("p"), 5_000, bytes(size)):
                time.sleep(1)
        proxy.wait_for("fault.injected", nth=500)
        assert connect_error(proxy.address("p")) is None
        assert proxy.resident_bytes() - before < 24 * 2**20


def test_syns_to_a_broadcast_address_are_not_counted(tmp_path: Path) -> None:
    """TCP ignores them; so are those to a group."""
    refuse = rule(when={"nth": 2}, refuse=None)
    with Upstream() as upstream, Faultproxy(tmp_path, one(upstream.address, refuse, listen="0.0.0.0:0")) as proxy:
        _, port = proxy.address("p")
        with raw_socket.sender(socket.AF_INET) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for number in range(10):
                packet = forged_syn("127.0.0.1", ("127.255.255.255", port), 1024 + number, 1)
                raw_socket.send(sender, packet, socket.inet_aton("127.255.255.255"), 0)
        address = ("127.0.0.1", port)
        assert [connect_error(address) for _ in range(3)] == [None, "ECONNREFUSED", None]


def test_all_listeners_share_their_raw_sockets(tmp_path: Path) -> None:
    """Each is shown every TCP packet of the namespace: there is one a family that hears, and two that answer."""
    refuse = rule(when={"every": 2}, refuse=None)
    with Upstream() as upstream:
        settings = {"listen": "127.0.0.1:0", "upstream": upstream.address}
        plain = {f"p{number}": {**settings, "rules": []} for number in range(10)}
        judged = {name: {**settings, "rules": [refuse]} for name in plain}
        with Faultproxy(tmp_path, {"proxies": plain}) as proxy:
            proxy.address("p9")
            assert raw_sockets(proxy.pid) == 0
            proxy.edit({"proxies": judged})
            assert raw_sockets(proxy.pid) == 3
            for name in judged:
                assert [connect_error(proxy.address(name)) for _ in range(2)] == [None, "ECONNREFUSED"]
            proxy.edit({"proxies": plain | {"p0": judged["p0"]}})
            assert raw_sockets(proxy.pid) == 3
            assert connect_error(proxy.address("p1")) is None
            assert [connect_error(proxy.address("p0")) for _ in range(2)] == [None, "ECONNREFUSED"]
            proxy.edit({"proxies": plain})
            assert raw_sockets(proxy.pid) == 0


def raw_sockets(pid: int) -> int:
    """How many a process has (proc(5), /proc/net/raw)."""
    inodes = {f"socket:[{line.split()[9]}]" for line in Path("/proc/net/raw").read_text().splitlines()[1:]}
    return sum(os.readlink(fd) in inodes for fd in Path(f"/proc/{pid}/fd").iterdir())
