"""GET / and /page/...: the page, and the files that it is made of."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

from faultproxy.control.http.messages import HttpProblem, Request, Response
from faultproxy.control.http.router import Route

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FOLDERS = ("", "vendor/")


def routes() -> tuple[Route, ...]:
    """The routes of this module. The files are read here, once; nothing else can be asked for."""
    page = _files()

    async def index(request: Request) -> Response:
        return _answer(page["index.html"], request)

    async def file(request: Request) -> Response:
        folder = "vendor/" if request.path.startswith("/page/vendor/") else ""
        answer = page.get(folder + request.parameters["file"])
        if answer is None:
            raise HttpProblem(404, "Not found", "the page has no such file")
        return _answer(answer, request)

    return (
        Route("GET", "/", index, "The page: what the network does now, and the means to change it.", is_public=True),
        Route("GET", "/page/{file}", file, "A file of the page.", is_public=True),
        Route("GET", "/page/vendor/{file}", file, "A library of the page, as its authors publish it.", is_public=True),
    )


def _files() -> Mapping[str, Response]:
    """The answer to each file's name, such as ``app.js`` and ``vendor/htm-3.1.1.mjs``."""
    answers = {}
    for folder in _FOLDERS:
        for entry in files("faultproxy.control.http").joinpath("page", folder).iterdir():
            kind = _TYPES.get(entry.name.rpartition(".")[2])
            if kind is not None:
                body = entry.read_bytes()
                headers = {
                    "content-type": kind,
                    "cache-control": "no-cache",  # kept, but asked for again: an upgrade is seen at once
                    "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
                }
                answers[folder + entry.name] = Response(200, body, MappingProxyType(headers))
    return answers


def _answer(response: Response, request: Request) -> Response:
    tags = request.headers.get("if-none-match", "")
    if response.headers["etag"] in (tag.strip().removeprefix("W/") for tag in tags.split(",")):
        return Response(304, b"", response.headers)
    return response
