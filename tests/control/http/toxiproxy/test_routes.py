"""Toxiproxy's routes: what its clients send, and what they get."""

from pathlib import Path
from typing import Any

import pytest

from faultproxy.control.http.messages import HttpProblem
from faultproxy.control.http.toxiproxy.routes import render
from tests.control.http.toxiproxy.calling import called, error

PROXY = {"name": "redis", "listen": "127.0.0.1:0", "upstream": "localhost:6379"}
LATENCY = {"type": "latency", "attributes": {"latency": 100}}
SHOWN_LATENCY = {
    "attributes": {"latency": 100, "jitter": 0},
    "name": "latency_downstream",
    "type": "latency",
    "stream": "downstream",
    "toxicity": 1,
}


async def test_version(tmp_path: Path) -> None:
    """To the byte; who we are is in the Server header."""
    async with called(tmp_path) as call:
        answer = await call("GET", "/version")
        assert (answer.status_code, answer.content) == (200, b'{"version": "2.12.0"}\n')
        assert answer.headers["content-type"] == "application/json;charset=utf-8"
        assert answer.headers["server"].startswith("faultproxy/")


async def test_the_life_of_a_proxy(tmp_path: Path) -> None:
    """Created, shown, changed by POST and by PATCH, removed."""
    async with called(tmp_path) as call:
        created = await call("POST", "/proxies", PROXY)
        shown = created.json()
        assert created.status_code == 201
        assert created.headers["content-type"] == "application/json"
        assert shown == {**PROXY, "listen": shown["listen"], "enabled": True, "toxics": []}
        assert shown["listen"] == str(call.its.manager.addresses["redis"])
        assert (await call("GET", "/proxies/redis")).json() == shown
        for method, enabled in (("POST", False), ("PATCH", True)):
            changed = await call(method, "/proxies/redis", {"enabled": enabled})
            assert (changed.status_code, changed.json()) == (200, {**shown, "enabled": enabled})
        removed = await call("DELETE", "/proxies/redis")
        assert (removed.status_code, removed.content) == (204, b"")
        assert (await call("GET", "/proxies")).json() == {}


async def test_the_life_of_a_toxic(tmp_path: Path) -> None:
    """Created with 200, shown, changed by POST and by PATCH, removed."""
    async with called(tmp_path) as call:
        await call("POST", "/proxies", PROXY)
        created = await call("POST", "/proxies/redis/toxics", LATENCY)
        assert (created.status_code, created.json()) == (200, SHOWN_LATENCY)
        assert (await call("GET", "/proxies/redis/toxics")).json() == [SHOWN_LATENCY]
        assert (await call("GET", "/proxies/redis")).json()["toxics"] == [SHOWN_LATENCY]
        path = "/proxies/redis/toxics/latency_downstream"
        assert (await call("GET", path)).json() == SHOWN_LATENCY
        changed = await call("POST", path, {"attributes": {"jitter": 10}, "name": "other", "stream": "upstream"})
        attributes = {"latency": 100, "jitter": 10}
        assert (changed.status_code, changed.json()) == (200, {**SHOWN_LATENCY, "attributes": attributes})
        changed = await call("PATCH", path, {"toxicity": 0.5})
        assert changed.json() == {**SHOWN_LATENCY, "attributes": attributes, "toxicity": 0.5}
        removed = await call("DELETE", path)
        assert (removed.status_code, removed.content) == (204, b"")
        assert (await call("GET", "/proxies/redis/toxics")).json() == []


async def test_proxies_are_in_order(tmp_path: Path) -> None:
    """By their names, whoever came first."""
    async with called(tmp_path) as call:
        for name in ("b", "a", "C", "1"):
            await call.create(name, "localhost:1")
        assert list((await call("GET", "/proxies")).json()) == ["1", "C", "a", "b"]


async def test_toxics_are_in_order(tmp_path: Path) -> None:
    """Those of upstream first, then the older ones; a change moves none."""
    async with called(tmp_path) as call:
        await call.create("p", "localhost:1")
        for name, stream in (("d2", "downstream"), ("u2", "UPSTREAM"), ("d1", "Downstream"), ("u1", "upstream")):
            answer = await call("POST", "/proxies/p/toxics", {"type": "noop", "name": name, "stream": stream})
            assert answer.json()["stream"] == stream
        await call("PATCH", "/proxies/p/toxics/d2", {"toxicity": 0.5})
        assert [each["name"] for each in (await call("GET", "/proxies/p/toxics")).json()] == ["u2", "u1", "d2", "d1"]


