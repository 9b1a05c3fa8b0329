"""Where the API listens, how it is had, and how it is given back."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from signal import SIGTERM
from time import sleep

import httpx
import pytest

from faultproxy.addresses import TcpAddress, UnixAddress, parse_listen
from faultproxy.control.http.api import listen
from faultproxy.failures import CannotListen
from tests.control.http.serving import LAST, status, talk
from tests.managing import at, connect, managed
from tests.peers import PATIENCE_S, Upstream, nobody, read_to_the_end, reset
from tests.peers import connect as connect_blocking
from tests.running import Faultproxy, one

LIVE = LAST.replace(b"/ ", b"/live ", 1)
CONFIG = {"proxies": {"p": at("127.0.0.1:1")}}


@pytest.fixture
def port() -> int:
    with nobody() as address:
        return int(address.rpartition(":")[2])


async def test_answers_over_a_unix_socket(tmp_path: Path) -> None:
    """Whose file belongs to its owner and group alone, and goes at the end."""
    path = tmp_path / "api.sock"
    async with managed(CONFIG, api=UnixAddress(str(path))) as its:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), timeout=PATIENCE_S) as client:
            answer = await client.get("http://localhost/v1/status")
        assert answer.status_code == 200
        assert answer.json()["seed"] == its.manager.seed
    assert not path.exists()


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("localhost", ["127.0.0.1", "::1"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("[::1]", ["::1"]),
        ("", ["127.0.0.1", "::1", "127.0.0.2"]),
    ],
)
async def test_listens_where_it_is_told(host: str, reached: list[str], port: int) -> None:
    """localhost is both of its addresses."""
    async with managed(CONFIG, api=parse_listen(f"{host}:{port}")):
        for address in ["127.0.0.1", "127.0.0.2", "::1"]:
            if address in reached:
                assert status(await talk((address, port), LIVE)) == 200
            else:
                with pytest.raises(ConnectionRefusedError):
                    await connect((address, port))


async def test_localhost_has_one_port_at_both_addresses() -> None:
    """Also where the kernel chooses it."""
    api = await listen(TcpAddress("localhost", 0))
    try:
        assert isinstance(api.address, TcpAddress)
        assert api.url == f"http://localhost:{api.address.port}/"
    finally:
        api.close()


async def test_a_host_without_ipv6_has_localhost_at_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is wrong with that; one without either is told."""
    from faultproxy.kernel import sockets  # noqa: PLC0415

    bind = sockets.bind
    wanting = {"::1"}

    def bind_some(host: str, port: int) -> socket.socket:
        if host in wanting:
            raise OSError(errno.EADDRNOTAVAIL, "no")
        return bind(host, port)

    monkeypatch.setattr(sockets, "bind", bind_some)
    (await listen(TcpAddress("localhost", 0))).close()
    wanting.add("127.0.0.1")
    with pytest.raises(CannotListen, match="this host has no such address"):
        await listen(TcpAddress("localhost", 0))


class TestTaken:
    """Addresses that somebody has."""

    async def test_a_port_in_use_is_told_with_its_owner(self) -> None:
        """As a proxy's is."""
        with Upstream() as other:
            text = rf"^api: cannot listen on 127.0.0.1:{other.port}: .*EADDRINUSE.*; \S+ \(pid {os.getpid()}\) holds it"
            with pytest.raises(CannotListen, match=text):
                await listen(parse_listen(other.address))

    async def test_half_of_localhost_in_use_gives_the_other_back(self, port: int) -> None:
        """Nothing listens then."""
        with Upstream("::1", port=port):
            with pytest.raises(CannotListen, match="EADDRINUSE"):
                await listen(TcpAddress("localhost", port))
            with pytest.raises(ConnectionRefusedError):
                await connect(("127.0.0.1", port))

    async def test_a_file_that_a_socket_left_is_replaced(self, tmp_path: Path) -> None:
        """One that lives is in use, and stays."""
        path = str(tmp_path / "api.sock")
        Upstream(path).close()
        api = await listen(UnixAddress(path))
        try:
            with pytest.raises(CannotListen, match="another process listens there"):
                await listen(UnixAddress(path))
        finally:
            api.close()

    async def test_a_file_of_another_kind_stays(self, tmp_path: Path) -> None:
        """It is somebody's."""
        path = tmp_path / "mine"
        path.touch()
        with pytest.raises(CannotListen, match="the file there is no socket"):
            await listen(UnixAddress(str(path)))
        assert path.exists()

    async def test_the_file_of_a_successor_stays(self, tmp_path: Path) -> None:
        """Who closes removes its own file only."""
        path = tmp_path / "api.sock"
        api = await listen(UnixAddress(str(path)))
        path.unlink()
        with Upstream(str(path)):
            api.close()
            assert path.exists()

    def test_run_ends_with_1(self, tmp_path: Path) -> None:
        """And says which address, and who holds it; nothing was started."""
        with (
            Upstream() as other,
            Faultproxy(tmp_path, one("127.0.0.1:1"), "--api", other.address, may_complain=True) as proxy,
        ):
            assert proxy.exit_code() == 1
        assert f"api: cannot listen on {other.address}" in proxy.errors
        assert f"(pid {os.getpid()}) holds it" in proxy.errors
        assert "Traceback" not in proxy.errors
        assert not proxy.log


