"""The file is edited while the program runs: what changed takes effect, and nobody else notices."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.managing import CUT
from tests.peers import (
    PATIENCE_S,
    Address,
    Background,
    Server,
    Upstream,
    connect,
    connect_and_read,
    connect_error,
    echo,
    exchange,
    name_of,
    read_exactly,
    read_to_the_end,
)
from tests.running import Faultproxy, Line, Settings, one, text_of

RESET = (b"", "ECONNRESET")


@pytest.fixture
def echoes() -> Iterator[Server]:
    with Server(echo) as server:
        yield server


def echoed(address: Address) -> str | None:
    """Ask once; None if the answer comes, else the errno's name."""
    try:
        with connect(address) as client:
            client.sendall(b"hello")
            assert read_exactly(client, 5) == b"hello"
    except OSError as error:
        return name_of(error)
    return None


def free_address() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


def proxies(**by_name: Settings) -> Settings:
    return {"proxies": by_name}


def at(listen: str, upstream: str, *rules: Settings, **settings: Any) -> Settings:
    return {"listen": listen, "upstream": upstream, **settings, "rules": list(rules)}


def place(address: str) -> Address:
    host, _, port = address.rpartition(":")
    return host, int(port)


def write_in_place(file: Path, text: str) -> None:
    file.write_text(text)


def rename_over(file: Path, text: str) -> None:
    other = file.with_suffix(".new")
    other.write_text(text)
    other.replace(file)


def keep_the_time(file: Path, text: str) -> None:
    status = file.stat()
    file.write_text(text)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("save", [write_in_place, rename_over])
def test_an_edit_takes_effect_by_itself(tmp_path: Path, echoes: Server, save: Callable[[Path, str], None]) -> None:
    """However an editor saves, the rules change within a second or so, and the log says what did."""
    with Faultproxy(tmp_path, one(echoes.address)) as proxy:
        address = proxy.address("p")
        assert echoed(address) is None
        began = monotonic()
        save(proxy.file, text_of(one(echoes.address, CUT)))
        loaded = proxy.wait_for("config.loaded", level="info")
        assert monotonic() - began < 10
        assert connect_and_read(address) == RESET
    assert (loaded["file"], loaded["changes"]) == (str(proxy.file), ["proxy p: rules changed"])
    assert loaded["config"]["p"]["rules"] == [CUT]


def test_an_edit_that_keeps_the_time_is_seen(tmp_path: Path, echoes: Server) -> None:
    """A copy with the time and the size of the file it replaces is another file none the less."""
    first, second = ({"name": name, "reset": {"to": "both"}} for name in ("one", "two"))
    with Faultproxy(tmp_path, one(echoes.address, first)) as proxy:
        proxy.wait_for("proxy.started")
        proxy.write(one(echoes.address, CUT))
        proxy.wait_for("config.loaded")
        proxy.write(one(echoes.address, first))
        proxy.wait_for("config.loaded", nth=2)
        keep_the_time(proxy.file, text_of(one(echoes.address, second)))
        loaded = proxy.wait_for("config.loaded", nth=3)
    assert loaded["config"]["p"]["rules"] == [second]


def test_an_edit_right_after_the_start_is_seen(tmp_path: Path, echoes: Server) -> None:
    """Nothing is missed between the file being read for the first time and being watched."""
    with Faultproxy(tmp_path, one(echoes.address)) as proxy:
        proxy.wait_for("proxy.started")
        proxy.write(one(echoes.address, CUT))
        proxy.wait_for("config.loaded", changes=["proxy p: rules changed"])


def test_kubernetes_turns_a_link(tmp_path: Path, echoes: Server) -> None:
    """A mounted ConfigMap: the file is a link through ..data, which is replaced as a whole."""
    for number, rules in enumerate(([], [CUT])):
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        (folder / "faultproxy.yaml").write_text(text_of(one(echoes.address, *rules)))
    (tmp_path / "..data").symlink_to("..0")
    file = tmp_path / "faultproxy.yaml"
    file.symlink_to("..data/faultproxy.yaml")
    with Faultproxy(tmp_path, file.read_text()) as proxy:
        assert echoed(proxy.address("p")) is None
        (tmp_path / "..data_tmp").symlink_to("..1")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        proxy.wait_for("config.loaded")
        assert connect_and_read(proxy.address("p")) == RESET


