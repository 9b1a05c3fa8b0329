"""The page's files are served, and nothing else."""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import as_file, files
from pathlib import Path

import httpx
import pytest

from faultproxy.addresses import UnixAddress
from tests.managing import at, managed
from tests.peers import PATIENCE_S

MOST_BYTES = 200_000
MOST_BYTES_OF_A_PICTURE = 150_000
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript"}


@asynccontextmanager
async def asking(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    path = str(tmp_path / "api.sock")
    transport = httpx.AsyncHTTPTransport(uds=path)
    async with (
        managed({"proxies": {"p": at("127.0.0.1:1")}}, api=UnixAddress(path)),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=PATIENCE_S) as client,
    ):
        yield client


def folder() -> Path:
    with as_file(files("faultproxy.control.http") / "page") as path:
        return path


async def test_every_file_is_served_with_its_type(tmp_path: Path) -> None:
    """A browser refuses a module or a style sheet of another type, and runs nothing that another site brings."""
    async with asking(tmp_path) as client:
        index = await client.get("/")
        assert index.content == (folder() / "index.html").read_bytes()
        for path in (path for path in folder().rglob("*") if path.suffix in TYPES):
            answer = await client.get(f"/page/{path.relative_to(folder())}")
            assert (answer.status_code, answer.content) == (200, path.read_bytes())
            assert answer.headers["content-type"].startswith(TYPES[path.suffix])
            assert answer.headers["content-security-policy"].startswith("default-src 'self';")


async def test_what_a_browser_has_is_not_sent_again(tmp_path: Path) -> None:
    """The ETag is the content's."""
    async with asking(tmp_path) as client:
        first = await client.get("/page/app.js")
        again = await client.get("/page/app.js", headers={"if-none-match": f'"old", {first.headers["etag"]}'})
        other = await client.get("/page/app.js", headers={"if-none-match": '"old"'})
    assert (again.status_code, again.content) == (304, b"")
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/none.js",
        "/page/../pages.py",
        "/page/..%2fpages.py",
        "/page/%2e%2e/pages.py",
        "/page/vendor/SHA256SUMS",
    ],
)
async def test_there_is_no_way_to_other_files(tmp_path: Path, path: str) -> None:
    """Only names that were found in the page's folder are answered."""
    async with asking(tmp_path) as client:
        request = client.build_request("GET", "/")
        request.url = request.url.copy_with(raw_path=path.encode())
        assert (await client.send(request)).status_code == 404


def test_libraries_are_as_their_authors_publish_them() -> None:
    """Each has its licence and its checksum, and none was changed."""
    vendor = folder() / "vendor"
    lines = (vendor / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in map(str.split, lines)}
    assert sums == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in vendor.iterdir() if path.suffix
    }
    libraries = {re.sub(r"\.[a-zA-Z.]+$", "", name) for name in sums}
    assert {f"{library}.LICENSE" for library in libraries} <= sums.keys()


def test_the_page_is_small() -> None:
    """All of it together, licences included, as it lies in the wheel."""
    assert sum(path.stat().st_size for path in folder().rglob("*") if path.is_file()) < MOST_BYTES


def test_pictures_are_small() -> None:
    """Those of the docs, which scripts/pictures takes."""
    pictures = list((Path(__file__).parents[3] / "docs").glob("page-*.png"))
    assert len(pictures) == 3
    assert max(path.stat().st_size for path in pictures) < MOST_BYTES_OF_A_PICTURE
