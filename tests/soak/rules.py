"""What faultproxy is reported: proxies, some of them with random rules."""

import random
from collections.abc import Callable, Mapping
from typing import Any

RANDOM = ("plain", "named", "unix")
"""The proxies whose rules are drawn anew at each edit. All others have an upstream or a rule that is the point."""

Settings = dict[str, Any]
_Draw = Callable[[random.Random], Settings]

SIZES = ("0B", "1B", "100B", "4KiB", "40KiB")
TRIGGERED: tuple[_Draw, ...] = (
    lambda r: {"reset": {"after": r.choice(SIZES), "to": r.choice(("client", "server", "both"))}},
    lambda r: {"reset": {"after": r.choice(("5ms", "50ms"))}},
    lambda r: {"broken_pipe": {"after": r.choice(SIZES)}},
    lambda r: {"abort": {"after": r.choice(SIZES)}},
    lambda r: {"half_close": {"after": r.choice(SIZES), "direction": r.choice(("upstream", "downstream"))}},
    lambda r: {"close": {"after": r.choice(SIZES)}},
    lambda r: {"hang": {"after": r.choice(SIZES), "for": r.choice(("20ms", "200ms", "10s"))}},
    lambda _: {"hang": {"after": "0B", "for": "100ms", "acks": False}},
    lambda r: {
        "blackhole": {"after": r.choice(SIZES), "direction": r.choice(("both", "upstream", "downstream"))},
        "close": {"after": {"idle": "50ms", "direction": "upstream"}},
    },
    lambda r: {"reset": {"after": {"match": r.choice(("zz+", "a.b", "[0-9]{4}")), "direction": "upstream"}}},
)
SHAPES: tuple[_Draw, ...] = (
    lambda r: {"latency": {"delay": r.choice(("1ms", "20ms")), "jitter": r.choice(("0s", "1ms"))}},
    lambda r: {"bandwidth": {"rate": r.choice(("0B/s", "200kB/s", "10MB/s"))}},
    lambda r: {"slice": {"size": r.choice(("100B", "1KiB")), "pause": r.choice(("0s", "100us"))}},
    lambda _: {"corrupt": {"probability": "1%", "direction": "downstream"}},
    lambda _: {"loss": {"probability": "5%"}},
    lambda _: {"slow_close": {"delay": "20ms"}},
)
BEFORE: tuple[_Draw, ...] = (
    lambda _: {"refuse": None},
    lambda _: {"unreachable": None},
    lambda _: {"slow_connect": {"delay": "10ms"}},
)
WHENS: tuple[_Draw, ...] = (
    lambda r: {"probability": r.choice(("10%", "50%"))},
    lambda r: {"every": r.randint(2, 5)},
    lambda r: {"first": r.randint(1, 20)},
    lambda r: {"open_connections": {"min": r.randint(2, 8)}},
    lambda r: {"window": {"from": "0s", "to": "200ms", "every": r.choice(("300ms", "1s"))}},
)
FIRST_BYTES: tuple[_Draw, ...] = (
    lambda r: {"starts_with": r.choice(({"hex": "00"}, "GET "))},
    lambda _: {"matches": "[0-9]"},
)


def config(r: random.Random | None, upstreams: Mapping[str, str], itself: str) -> Settings:
    """A whole configuration; without a random source one with no rules at all. ``itself`` is where a proxy dials itself."""
    proxies: dict[str, Settings] = {
        name: {"listen": "127.0.0.1:0", "upstream": upstream, "dial_timeout": "1s"}
        for name, upstream in upstreams.items()
    }
    proxies["itself"]["listen"] = itself
    if r is None:
        del proxies["moves"]
    else:
        for name in RANDOM:
            proxies[name]["rules"] = rules(r)
            proxies[name]["enabled"] = r.random() > 0.05
        outage = {"name": "outage", "when": {"window": {"to": "20ms", "every": r.choice(("100ms", "700ms"))}}}
        some = {"name": "some", "when": {"probability": "20%"}}
        proxies["intercepting"]["rules"] = [outage | {"refuse": None}, some | {"refuse": None}]
        proxies["expressions"]["rules"] = [
            {"name": str(number), "stop": False, "reset": {"after": {"match": text, "direction": "upstream"}}}
            for number, text in enumerate(("(a+)+!", r"\w+@example", "a[ab]{200}c"))
        ]
        proxies["held"]["rules"] = [{"name": "held", "latency": {"delay": r.choice(("5s", "5s", "500ms"))}}]
        if r.random() < 0.3:
            del proxies["moves"]
    return {"seed": 7, "drain": "1s", "memory": "8MiB", "proxies": proxies}


def rules(r: random.Random) -> list[Settings]:
    """A few rules, each with a name of its own and a condition, so that some connections are left alone."""
    made = []
    kinds = r.choices((BEFORE, TRIGGERED, SHAPES), (1, 2, 2), k=r.choice((0, 1, 2, 4)))
    kinds.sort(key=lambda kind: kind is not BEFORE)  # below a rule that needs the first bytes they are an error
    for number, kind in enumerate(kinds):
        when = r.choice(WHENS if kind is BEFORE else (*WHENS, *FIRST_BYTES))(r)
        rule: Settings = {"name": f"rule {number}", "when": when, **r.choice(kind)(r)}
        if (("window" in when and kind is TRIGGERED) or kind is SHAPES) and r.random() < 0.3:
            rule["live"] = True
        if r.random() < 0.1:
            rule["dry_run"] = True
        made.append(rule)
    return made