def test_sighup_looks_at_once(tmp_path: Path, echoes: Server) -> None:
    """SIGHUP loads the file even if nothing seems to have changed."""
    with Faultproxy(tmp_path, one(echoes.address)) as proxy:
        proxy.address("p")
        proxy.signal(signal.SIGHUP)
        loaded = proxy.wait_for("config.loaded")
        assert (loaded["changes"], loaded["config"]) == ([], {})
        assert echoed(proxy.address("p")) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("proxies: [", ":1:", id="syntax"),
        pytest.param("", "empty", id="empty"),
        pytest.param("proxies: {p: {listen: 5432:54, upstream: a:1}}", "proxies.p.listen", id="address"),
        pytest.param("proxies: {p: {lisen: ':0', upstream: a:1}}", "listen", id="typo"),
    ],
)
def test_a_bad_edit_changes_nothing(tmp_path: Path, echoes: Server, text: str, complaint: str) -> None:
    """The running rules stay, the log says what is wrong; the next good edit counts."""
    with Faultproxy(tmp_path, one(echoes.address, {**CUT, "when": {"every": 2}})) as proxy:
        address = proxy.address("p")
        assert echoed(address) is None
        rejected = proxy.edit(text)
        assert (rejected["event"], rejected["level"]) == ("config.rejected", "error")
        assert any(complaint in error for error in rejected["errors"])
        assert connect_and_read(address) == RESET
        assert echoed(address) is None
        assert proxy.edit(one(echoes.address))["event"] == "config.loaded"


def test_a_file_that_vanishes_changes_nothing(tmp_path: Path, echoes: Server) -> None:
    """The rules stay; when the file is back it is read."""
    with Faultproxy(tmp_path, one(echoes.address)) as proxy:
        address = proxy.address("p")
        proxy.edit(one(echoes.address, {**CUT, "when": {"nth": 3}}))
        assert echoed(address) is None
        proxy.file.unlink()
        proxy.wait_for("config.rejected")
        assert echoed(address) is None
        proxy.write(one(echoes.address, CUT))
        proxy.wait_for("config.loaded")
        assert connect_and_read(address) == RESET


def test_counts_survive_an_edit(tmp_path: Path, echoes: Server) -> None:
    """A rule that keeps its name goes on counting where it was, even if it says something else."""
    with Faultproxy(tmp_path, one(echoes.address, {**CUT, "when": {"nth": 4}})) as proxy:
        address = proxy.address("p")
        assert [echoed(address), echoed(address)] == [None, None]
        proxy.edit(
            one(echoes.address, {"name": "new", "when": {"first": 1}, "pass": None}, {**CUT, "when": {"nth": 4}})
        )
        assert [echoed(address), echoed(address)] == [None, None]
        assert connect_and_read(address) == RESET
        assert proxy.wait_for("fault.injected")["ordinal"] == 4
        proxy.edit(one(echoes.address, {**CUT, "when": {"nth": [5, 6]}}))
        assert connect_and_read(address) == RESET
        injected = proxy.wait_for("fault.injected", nth=2)
        assert (injected["ordinal"], injected["connection"]) == (5, "p#6")


def test_triggered_faults_apply_to_connections_opened_later(tmp_path: Path, upstream: Upstream) -> None:
    """A connection that is open when a triggered fault is added never gets it."""
    with (
        Faultproxy(tmp_path, one(upstream.address)) as proxy,
        connect(proxy.address("p")) as client,
        upstream.accept() as server,
    ):
        exchange(client, server)
        proxy.edit(one(upstream.address, CUT))
        assert connect_and_read(proxy.address("p")) == RESET
        exchange(client, server)


@contextmanager
def clients(*addresses: Address) -> Iterator[Callable[[], int]]:
    """Clients that ask one after the other, in a thread an address; how often so far. Each must get its answer."""
    enough = threading.Event()
    counts = [0] * len(addresses)

    def ask(number: int) -> None:
        while not enough.is_set():
            error = echoed(addresses[number])
            assert error is None, error
            counts[number] += 1

    threads = [Background(lambda number=number: ask(number)) for number in range(len(addresses))]  # type: ignore[misc]
    for thread in threads:
        thread.__enter__()
    try:
        yield lambda: sum(counts)
    finally:
        enough.set()
        for thread in threads:
            thread.__exit__(None, None, None)