@pytest.mark.parametrize("name", ["localhost:6379", "a/b", "a b", "é", "..a", "100%", "a?b#c", "x" * 200])
async def test_names(tmp_path: Path, name: str) -> None:
    """A proxy is called by the name that it was given, percent-encoded where a path asks for that."""
    async with called(tmp_path) as call:
        await call.create(name, "localhost:1")
        path = "/proxies/" + "".join(f"%{byte:02X}" for byte in name.encode())
        assert (await call("GET", path)).json()["name"] == name
        toxic = {"type": "noop", "name": name}
        assert (await call("POST", f"{path}/toxics", toxic)).status_code == 200
        toxic_path = f"{path}/toxics/" + "".join(f"%{byte:02X}" for byte in name.encode())
        assert (await call("GET", toxic_path)).json()["name"] == name
        assert (await call("DELETE", toxic_path)).status_code == 204
        assert (await call("DELETE", path)).status_code == 204


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "bad request body: EOF"),
        (b"{", 400, "bad request body: "),
        ([], 400, "bad request body: "),
        ({"upstream": "a:1"}, 400, "missing required field: name"),
        ({"name": "", "upstream": "a:1"}, 400, "missing required field: name"),
        ({"name": "a"}, 400, "missing required field: upstream"),
        ({"name": "redis", "upstream": "a:1", "listen": "127.0.0.1:0"}, 409, "proxy already exists"),
        ({"name": "a\nb", "upstream": "a:1"}, 400, "bad request body: "),
        ({"name": "a", "upstream": "a:1", "enabled": "yes"}, 400, "bad request body: "),
        ({"name": "a", "upstream": "a:1", "listen": "8080"}, 500, "listen tcp: address 8080: missing port in"),
        ({"name": "a", "upstream": "a:1", "listen": "a:b"}, 500, "listen tcp: "),
        (
            {"name": "a", "upstream": "a:1", "listen": "192.0.2.1:0"},
            500,
            "listen tcp 192.0.2.1:0: bind: cannot assign ",
        ),
        ({"name": "a", "upstream": "a:1", "toxics": [{"type": "x"}]}, 400, "invalid toxic type"),
        ({"name": "a", "upstream": "a:1", "toxics": [LATENCY, LATENCY]}, 409, "toxic already exists"),
    ],
)
async def test_proxies_that_cannot_be_created(tmp_path: Path, body: Any, status: int, text: str) -> None:
    """Toxiproxy's statuses and texts; and nothing has been created."""
    async with called(tmp_path) as call:
        await call("POST", "/proxies", PROXY)
        found, said = error(await call("POST", "/proxies", body))
        assert found == status
        assert said.startswith(text)
        assert list((await call("GET", "/proxies")).json()) == ["redis"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/proxies/x", None, 404, "proxy not found"),
        ("POST", "/proxies/x", b"", 404, "proxy not found"),
        ("DELETE", "/proxies/x", None, 404, "proxy not found"),
        ("GET", "/proxies/x/toxics", None, 404, "proxy not found"),
        ("POST", "/proxies/x/toxics", b"", 404, "proxy not found"),
        ("GET", "/proxies/x/toxics/t", None, 404, "proxy not found"),
        ("PATCH", "/proxies/x/toxics/t", b"", 404, "proxy not found"),
        ("DELETE", "/proxies/x/toxics/t", None, 404, "proxy not found"),
        ("GET", "/proxies/redis/toxics/t", None, 404, "toxic not found"),
        ("PATCH", "/proxies/redis/toxics/t", b"", 404, "toxic not found"),
        ("DELETE", "/proxies/redis/toxics/t", None, 404, "toxic not found"),
        ("PATCH", "/proxies/redis", b"", 400, "bad request body: EOF"),
        ("PATCH", "/proxies/redis", {"enabled": 1}, 400, "bad request body: "),
        ("PATCH", "/proxies/redis", {"upstream": 5}, 400, "bad request body: "),
        ("PATCH", "/proxies/redis", {"listen": "x"}, 500, "listen tcp: "),
        ("PATCH", "/proxies/redis", {"listen": "nowhere.invalid:1"}, 500, "listen tcp nowhere.invalid:1: no such host"),
        ("POST", "/proxies/redis/toxics", b"[", 400, "bad request body: "),
        ("POST", "/proxies/redis/toxics", {"type": "x"}, 400, "invalid toxic type"),
        ("POST", "/proxies/redis/toxics", {}, 400, "invalid toxic type"),
        ("POST", "/proxies/redis/toxics", {**LATENCY, "stream": "x"}, 400, "stream was invalid, can be either"),
        ("POST", "/proxies/redis/toxics", LATENCY, 409, "toxic already exists"),
        ("POST", "/proxies/redis/toxics", {"type": "noop", "name": "latency_downstream"}, 409, "toxic already exists"),
        ("PATCH", "/proxies/redis/toxics/latency_downstream", b"", 400, "bad request body: EOF"),
        ("PATCH", "/proxies/redis/toxics/latency_downstream", {"toxicity": -2}, 400, "bad request body: "),
        ("PATCH", "/proxies/redis/toxics/latency_downstream", {"attributes": {"latency": 1.5}}, 400, "bad request"),
        ("PATCH", "/proxies/redis/toxics/latency_downstream", {"attributes": {"latency": "1"}}, 400, "bad request"),
    ],
)
async def test_refusals(tmp_path: Path, method: str, path: str, body: Any, status: int, text: str) -> None:
    """What is not there is 404 whatever the body; and nothing has changed."""
    async with called(tmp_path) as call:
        await call("POST", "/proxies", PROXY)
        await call("POST", "/proxies/redis/toxics", LATENCY)
        before = (await call("GET", "/proxies")).json()
        found, said = error(await call(method, path, body))
        assert found == status
        assert said.startswith(text)
        assert (await call("GET", "/proxies")).json() == before


