"""What was sent, and neither a proxy nor a rule keeps."""

from pathlib import Path

import pytest

from faultproxy.control.edits import delete_rule, patch_proxy, put_rule
from faultproxy.control.http.toxiproxy.notes import Notes
from faultproxy.control.http.toxiproxy.proxies import NOWHERE
from faultproxy.control.http.toxiproxy.toxics import parse, to_rule
from tests.control.http.toxiproxy.calling import called
from tests.managing import at, managed


@pytest.mark.parametrize("listen", ["localhost:0", "", "0.0.0.0:0", "[::1]:0", ":0"])
async def test_listen_is_as_it_was_sent_until_it_is_enabled(tmp_path: Path, listen: str) -> None:
    """Then it is the address that the proxy really has, also when it is disabled again."""
    async with called(tmp_path) as call:
        created = await call.create("p", "localhost:1", listen=listen, enabled=False)
        assert created["listen"] == listen
        assert (await call("GET", "/proxies")).json()["p"] == created
        assert (await call("PATCH", "/proxies/p", {"upstream": "localhost:2"})).json()["listen"] == listen
        port = call.its.address("p")[1]
        for enabled in (True, False, True):
            shown = (await call("PATCH", "/proxies/p", {"enabled": enabled})).json()
            assert shown["listen"].endswith(f":{port}")


async def test_another_listen_of_a_disabled_proxy_is_as_it_was_sent(tmp_path: Path) -> None:
    """Unless it is the one that the proxy has already; /reset enables the proxy."""
    async with called(tmp_path) as call:
        created = await call.create("p", "localhost:1")
        same = created["listen"].replace("127.0.0.1", "localhost")
        disabled = (await call("PATCH", "/proxies/p", {"enabled": False, "listen": same})).json()
        assert disabled == {**created, "enabled": False}
        assert (await call("PATCH", "/proxies/p", {"listen": "localhost:0"})).json()["listen"] == "localhost:0"
        await call("POST", "/reset")
        await call("PATCH", "/proxies/p", {"enabled": False})
        assert (await call("GET", "/proxies/p")).json()["listen"] == f"127.0.0.1:{call.its.address('p')[1]}"


async def test_populate_compares_with_what_was_sent(tmp_path: Path) -> None:
    """So a disabled proxy at a name is replaced, and one at an address is left alone, as Toxiproxy does."""
    async with called(tmp_path) as call:
        for host, enabled in (("localhost", True), ("127.0.0.1", False)):
            body = {"name": host, "listen": f"{host}:0", "upstream": "localhost:1"}
            (shown,) = (await call("POST", "/populate", [{**body, "enabled": False}])).json()["proxies"]
            assert shown == {**body, "enabled": False, "toxics": []}
            (shown,) = (await call("POST", "/populate", [{**body, "enabled": True}])).json()["proxies"]
            assert shown["enabled"] is enabled


@pytest.mark.parametrize("upstream", ["google.com", "x", "localhost:0", "host:99999", "a b:1", "[0:0::1]:80"])
async def test_upstreams_are_as_they_were_sent(tmp_path: Path, upstream: str) -> None:
    """Also what is no address; and it is compared as it was sent."""
    async with called(tmp_path) as call:
        created = await call.create("p", upstream)
        assert created["upstream"] == upstream
        await call.add("p", "noop")
        same = {"name": "p", "upstream": upstream, "listen": created["listen"]}
        (shown,) = (await call("POST", "/populate", [same])).json()["proxies"]
        assert len(shown["toxics"]) == 1
        assert (await call("PATCH", "/proxies/p", {"upstream": "b:1"})).json()["upstream"] == "b:1"
        assert (await call("POST", "/proxies/p", {"upstream": upstream})).json()["upstream"] == upstream
        (shown,) = (await call("POST", "/populate", [{**same, "upstream": "c:1"}])).json()["proxies"]
        assert (shown["upstream"], shown["toxics"]) == ("c:1", [])
        (shown,) = (await call("POST", "/populate", [same])).json()["proxies"]
        assert shown["upstream"] == upstream


async def test_an_upstream_that_is_no_address_reaches_nobody(tmp_path: Path) -> None:
    """What is dialled is a name that nobody has."""
    async with called(tmp_path) as call:
        await call.create("p", "google")
        assert str(call.its.manager.config.proxies["p"].upstream) == NOWHERE
        assert (await call("GET", "/v1/proxies/p")).json()["upstream"] == NOWHERE