def test_no_client_notices_an_edit(tmp_path: Path, echoes: Server) -> None:
    """While the rules change twenty times, and other proxies come and go, each of many clients gets its answer."""

    def edition(number: int) -> Settings:
        unmet = {"name": f"rule {number}", "when": {"client": "203.0.113.7"}, "reset": None}
        others = {f"other{number}": at("127.0.0.1:0", echoes.address)}
        return proxies(p=at("127.0.0.1:0", echoes.address, unmet), q=at(":0", echoes.address), **others)

    with Faultproxy(tmp_path, edition(0)) as proxy:
        p, q = proxy.address("p"), proxy.address("q")
        with clients(p, q, p) as count:
            for number in range(1, 21):
                before = count()
                assert proxy.edit(edition(number))["event"] == "config.loaded"
                assert echoed(proxy.address(f"other{number}")) is None
                assert connect_error(proxy.address(f"other{number - 1}")) == "ECONNREFUSED"
                assert count() > before
        assert (proxy.address("p"), proxy.address("q")) == (p, q)
        proxy.wait_for("proxy.stopped", proxy="other0")


def test_no_client_notices_that_its_proxy_is_renamed(tmp_path: Path, echoes: Server) -> None:
    """A listener that another proxy takes over is never closed."""
    listen = free_address()
    with Faultproxy(tmp_path, proxies(a=at(listen, echoes.address))) as proxy:
        proxy.address("a")
        with clients(place(listen), place(listen)) as count:
            for name in ("b", "a") * 3:
                before = count()
                loaded = proxy.edit(proxies(**{name: at(listen, echoes.address)}))
                assert f"proxy {name} added" in loaded["changes"]
                assert echoed(place(listen)) is None
                assert count() >= before
        proxy.wait_for("proxy.stopped", proxy="a")
        assert proxy.wait_for("proxy.started", proxy="b")["listen"] == listen


def test_two_proxies_swap_their_listeners(tmp_path: Path, upstream: Upstream) -> None:
    """Each address belongs to the other proxy afterwards; no connect is refused, open connections stay."""
    x, y = free_address(), free_address()
    with Upstream() as other, Server(echo) as echoes:

        def edition(first: str, second: str) -> Settings:
            third = at("127.0.0.1:0", echoes.address)
            return proxies(a=at(first, upstream.address), b=at(second, other.address), c=third)

        with Faultproxy(tmp_path, edition(x, y)) as proxy:
            proxy.address("b")
            with connect(place(x)) as client, upstream.accept() as server:
                exchange(client, server)
                assert proxy.edit(edition(y, x))["event"] == "config.loaded"
                exchange(client, server)
                with connect(place(x)) as new, other.accept() as new_server:
                    exchange(new, new_server)
                with connect(place(y)) as new, upstream.accept() as new_server:
                    exchange(new, new_server)
                exchange(client, server)


def test_open_connections_survive_what_happens_to_their_proxy(tmp_path: Path, upstream: Upstream) -> None:
    """Another upstream, another listener, no proxy at all: who is connected stays connected to whom he was."""
    x, y = free_address(), free_address()
    with Upstream() as other:
        keep = at("127.0.0.1:0", other.address)
        with Faultproxy(tmp_path, proxies(a=at(x, upstream.address), keep=keep)) as proxy:
            proxy.address("keep")
            with connect(place(x)) as client, upstream.accept() as server:
                exchange(client, server)
                proxy.edit(proxies(a=at(x, other.address), keep=keep))
                exchange(client, server)
                with connect(place(x)) as new, other.accept() as new_server:
                    exchange(new, new_server)
                proxy.edit(proxies(a=at(y, other.address), keep=keep))
                exchange(client, server)
                assert connect_error(place(x)) == "ECONNREFUSED"
                with connect(place(y)) as new, other.accept() as new_server:
                    exchange(new, new_server)
                proxy.edit(proxies(keep=keep))
                assert connect_error(place(y)) == "ECONNREFUSED"
                proxy.wait_for("proxy.draining", proxy="a")
                exchange(client, server)
                assert not proxy.seen("proxy.stopped", proxy="a")
                client.close()
                assert read_to_the_end(server) == (b"", "EOF")
            proxy.wait_for("proxy.stopped", proxy="a", connections=3)


