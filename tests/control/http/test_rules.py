"""Rules over the API, one at a time."""

from tests.control.http.asking import YAML, asked
from tests.managing import CUT, ask, at

SLOW = {"name": "slow", "latency": {"delay": "1ms"}}


async def test_added_changed_and_removed(server: str) -> None:
    """A new one stands first, or before another; one that is changed keeps its place and its counts."""
    async with asked({"proxies": {"p": at(server, SLOW)}}) as (its, client):

        def names() -> list[str]:
            return list(its.manager.proxies["p"].matched)

        added = await client.put("/v1/proxies/p/rules/cut", json={"reset": {"to": "client"}})
        assert (added.status_code, added.json()["rule"]) == (201, CUT)
        assert names() == ["cut", "slow"]
        assert await ask(its.address("p")) == "ECONNRESET"
        before = await client.put("/v1/proxies/p/rules/a%2Fb?before=slow", json={"name": "a/b", "pass": {}})
        assert (before.status_code, names()) == (201, ["cut", "a/b", "slow"])
        changed = await client.put("/v1/proxies/p/rules/cut", json={**CUT, "when": {"skip": 2}})
        assert (changed.status_code, changed.json()["considered"], changed.json()["injected"]) == (200, 1, 1)
        assert await ask(its.address("p")) == b"hi"
        moved = await client.put("/v1/proxies/p/rules/cut?before=slow", json=CUT)
        assert (moved.status_code, names()) == (200, ["a/b", "cut", "slow"])
        assert (await client.get("/v1/proxies/p/rules/cut")).json() == moved.json()
        assert (await client.delete("/v1/proxies/p/rules/cut")).status_code == 204
        assert names() == ["a/b", "slow"]
        assert moved.headers["etag"] == f'"{its.manager.run_id}-4"'


async def test_a_bad_rule(server: str) -> None:
    """The file's texts and places."""
    async with asked({"proxies": {"p": at(server, SLOW)}}) as (its, client):
        url = "/v1/proxies/p/rules/cut"
        answer = await client.put(f"{url}?before=slow", content="# a rule\nreset:\n  after: 4\n", headers=YAML)
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            'body:3:10: proxies.p.rules[0].reset.after: "4" has no unit; write 4B, 4KiB or 4s'
        ]
        answer = await client.put(url, content="name: other\nreset: {}\n", headers=YAML)
        assert answer.json()["errors"] == [
            'body:1:7: name: "other" is not the name in the path; write "cut", or leave the key out'
        ]
        answer = await client.put(url, json={"name": 7, "reset": {}})
        assert answer.status_code == 422
        answer = await client.put(url, json=[])
        assert answer.json()["errors"][0].startswith("proxies.p.rules[0]: a list is not a mapping")
        answer = await client.put(url, content=b"{")
        assert answer.status_code == 400
        assert answer.json()["errors"][0].startswith("body:1:2: this is not JSON")
        assert its.manager.revision == 0


async def test_what_there_is_not(server: str) -> None:
    """A proxy, a rule, or the rule that it is to stand before."""
    async with asked({"proxies": {"p": at(server, SLOW)}}) as (_, client):
        for method, url, what in (
            ("PUT", "x/rules/cut", 'proxy "x"'),
            ("PUT", "p/rules/cut?before=y", 'rule "y"'),
            ("DELETE", "p/rules/cut", 'rule "cut"'),
            ("DELETE", "x/rules/cut", 'proxy "x"'),
            ("GET", "p/rules/cut", 'rule "cut"'),
            ("GET", "x/rules/cut", 'proxy "x"'),
        ):
            answer = await client.request(method, f"/v1/proxies/{url}", json={"reset": {}})
            assert (answer.status_code, answer.json()["detail"]) == (404, f"there is no {what}")
