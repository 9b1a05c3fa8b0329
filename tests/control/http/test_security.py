"""Who may ask: each rule by a real request, and the two that matter by a real browser."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from faultproxy.addresses import parse_listen
from faultproxy.config.loader import ConfigError
from faultproxy.control.http.security import HEADERS, Access, BadToken, is_exposed, read_token
from faultproxy.events.types import ApiExposed
from tests.browser import chromium
from tests.control.http.serving import status, talk
from tests.managing import Managed, at, managed
from tests.peers import PATIENCE_S, Behaviour, Server
from tests.running import Faultproxy, one

LOOPBACK = parse_listen("127.0.0.1:0")
CONFIG = {"proxies": {"p": at("127.0.0.1:1")}}


@pytest.fixture
async def its() -> AsyncIterator[Managed]:
    async with managed(CONFIG, api=LOOPBACK, access=Access(frozenset({"chaos.example.com"}))) as its:
        yield its


async def ask(its: Managed, method: str = "GET", path: str = "/v1/status", **headers: str) -> int:
    """The status of the answer to a request with these headers, which stand as they are given."""
    lines = {"Host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    host, _, port = its.api.removeprefix("http://").partition(":")
    request = f"{method} {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n"
    return status(await talk((host, int(port)), request.encode("latin-1")))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3:8474",
        "[::1]:8474",
        "[fe80::1]",
        "localhost",
        "LOCALHOST:80",
        "localhost.",
        "toxiproxy:8474",
        "my_service",
        "api.localhost",
        "faultproxy.test.svc",
        "faultproxy.test.svc.cluster.local.",
        "host.docker.internal:8474",
        "chaos.example.com",
        "Chaos.Example.Com:8474",
    ],
)
async def test_names_of_this_host_are_answered(its: Managed, host: str) -> None:
    """Addresses, names that nobody can register, and those of --allowed-host."""
    assert await ask(its, Host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "evil.example.com:8474",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "1.2.3",
        "127.0.0.1@example.com",
        "notchaos.example.com",
        "svc.",
        "evil.com.",
        "[evil.com]",
        "[1::2::3]",
        "a/b",
        "a b",
        "localhost:8474:1",
    ],
)
async def test_other_names_are_403_whatever_is_asked(its: Managed, host: str) -> None:
    """DNS rebinding: a name that somebody else may have resolve to this host. Also where nothing is, and for HEAD."""
    for method, path in (("GET", "/v1/status"), ("HEAD", "/live"), ("PUT", "/v1/config"), ("GET", "/nowhere")):
        assert await ask(its, method, path, Host=host) == 403


@pytest.mark.parametrize(("host", "answer"), [("", 200), ("Host: 127.0.0.1\r\n", 200), ("Host: evil.com\r\n", 403)])
async def test_who_says_no_name_at_all_is_answered(its: Managed, host: str, answer: int) -> None:
    """HTTP/1.0 needs none, and load balancers ask so; every browser sends one."""
    address, _, port = its.api.removeprefix("http://").partition(":")
    request = f"GET /v1/status HTTP/1.0\r\n{host}\r\n"
    assert status(await talk((address, int(port)), request.encode())) == answer


async def test_the_answer_says_what_to_do() -> None:
    """So that who has a name of one's own learns of --allowed-host."""
    async with managed(CONFIG, api=LOOPBACK) as its, httpx.AsyncClient(timeout=PATIENCE_S) as client:
        answer = await client.get(f"{its.api}/v1/status", headers={"host": "chaos.example.com"})
    assert answer.json()["detail"] == (
        '"chaos.example.com" is not known as a name of this host; '
        "ask for an IP address or localhost, or allow the name with --allowed-host"
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost"},
        {"Sec_Fetch_Site": ""},
        {"Origin": "http://example.com"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:8475"},
        {"Origin": "http://localhost.example.com"},
    ],
)
async def test_a_change_that_another_site_asks_for_is_403(its: Managed, headers: dict[str, str]) -> None:
    """By what browsers say of themselves; to read it, its page is not allowed by the browser."""
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert await ask(its, method, **headers) == 403
    assert await ask(its, **headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "http://example.com"},
        {"Origin": "http://localhost:8474", "Host": "localhost:8474"},
        {"Origin": "http://localhost:80"},
        {"Origin": "https://localhost"},
        {"Origin": "http://[::1]:8474", "Host": "[::1]:8474"},
    ],
)
async def test_a_change_of_its_own_page_or_of_a_program_passes(its: Managed, headers: dict[str, str]) -> None:
    """So it comes as far as the route, which does not take it."""
    assert await ask(its, "PATCH", **headers) == 405


async def test_there_are_no_headers_of_cors(its: Managed) -> None:
    """Whatever a browser asks beforehand."""
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        headers = {"origin": "http://example.com", "access-control-request-method": "PUT"}
        for method in ("OPTIONS", "GET"):
            answer = await client.request(method, f"{its.api}/v1/status", headers=headers)
            assert not any(name.startswith("access-control") for name in answer.headers)
            assert HEADERS.items() <= dict(answer.headers).items()
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_token_is_due_where_there_is_one() -> None:
    """401 without it or with another; who only asks whether it lives needs none."""
    async with managed(CONFIG, api=LOOPBACK, access=Access(token="s3cret")) as its:
        assert await ask(its) == 401
        for given in ("Bearer wrong", "Bearer s3cre", "Bearer", "Basic s3cret", "s3cret", "Bearer s\xe9cret"):
            assert await ask(its, Authorization=given) == 401
        for given in ("Bearer s3cret", "bearer  s3cret"):
            assert await ask(its, Authorization=given) == 200
        assert await ask(its, path="/live") == 200
        assert await ask(its, path="/nowhere") == 401
        assert await ask(its, Authorization="Bearer s3cret", Host="example.com") == 403
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            assert (await client.get(f"{its.api}/v1/status")).headers["www-authenticate"] == "Bearer"