async def test_who_resets_at_once_is_no_bug() -> None:
    """Its address cannot be asked for any more."""
    async with managed(CONFIG, api=parse_listen("127.0.0.1:0")) as its:
        host, _, port = its.api.removeprefix("http://").partition(":")
        for _ in range(50):
            reset(connect_blocking((host, int(port))))
        assert status(await talk((host, int(port)), LIVE)) == 200


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Faultproxy]:
    with Faultproxy(tmp_path, one("127.0.0.1:1"), "--api", "127.0.0.1:0", may_complain=True) as proxy:
        yield proxy


def api_of(proxy: Faultproxy) -> tuple[str, int]:
    host, _, port = proxy.wait_for("api.started")["listen"].rpartition(":")
    return host, int(port)


class TestRun:
    """In a process of its own."""

    def test_says_where_it_is(self, proxy: Faultproxy) -> None:
        """On standard error the page's address, in the log the API's."""
        host, port = api_of(proxy)
        assert proxy.stop() == 0
        proxy.__exit__(None, None, None)
        assert proxy.errors == f"http://{host}:{port}/\n"

    def test_an_address_in_the_file_is_served_quietly(self, tmp_path: Path) -> None:
        """Nothing on standard error; the command line's goes before it; a change waits for the next start."""
        config = {"api": "127.0.0.1:0", **one("127.0.0.1:1")}
        with Faultproxy(tmp_path, config) as proxy:
            api_of(proxy)
            loaded = proxy.edit({**config, "api": "127.0.0.2:0"})
            assert loaded["changes"] == ["api changed: takes effect at the next start"]
        with Faultproxy(tmp_path, config, "--api", "127.0.0.3:0", may_complain=True) as proxy:
            assert api_of(proxy)[0] == "127.0.0.3"

    def test_sigterm_with_a_client_that_says_nothing(self, proxy: Faultproxy) -> None:
        """It does not hold the end up."""
        with connect_blocking(api_of(proxy)) as idle, connect_blocking(api_of(proxy)) as half:
            half.sendall(b"GET /")
            assert proxy.stop() == 0
            assert read_to_the_end(idle)[1] in {"EOF", "ECONNRESET"}

    def test_sigterm_with_a_stream_and_a_client_that_does_not_read(self, tmp_path: Path) -> None:
        """The stream ends as a whole, and neither waits for the drain, which is longer than the test's patience."""
        stream = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        config = {"drain": "10m", **one("127.0.0.1:1")}
        with Faultproxy(tmp_path, config, "--api", "127.0.0.1:0", may_complain=True) as proxy:
            address = api_of(proxy)
            with connect_blocking(address) as reader, connect_blocking(address, receive_buffer=2048) as other:
                reader.sendall(stream)
                head = reader.recv(65536)
                other.setblocking(False)
                with suppress(BlockingIOError):  # until nothing more is taken, as no answer is
                    while True:
                        other.send(LIVE.replace(b"Connection: close\r\n", b"") * 100)
                proxy.signal(SIGTERM)
                data, end = read_to_the_end(reader)
                assert (data[-5:], end) == (b"0\r\n\r\n", "EOF")
                assert b"text/event-stream" in head
                assert proxy.exit_code() == 0

    def test_a_log_that_nobody_reads(self, tmp_path: Path) -> None:
        """The API answers as before, whatever there is to be logged."""
        api, listen = tmp_path / "api", tmp_path / "p"
        config = {"api": f"unix:{api}", **one("127.0.0.1:1", listen=f"unix:{listen}")}
        with Faultproxy(tmp_path, config, reads_log=False) as proxy:
            while not api.exists():
                sleep(0.01)
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(api)), timeout=PATIENCE_S) as client:
                for _ in range(1000):  # each is three lines of 200 bytes, and the pipe holds 64 KiB
                    with socket.socket(socket.AF_UNIX) as sock:
                        sock.connect(str(listen))
                    assert client.get("http://localhost/live").text == "live\n"
            proxy.read_log()

    def test_too_few_descriptors(self, tmp_path: Path) -> None:
        """Clients wait, nothing ends, and all are answered once there is room."""
        with Faultproxy(tmp_path, one("127.0.0.1:1"), "--api", "127.0.0.1:0", max_fds=40, may_complain=True) as proxy:
            address = api_of(proxy)
            with ExitStack() as stack:
                clients = [stack.enter_context(connect_blocking(address)) for _ in range(60)]
                for client in clients:
                    client.sendall(LIVE)
                for client in clients:
                    assert status(read_to_the_end(client)[0]) == 200
                    client.close()
                idle = [stack.enter_context(connect_blocking(address)) for _ in range(60)]
                proxy.wait_for("api.paused", error="EMFILE")
            assert idle
            proxy.wait_for("api.resumed")
            with connect_blocking(address) as client:
                client.sendall(LIVE)
                assert status(read_to_the_end(client)[0]) == 200
