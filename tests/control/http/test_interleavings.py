"""A file that is saved while the API is used: what runs is what one order of the edits gives, and never a part of one."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from random import Random
from signal import SIGHUP
from typing import Any

import httpx
import trio
import yaml

from faultproxy.config.loader import ConfigError, build, check_together, load
from faultproxy.control.edits import (
    Edit,
    NotFound,
    delete_proxy,
    delete_rule,
    drop_overlay,
    patch_proxy,
    put_proxy,
    put_rule,
    rebase,
)
from faultproxy.control.layers import Layers
from faultproxy.events.types import ConfigLoaded, ConfigRejected
from tests.control.http.asking import asked
from tests.managing import CUT, Managed, ask, at, configuration

PASS = {"name": "pass", "pass": {}}
SLOW = {"name": "slow", "latency": {"delay": "1ms"}}
HEARS = {"name": "hears", "when": {"starts_with": "x"}, "close": {}}
REFUSE = {"name": "refuse", "when": {"first": 1}, "refuse": {}}
Call = tuple[Edit, Callable[[httpx.AsyncClient], Any]]


def calls(server: str) -> list[Call]:
    """What the API is asked for, and the edit that this is. Some are not valid after some others."""

    def rule(value: dict[str, Any], before: str | None = None) -> Call:
        url = f"/v1/proxies/p/rules/{value['name']}" + (f"?before={before}" if before else "")
        return put_rule("p", value, before), lambda client: client.put(url, json=value)

    instead = {"seed": 0, "drain": "0s", "proxies": {"p": at(server, PASS), "r": named(server)}}
    new = named(server, CUT)
    return [
        rule(CUT),
        rule(PASS, "slow"),
        rule(SLOW),
        rule(HEARS),
        rule(REFUSE),
        (put_proxy("new", new), lambda client: client.put("/v1/proxies/new", json=new)),
        (
            patch_proxy("p", {"dial_timeout": "9s"}),
            lambda client: client.patch("/v1/proxies/p", json={"dial_timeout": "9s"}),
        ),
        (delete_rule("p", "slow"), lambda client: client.delete("/v1/proxies/p/rules/slow")),
        (delete_proxy("q"), lambda client: client.delete("/v1/proxies/q")),
        (delete_proxy("p"), lambda client: client.delete("/v1/proxies/p")),
        (
            lambda layers: layers.edited(build(instead, has_api=True)),
            lambda client: client.put("/v1/config", json=instead),
        ),
        (drop_overlay(), lambda client: client.delete("/v1/overlay")),
    ]


def files(server: str) -> list[dict[str, Any]]:
    """What may be saved."""
    return [
        {"p": at(server, SLOW, REFUSE), "q": at(server)},
        {"p": at(server, HEARS, SLOW)},
        {"q": at(server, CUT), "s": named(server)},
        {"p": at(server, dial_timeout="3s"), "new": named(server, SLOW)},
    ]


def named(server: str, *rules: Any) -> dict[str, Any]:
    """A proxy whose address is looked up in a thread, so that others have their chance in the middle of the edit."""
    return at(server, *rules, listen="localhost:0")


def outcome(start: Layers, edits: Sequence[Edit]) -> Layers:
    """What these edits make, one after the other; one that is refused changes nothing."""
    for edit in edits:
        try:
            layers = edit(start)
            check_together(layers.config)
        except (ConfigError, NotFound):
            continue
        start = layers
    return start


def verdicts(its: Managed) -> int:
    return len(its.record.of(ConfigLoaded, source="file")) + len(its.record.of(ConfigRejected, source="file"))


async def test_the_outcome_is_one_of_the_orders(server: str, tmp_path: Path) -> None:
    """Whole: 200 times two calls and a saved file at the same time, in whichever way they meet."""
    file = tmp_path / "f.yaml"
    proxies = {"p": at(server, SLOW, PASS), "q": at(server)}

    def save(proxies: Any) -> None:
        other = file.with_suffix(".new")
        other.write_text(yaml.safe_dump({"seed": 0, "drain": "0s", "proxies": proxies}))
        other.replace(file)

    save(proxies)
    start = Layers.of(configuration({"proxies": proxies}))
    by_order, refused = set(), 0
    async with asked({"proxies": proxies}, file=file) as (its, client):
        await trio.sleep(0.6)  # it has been read after the start
        for number in range(200):
            random = Random(number)
            overlaid = outcome(start, [random.choice(calls(server))[0]])
            await its.manager.apply(partial(lambda layers, _: layers, overlaid), "python")
            chosen = random.sample(calls(server), 2)
            save(random.choice(files(server)))
            edits = (rebase(load(file)), *(edit for edit, _ in chosen))
            before = verdicts(its)

            async def ask_for(call: Any, turns: int) -> None:
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                assert (await call(client)).status_code in {200, 201, 204, 404, 422}

            async with trio.open_nursery() as nursery:
                for _, call in chosen:
                    nursery.start_soon(ask_for, call, random.randrange(40))
                its.signal.send_nowait(SIGHUP)
                while verdicts(its) == before:  # noqa: ASYNC110  # either of two events
                    await trio.sleep(0.001)
            possible = {order: outcome(overlaid, [edits[index] for index in order]) for order in permutations(range(3))}
            matching = [order for order, layers in possible.items() if layers == its.manager.layers]
            assert matching, (number, its.manager.layers)
            by_order |= set(matching)
            refused += len(its.record.of(ConfigRejected))
            assert its.manager.proxies.keys() == its.manager.config.proxies.keys()
            for name, proxy in its.manager.config.proxies.items():
                assert its.manager.proxies[name].rules.rules == tuple(proxy.rules)
        assert refused
        assert len(by_order) == 6
        if "q" in its.manager.proxies:
            assert await ask(its.address("q")) in {b"hi", "ECONNRESET"}
