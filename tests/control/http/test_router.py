"""A request finds its route by its path, and what is refused is told in the dialect of that path."""

import json

import pytest

from faultproxy.control.http.messages import EventStream, HttpProblem, Request, Response
from faultproxy.control.http.router import Route, Router

HOST = {"host": "localhost"}


async def show(request: Request) -> Response:
    return Response.json(dict(request.parameters))


async def fixed(_: Request) -> Response:
    return Response.text("fixed")


async def refuse(_: Request) -> Response:
    raise HttpProblem(404, "proxy not found")


def loud(problem: HttpProblem) -> Response:
    return Response.text(problem.title.upper(), problem.status)


ROUTER = Router(
    [
        Route("GET", "/v1/proxies/{name}", show, "One."),
        Route("PUT", "/v1/proxies/{name}/rules/{rule}", show, "One."),
        Route("DELETE", "/v1/proxies/{name}/rules/{rule}", show, "One."),
        Route("GET", "/v1/proxies/all", fixed, "All."),
        Route("POST", "/v1/reset", fixed, "Reset.", query={"proxy": "Of this one.", "rule": "Of this one."}),
        Route("GET", "/", fixed, "The page."),
        Route("GET", "/proxies/{name}", refuse, "One.", dialect="toxiproxy"),
    ],
    renderers={"toxiproxy": loud},
)


async def ask(method: str, path: str) -> Response:
    answer = await ROUTER.answer(Request(method, path, headers=HOST))
    assert not isinstance(answer, EventStream)
    return answer


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v1/proxies/redis", {"name": "redis"}),
        ("/v1/proxies/redis%2317", {"name": "redis#17"}),
        ("/v1/proxies/db%3A5432", {"name": "db:5432"}),
        ("/v1/proxies/db:5432", {"name": "db:5432"}),
        ("/v1/proxies/a%2Fb%20c%25", {"name": "a/b c%"}),
        ("/v1/proxies/%C3%A9", {"name": "é"}),
        ("/v1/proxies/%FF", {"name": "\ufffd"}),
        ("/v1/proxies/..", {"name": ".."}),
    ],
)
async def test_parameters_are_decoded_after_the_path_is_cut(path: str, parameters: object) -> None:
    """An encoded slash belongs to the name; nothing else is resolved."""
    assert json.loads((await ask("GET", path)).body) == parameters


async def test_a_fixed_segment_goes_before_a_parameter() -> None:
    """In whatever order they were added."""
    assert (await ask("GET", "/v1/proxies/all")).body == b"fixed"
    assert (await ask("GET", "/")).body == b"fixed"


async def test_head_is_answered_as_get() -> None:
    """The server leaves the body out."""
    assert (await ask("HEAD", "/")).body == b"fixed"


async def test_another_method_is_405_with_those_there_are() -> None:
    """In Allow, and in words."""
    answer = await ask("POST", "/v1/proxies/redis")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    answer = await ask("GET", "/v1/proxies/redis/rules/cut")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, PUT")
    assert (await ask("OPTIONS", "/")).status == 405


@pytest.mark.parametrize("path", ["/v1/proxies/", "/v1/proxies//rules/cut", "/v1/x", "/page/x"])
async def test_what_is_not_there_is_404(path: str) -> None:
    """An empty name is none."""
    answer = await ask("PUT", path)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/v2", "/v1", "//", "", "*", "/V1/proxies/a", "http://a/", "/proxies/a/"])
async def test_what_is_nowhere_is_told_in_the_other_dialect(path: str) -> None:
    """Outside /v1/ and /page/ whoever asks takes us for Toxiproxy."""
    answer = await ask("PUT", path)
    assert (answer.status, answer.body) == (404, b"NOT FOUND")


@pytest.mark.parametrize(
    ("method", "path", "query", "right"),
    [
        ("POST", "/v1/reset", "prox", '"prox" is not a name of this query; write proxy'),
        ("POST", "/v1/reset", "x" * 1000, "it may have proxy, rule"),
        ("GET", "/v1/proxies/all", "proxy", '"proxy" is not a name of this query; it may have none'),
        ("POST", "/v1/reset", "proxy", None),
        ("GET", "/", "anything", None),
    ],
)
async def test_a_name_that_a_query_may_not_have_is_400(method: str, path: str, query: str, right: str | None) -> None:
    """It says which may be; of the page and of Toxiproxy's routes, whatever is there is passed over."""
    answer = await ROUTER.answer(Request(method, path, query={query: "redis"}, headers=HOST))
    assert isinstance(answer, Response)
    assert answer.status == (200 if right is None else 400)
    assert right is None or right in json.loads(answer.body)["detail"]


async def test_a_dialect_tells_its_own_problems() -> None:
    """Those of its handlers, of methods, of HEAD among them, and of who may not ask."""
    assert (await ask("HEAD", "/proxies/a")).body == b"METHOD NOT ALLOWED"
    assert (await ask("GET", "/proxies/a")).body == b"PROXY NOT FOUND"
    assert (await ask("PUT", "/proxies/a")).body == b"METHOD NOT ALLOWED"
    answer = await ROUTER.answer(Request("GET", "/proxies/a", headers={"host": "example.com"}))
    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (403, b"FORBIDDEN")