@pytest.mark.parametrize(
    "toxic",
    [
        {"type": "bandwidth", "attributes": {"rate": -1}},
        {"type": "latency", "attributes": {"latency": 1, "jitter": 2**62}},
        {"type": "slicer"},
        {"type": "slicer", "attributes": {"average_size": 10, "size_variation": 11}},
        {"type": "slicer", "attributes": {"average_size": 0, "size_variation": 0, "delay": 10}},
        {"type": "limit_data", "attributes": {"bytes": -1}},
        {"type": "timeout", "attributes": {"timeout": 2**63}},
        {"type": "latency", "toxicity": -0.1},
    ],
)
async def test_what_crashes_toxiproxy(tmp_path: Path, toxic: dict[str, Any]) -> None:
    """It is a mistake of the one who asks: 400, and the server goes on."""
    async with called(tmp_path) as call:
        await call("POST", "/proxies", PROXY)
        status, said = error(await call("POST", "/proxies/redis/toxics", toxic))
        assert status == 400
        assert said.startswith("bad request body: ")
        assert (await call("GET", "/proxies/redis/toxics")).json() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/proxies"),
        ("DELETE", "/proxies"),
        ("GET", "/populate"),
        ("GET", "/reset"),
        ("POST", "/version"),
        ("PUT", "/proxies/redis"),
        ("DELETE", "/proxies/redis/toxics"),
        ("PUT", "/proxies/redis/toxics/t"),
        ("HEAD", "/version"),
        ("HEAD", "/proxies"),
        ("OPTIONS", "/proxies"),
    ],
)
async def test_methods_that_are_not_there(tmp_path: Path, method: str, path: str) -> None:
    """405, with no text; HEAD is one of them."""
    async with called(tmp_path) as call:
        answer = await call(method, path)
        assert (answer.status_code, answer.content) == (405, b"")


@pytest.mark.parametrize("path", ["/nothing", "/proxies/", "/proxies/p/x", "/proxies/p/toxics/", "/version/", "/v2/x"])
async def test_paths_that_are_not_there(tmp_path: Path, path: str) -> None:
    """404, in plain text and without a number, whatever the method; those of the API's own are told as it does."""
    async with called(tmp_path) as call:
        for method in ("GET", "POST", "DELETE"):
            answer = await call(method, path)
            assert (answer.status_code, answer.content) == (404, b"404 page not found\n")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "x-toxiproxy-request-id" not in answer.headers
            assert (await call(method, f"/v1{path}")).headers["content-type"] == "application/problem+json"