@pytest.mark.parametrize("end", ["removed", "drained"])
def test_windows_go_on_for_those_who_stay(tmp_path: Path, upstream: Upstream, end: str) -> None:
    """The open connections of a proxy that is no more are still slow only while a window is open, and are then reset."""
    slow = {"name": "slow", "when": {"window": {"to": "600ms"}}, "latency": {"delay": "300ms"}}
    restart = {"name": "restart", "when": {"window": {"from": "3s"}}, "live": True, "reset": None}
    other = at("127.0.0.1:0", upstream.address)
    with Faultproxy(tmp_path, proxies(p=at("127.0.0.1:0", upstream.address, slow, restart), q=other)) as proxy:
        with connect(proxy.address("p")) as client, upstream.accept() as server:
            if end == "removed":
                proxy.edit(proxies(q=other))
            else:
                proxy.signal(signal.SIGTERM)
            proxy.wait_for("proxy.draining", proxy="p")
            took: list[float] = []
            while len(took) < 4:  # the window is closed after the second at the latest
                began = monotonic()
                exchange(client, server)
                took.append(monotonic() - began)
            assert min(took) < 0.3
            assert read_to_the_end(client) == RESET
        assert proxy.wait_for("proxy.stopped", proxy="p")["faults"] == {"slow": 1, "restart": 1}


def test_one_address_becomes_all_of_them(tmp_path: Path, echoes: Server) -> None:
    """127.0.0.1:PORT becomes :PORT and back, though both cannot listen at once."""
    listen = free_address()
    port = place(listen)[1]
    with Faultproxy(tmp_path, proxies(p=at(listen, echoes.address))) as proxy:
        assert echoed(proxy.address("p")) is None
        assert connect_error(("127.0.0.2", port)) == "ECONNREFUSED"
        assert proxy.edit(proxies(p=at(f":{port}", echoes.address)))["event"] == "config.loaded"
        assert [echoed(("127.0.0.1", port)), echoed(("127.0.0.2", port)), echoed(("::1", port))] == [None] * 3
        assert proxy.edit(proxies(p=at(listen, echoes.address)))["event"] == "config.loaded"
        assert echoed(("127.0.0.1", port)) is None
        assert connect_error(("127.0.0.2", port)) == "ECONNREFUSED"


def test_any_free_port_is_reported(tmp_path: Path, echoes: Server) -> None:
    """A proxy that an edit moves to port 0 is found by what the log says."""
    before = free_address()
    with Faultproxy(tmp_path, proxies(p=at(before, echoes.address))) as proxy:
        proxy.wait_for("proxy.started")
        first, *others = proxy.edit(proxies(p=at("127.0.0.1:0", echoes.address)))["changes"]
        assert first == "proxy p: listen changed"
        (address,) = (text.removeprefix("proxy p: now at ") for text in others)
        assert echoed(place(address)) is None
        assert echoed(place(before)) == "ECONNREFUSED"
        assert proxy.edit(proxies(p=at("127.0.0.1:0", echoes.address, CUT)))["changes"] == ["proxy p: rules changed"]


def test_an_address_in_use_rejects_the_whole_edit(tmp_path: Path, echoes: Server) -> None:
    """Of an edit that cannot listen nothing takes effect: no rule, no other listener; the log names the holder."""
    taken = echoes.address
    fresh = free_address()
    with Faultproxy(tmp_path, proxies(p=at("127.0.0.1:0", echoes.address))) as proxy:
        address = proxy.address("p")
        edition = proxies(
            p=at("127.0.0.1:0", echoes.address, CUT),
            fresh=at(fresh, echoes.address),
            q=at(taken, "127.0.0.1:1"),
        )
        rejected = proxy.edit(edition)
        assert rejected["event"] == "config.rejected"
        (error,) = rejected["errors"]
        assert error.startswith(f"proxies.q.listen: cannot listen on {taken}: ")
        assert "EADDRINUSE" in error
        assert echoed(address) is None
        assert connect_error(place(fresh)) == "ECONNREFUSED"
        assert not proxy.seen("proxy.started", proxy="fresh")


def test_a_listener_in_the_way_is_reopened_if_the_edit_fails(tmp_path: Path, echoes: Server) -> None:
    """127.0.0.1:PORT is closed to make :PORT possible; when something else fails it is as before."""
    listen = free_address()
    port = place(listen)[1]
    with Faultproxy(tmp_path, proxies(p=at(listen, echoes.address))) as proxy:
        proxy.address("p")
        rejected = proxy.edit(proxies(p=at(f":{port}", echoes.address), q=at(echoes.address, echoes.address)))
        assert rejected["event"] == "config.rejected"
        assert echoed(place(listen)) is None
        assert connect_error(("127.0.0.2", port)) == "ECONNREFUSED"