async def test_streams_are_as_they_were_sent(tmp_path: Path) -> None:
    """In each answer, however the toxic was made and changed."""
    async with called(tmp_path) as call:
        toxic = {"type": "noop", "name": "a", "stream": "UpStream", "toxicity": 1, "attributes": {}}
        created = await call.create("p", "localhost:1", toxics=[toxic])
        assert created["toxics"] == [toxic]
        other = {**toxic, "name": "b", "stream": "DOWNSTREAM"}
        assert (await call("POST", "/proxies/p/toxics", other)).json() == other
        changed = {**other, "toxicity": 0.5}
        assert (await call("PATCH", "/proxies/p/toxics/b", {"toxicity": 0.5, "stream": "upstream"})).json() == changed
        assert (await call("GET", "/proxies/p/toxics/b")).json() == changed
        assert (await call("GET", "/proxies/p/toxics")).json() == [toxic, changed]
        assert (await call("GET", "/proxies")).json()["p"]["toxics"] == [toxic, changed]
        (populated,) = (
            await call("POST", "/populate", [{"name": "q", "upstream": "localhost:1", "toxics": [other]}])
        ).json()["proxies"]
        assert populated["toxics"] == [other]


async def test_a_toxicity_above_1_is_as_it_was_sent(tmp_path: Path) -> None:
    """It is as 1: its rule has no condition. The tests of Toxiproxy.Net send 80."""
    async with called(tmp_path) as call:
        await call.create("p", "localhost:1")
        toxic = {"type": "noop", "name": "a", "stream": "downstream", "toxicity": 80, "attributes": {}}
        assert (await call("POST", "/proxies/p/toxics", toxic)).json() == toxic
        assert (await call("PATCH", "/proxies/p/toxics/a", {})).json() == toxic
        assert (await call("GET", "/proxies")).json()["p"]["toxics"] == [toxic]
        (rule,) = call.its.manager.config.proxies["p"].rules
        assert not rule.conditions
        changed = (await call("PATCH", "/proxies/p/toxics/a", {"toxicity": 1.5})).json()
        assert changed == (await call("GET", "/proxies/p/toxics/a")).json() == {**toxic, "toxicity": 1.5}
        (rule,) = call.its.manager.config.proxies["p"].rules
        assert not rule.conditions
        await call("PATCH", "/proxies/p/toxics/a", {"toxicity": 0.5})
        assert (await call("GET", "/proxies/p/toxics/a")).json()["toxicity"] == 0.5


async def test_another_toxic_of_that_name_is_another(tmp_path: Path) -> None:
    """The spelling goes with the toxic, whoever removes it."""
    async with called(tmp_path) as call:
        await call.create("p", "localhost:1")
        await call.add("p", "latency", "UPSTREAM", latency=1)
        path = "/proxies/p/toxics/latency_UPSTREAM"
        assert (await call("GET", path)).json()["stream"] == "UPSTREAM"
        rule = {"name": "latency_UPSTREAM", "latency": {"delay": "2ms", "direction": "upstream"}}
        await call.its.manager.apply(put_rule("p", rule), "api")
        assert (await call("GET", path)).json()["stream"] == "upstream"
        await call("DELETE", path)
        await call("POST", "/proxies/p/toxics", {"type": "latency", "name": "latency_UPSTREAM"})
        assert (await call("GET", path)).json()["stream"] == "downstream"


async def test_what_is_gone_is_forgotten() -> None:
    """Nothing is kept of proxies and rules that are not, or are not the same any more."""
    toxic = parse({"type": "noop", "stream": "UPSTREAM"})
    async with managed({"proxies": {"p": at("localhost:1", to_rule(toxic), enabled=False)}}) as its:
        notes = Notes(its.manager)
        notes.note_listen("p", "localhost:0")
        notes.note_listen("nobody", "localhost:0")
        notes.note_toxics("p", [toxic])
        notes.note_toxics("nobody", [toxic])
        notes.note_upstream("p", "localhost")
        notes.note_upstream("nobody", "localhost")
        notes.forget()
        (rule,) = its.manager.config.proxies["p"].rules
        assert (notes.listen("p"), notes.toxic("p", rule)) == ("localhost:0", toxic)
        assert notes.upstream("p", its.manager.config.proxies["p"]) == "localhost"
        await its.manager.apply(delete_rule("p", "noop_UPSTREAM"), "api")
        await its.manager.apply(patch_proxy("p", {"enabled": True, "upstream": "a:1"}), "api")
        notes.forget()
        await its.manager.apply(put_rule("p", to_rule(toxic)), "api")
        await its.manager.apply(patch_proxy("p", {"enabled": False, "upstream": "localhost:1"}), "api")
        assert notes.upstream("p", its.manager.config.proxies["p"]) == "localhost:1"
        assert (notes.listen("p"), notes.toxic("p", rule)) == (None, None)