async def test_answers_are_numbered(tmp_path: Path) -> None:
    """Each of these routes', refusals too, with 20 letters and digits; no two alike, and none of the API's own."""
    async with called(tmp_path) as call:
        numbers = set()
        for method, path, status in (
            ("GET", "/version", 200),
            ("GET", "/proxies", 200),
            ("GET", "/proxies/x", 404),
            ("POST", "/populate", 400),
            ("POST", "/reset", 204),
        ):
            answer = await call(method, path)
            assert answer.status_code == status
            numbers.add(answer.headers["x-toxiproxy-request-id"])
        refused = await call("GET", "/version", headers={"user-agent": "Mozilla/5.0"})
        numbers.add(refused.headers["x-toxiproxy-request-id"])
        assert [len(number) for number in numbers] == [20] * 6
        assert "x-toxiproxy-request-id" not in (await call("GET", "/v1/status")).headers


async def test_browsers_are_refused(tmp_path: Path) -> None:
    """On each of these routes, whoever calls itself Mozilla, but for the page; nothing has changed."""
    async with called(tmp_path) as call:
        await call("POST", "/proxies", PROXY)
        for method, path in (
            ("GET", "/version"),
            ("GET", "/proxies"),
            ("POST", "/reset"),
            ("DELETE", "/proxies/redis"),
            ("POST", "/proxies/redis/toxics"),
        ):
            answer = await call(method, path, headers={"user-agent": "Mozilla/5.0 (X11; Linux x86_64)"})
            assert (answer.status_code, answer.text) == (403, "User agent not allowed\n")
        own = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64)", "sec-fetch-site": "same-origin"}
        assert (await call("GET", "/version", headers=own)).status_code == 200
        assert list((await call("GET", "/proxies")).json()) == ["redis"]


async def test_a_content_type_is_not_asked_for(tmp_path: Path) -> None:
    """Some send none, some a wrong one."""
    async with called(tmp_path) as call:
        for name, headers in (("a", {}), ("b", {"content-type": "application/x-www-form-urlencoded"})):
            body = f'{{"name": "{name}", "upstream": "localhost:1"}}'.encode()
            assert (await call("POST", "/proxies", body, headers=headers)).status_code == 201


async def test_populate(tmp_path: Path) -> None:
    """201 and the proxies, in the order of the array; of an empty one null."""
    async with called(tmp_path) as call:
        for body in (b"[]", b"null"):
            answer = await call("POST", "/populate", body)
            assert (answer.status_code, answer.json()) == (201, {"proxies": None})
        answer = await call("POST", "/populate", [{**PROXY, "name": "b"}, {**PROXY, "name": "a", "toxics": [LATENCY]}])
        assert answer.status_code == 201
        shown = (await call("GET", "/proxies")).json()
        assert answer.json() == {"proxies": [shown["b"], shown["a"]]}
        assert shown["a"]["toxics"] == [SHOWN_LATENCY]


@pytest.mark.parametrize(
    ("body", "status", "text", "done"),
    [
        (b"", 400, "bad request body: EOF", None),
        ({}, 400, "bad request body: ", None),
        ([PROXY, {"name": "b"}], 400, "missing required field: upstream at proxy 2", None),
        ([{**PROXY, "listen": "x"}], 500, "listen tcp: ", None),
        (
            [PROXY, {**PROXY, "name": "b", "listen": "192.0.2.1:0"}, {**PROXY, "name": "c"}],
            500,
            "listen tcp 192",
            ["redis"],
        ),
        ([PROXY, {**PROXY, "name": "b\n"}], 400, "bad request body: ", ["redis"]),
    ],
)
async def test_populate_in_vain(tmp_path: Path, body: Any, status: int, text: str, done: Any) -> None:
    """The error as JSON, with the proxies that were made before it."""
    async with called(tmp_path) as call:
        answer = await call("POST", "/populate", body)
        said = answer.json()
        assert answer.headers["content-type"] == "application/json"
        assert (answer.status_code, said["status"]) == (status, status)
        assert said["error"].startswith(text)
        assert (said["proxies"] and [each["name"] for each in said["proxies"]]) == done
        assert list((await call("GET", "/proxies")).json()) == (done or [])


def test_problems_of_the_api() -> None:
    """What the API itself refuses is told as Toxiproxy would."""
    assert (render(HttpProblem(405, "x")).status, render(HttpProblem(405, "x")).body) == (405, b"")
    assert render(HttpProblem(404, "x", "y")).body == b"404 page not found\n"
    assert render(HttpProblem(403, "a", "b")).body == b'{"error":"b","status":403}\n'