def test_the_log_level_follows_the_file(tmp_path: Path, echoes: Server) -> None:
    """An edit changes how much is reported, unless the command line has said so."""
    quiet = {"log": {"level": "info"}, **one(echoes.address)}
    loud = {"log": {"level": "debug"}, **one(echoes.address)}
    with Faultproxy(tmp_path, quiet, level=None) as proxy:
        assert echoed(proxy.address("p")) is None
        assert proxy.edit(loud)["changes"] == ["log changed"]
        assert echoed(proxy.address("p")) is None
        assert proxy.wait_for("connection.opened")["connection"] == "p#2"


def test_the_seed_follows_the_file(tmp_path: Path) -> None:
    """With another seed the draws are others; with the first one again, those that it always gives."""
    half = {"name": "half", "when": {"probability": "50%"}, "reset": {"to": "client"}}

    def injected(proxy: Faultproxy) -> list[int]:
        first = len(proxy.seen("connection.closed"))
        for number in range(first + 1, first + 21):
            connect_and_read(proxy.address("p"))
            proxy.wait_for("connection.closed", connection=f"p#{number}")
        return [int(line["connection"][2:]) - first for line in proxy.seen("fault.injected")][-20:]

    with Server(lambda _: None) as server:
        configs = [{"seed": seed, **one(server.address, half)} for seed in (1, 2)]
        outcomes = []
        for config in (configs[0], configs[0], configs[1]):
            with Faultproxy(tmp_path, config) as proxy:
                outcomes.append(injected(proxy))
                assert proxy.wait_for("proxy.started")["seed"] == config["seed"]
        assert outcomes[0] == outcomes[1] != outcomes[2]
        with Faultproxy(tmp_path, configs[0]) as proxy:
            proxy.address("p")
            loaded: Line = proxy.edit(configs[1])
            assert loaded["changes"] == ["seed changed"]
            assert injected(proxy) == outcomes[2]


def test_a_port_that_a_stranger_holds(tmp_path: Path, echoes: Server) -> None:
    """An edit that wants it is rejected; the proxies go on."""
    with Upstream() as stranger, Faultproxy(tmp_path, one(echoes.address)) as proxy:
        proxy.address("p")
        q = at(stranger.address, echoes.address)
        (error,) = proxy.edit(proxies(p=at("127.0.0.1:0", echoes.address), q=q))["errors"]
        assert error.startswith(f"proxies.q.listen: cannot listen on {stranger.address}: Address already in use (")
        assert " holds it: stop that, or choose another port" in error
        assert echoed(proxy.address("p")) is None


def test_a_listen_name_that_hangs_holds_up_nobody(tmp_path: Path, echoes: Server) -> None:
    """While the name is looked up the other proxies go on; the edit takes effect once it is known."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\n"
        "from pathlib import Path\n"
        "resolve = socket.getaddrinfo\n"
        "asked, known = Path(__file__).with_name('asked'), Path(__file__).with_name('known')\n"
        "def getaddrinfo(host, *args, **kwargs):\n"
        "    if host == 'hangs.test':\n"
        "        asked.touch()\n"
        "        while not known.exists():\n"
        "            time.sleep(0.01)\n"
        "        host = '127.0.0.1'\n"
        "    return resolve(host, *args, **kwargs)\n"
        "socket.getaddrinfo = getaddrinfo\n"
    )
    with Faultproxy(tmp_path, one(echoes.address), environment={"PYTHONPATH": str(tmp_path)}) as proxy:
        proxy.address("p")
        proxy.write(proxies(p=at("127.0.0.1:0", echoes.address), q=at("hangs.test:0", echoes.address)))
        deadline = monotonic() + PATIENCE_S
        while not (tmp_path / "asked").exists():
            assert monotonic() < deadline, "nobody has asked for the name"
            assert echoed(proxy.address("p")) is None
        assert [echoed(proxy.address("p")) for _ in range(20)] == [None] * 20
        (tmp_path / "known").touch()
        assert echoed(proxy.address("q")) is None