def test_a_token_is_read_from_its_file(tmp_path: Path) -> None:
    """Without the space around it; what is none is told."""
    file = tmp_path / "token"
    file.write_bytes(b"  abc-123\r\n")
    assert read_token(file) == "abc-123"
    for data in (b"", b"\n", b"two words", "é".encode(), b"x" * 1001, b"\xff"):
        file.write_bytes(data)
        with pytest.raises(BadToken, match="holds no token; write one line"):
            read_token(file)
    with pytest.raises(BadToken, match="cannot be read: No such file"):
        read_token(tmp_path / "none")


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("127.0.0.1:0", False),
        ("127.1.2.3:0", False),
        ("localhost:0", False),
        ("[::1]:0", False),
        ("unix:/run/api.sock", False),
        (":0", True),
        ("0.0.0.0:0", True),
        ("10.0.0.1:0", True),
        ("somewhere:0", True),
        ("[::]:0", True),
    ],
)
def test_what_others_reach_is_exposed(address: str, *, exposed: bool) -> None:
    """All but loopback and Unix sockets."""
    assert is_exposed(parse_listen(address)) is exposed


async def test_who_is_exposed_without_a_token_is_warned() -> None:
    """In the log, once; with a token, or on loopback, nobody is."""
    for address, access, warnings in (
        (":0", Access(), 1),
        (":0", Access(token="t"), 0),
        ("127.0.0.1:0", Access(), 0),
    ):
        async with managed(CONFIG, api=parse_listen(address), access=access) as its:
            assert len(its.record.of(ApiExposed)) == warnings


class TestThroughAProxy:
    """A proxy that dials the API would let everybody in who reaches the proxy."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.7.7.7"])
    async def test_it_is_refused(self, host: str) -> None:
        """As an edit that is not valid; at the start, the program ends."""
        async with managed(CONFIG, api=parse_listen(":0")) as its:
            door = f"{host}:{its.api.rpartition(':')[2]}"
            with pytest.raises(ConfigError, match="the API"):
                await its.edit(p=at("127.0.0.1:1"), door=at(door))
            assert await ask(its) == 200

    async def test_its_clients_are_refused(self) -> None:
        """Where only the resolver knows what its upstream is; and told which proxy it is."""
        async with managed(CONFIG, api=parse_listen(":0")) as its:
            port = its.api.rpartition(":")[2]
            await its.edit(p=at("127.0.0.1:1"), door=at(f"{socket.gethostname()}:{port}"))
            name, door = its.address("door")
            assert await ask(its) == 200
            async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
                answer = await client.get(f"http://{name}:{door}/v1/status")
        assert answer.status_code == 403
        assert answer.json()["detail"] == "proxy door dials this API; write another upstream"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[tuple[Faultproxy, str]]:
    """A faultproxy in a process of its own, and its API's host and port."""
    with Faultproxy(tmp_path, one("127.0.0.1:1"), "--api", "127.0.0.1:0", may_complain=True) as proxy:
        yield proxy, str(proxy.wait_for("api.started")["listen"])


class TestBrowser:
    """Chromium on this host, and a page of somebody else."""

    def test_a_form_of_another_site_changes_nothing(self, proxy: tuple[Faultproxy, str]) -> None:
        """Posted by its page, by fetch and as a form: neither needs to ask beforehand (no preflight)."""
        faultproxy, api = proxy
        url = f"http://{api}/v1/counters/reset"
        page = f"""<form method=post enctype="text/plain" action="{url}"><input name=a value=b></form>
            <script>fetch("{url}", {{method: "POST", mode: "no-cors", body: "a=b"}})
            .catch(() => 0).then(() => document.forms[0].submit())</script>"""
        seen: list[tuple[str, int]] = []
        with Server(_showing(page)) as evil, chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
            tab = browser.new_page()
            tab.on("response", lambda answer: seen.append((answer.request.method, answer.status)))
            with tab.expect_response(
                lambda answer: answer.request.is_navigation_request() and answer.request.method == "POST"
            ):
                tab.goto(f"http://evil.example:{evil.address.rpartition(':')[2]}/")
        assert {status for method, status in seen if method == "POST"} == {403}
        assert not faultproxy.seen("counters.reset")
        httpx.post(url, timeout=PATIENCE_S)
        faultproxy.wait_for("counters.reset")

    def test_a_rebound_name_reaches_nothing(self, proxy: tuple[Faultproxy, str]) -> None:
        """A name of somebody else that has come to mean this host: the browser takes the API for that site's own."""
        faultproxy, api = proxy
        port = api.rpartition(":")[2]
        with chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
            tab = browser.new_page()
            answer = tab.goto(f"http://evil.example:{port}/v1/status")
            assert answer is not None
            assert answer.status == 403
            statuses = tab.evaluate(
                """async () => Promise.all([["GET", "/v1/config"], ["DELETE", "/v1/proxies/p"], ["POST", "/v1/counters/reset"]]
                .map(async ([method, path]) => (await fetch(path, {method})).status))"""
            )
        assert statuses == [403, 403, 403]
        assert not faultproxy.seen("config.loaded")
        assert not faultproxy.seen("counters.reset")


def _showing(page: str) -> Behaviour:
    """A web server that shows this page, whatever is asked for."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n"

    def answer(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall((head + page).encode())

    return answer
