"""The file of the flag -config."""

import json
from pathlib import Path

import pytest

from faultproxy.control.http.toxiproxy.populate import populate
from faultproxy.events.types import ConfigLoaded, ConfigRejected
from tests.control.http.toxiproxy.calling import called

PROXY = {"name": "a", "listen": "127.0.0.1:0", "upstream": "localhost:1"}


async def test_its_proxies_are_made(tmp_path: Path) -> None:
    """Toxics among them, which Toxiproxy ignores in silence; the log says which file it was."""
    file = tmp_path / "proxies.json"
    toxic = {"type": "latency", "attributes": {"latency": 100}}
    file.write_text(json.dumps([PROXY, {**PROXY, "name": "b", "enabled": False, "toxics": [toxic]}]))
    async with called(tmp_path) as call:
        await populate(call.its.manager, file)
        shown = (await call("GET", "/proxies")).json()
        assert [(name, each["enabled"]) for name, each in shown.items()] == [("a", True), ("b", False)]
        assert [each["name"] for each in shown["b"]["toxics"]] == ["latency_downstream"]
        assert call.its.record.of(ConfigLoaded)[-1].file == str(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file or directory"),
        ("", "bad request body: EOF"),
        ("{}", "bad request body: an array of proxies is due"),
        ("[", "bad request body: "),
        ('[{"name": "a"}]', "missing required field: upstream at proxy 1"),
        (
            '[{"name": "a", "upstream": "b:1", "listen": "192.0.2.1:0"}]',
            "listen tcp 192.0.2.1:0: bind: cannot assign requested address",
        ),
        (" " * 2**20 + "[]", "the file is larger than 1 MiB"),
    ],
)
async def test_what_is_wrong_is_logged(tmp_path: Path, text: str | None, says: str) -> None:
    """Once, and the server runs on."""
    file = tmp_path / "proxies.json"
    if text is not None:
        file.write_text(text)
    async with called(tmp_path) as call:
        await populate(call.its.manager, file)
        (rejected,) = call.its.record.of(ConfigRejected)
        assert (rejected.source, rejected.file) == ("file", str(file))
        assert rejected.errors[0].startswith(f"{file}: {says}")
        assert (await call("GET", "/proxies")).json() == {}


async def test_the_first_are_kept(tmp_path: Path) -> None:
    """Those before the one that cannot be made."""
    file = tmp_path / "proxies.json"
    file.write_text(json.dumps([PROXY, {**PROXY, "name": "b", "listen": "192.0.2.1:0"}, {**PROXY, "name": "c"}]))
    async with called(tmp_path) as call:
        await populate(call.its.manager, file)
        assert list((await call("GET", "/proxies")).json()) == ["a"]
        assert len(call.its.record.of(ConfigRejected)) == 1
