"""What an edit changes is reported in a line each."""

from faultproxy.control.changes import Difference
from tests.managing import at, configuration

P = at("127.0.0.1:9")
CUT = {"name": "cut", "reset": None}


def between(before: dict[str, object], after: dict[str, object]) -> Difference:
    return Difference.between(configuration(before), configuration(after))


def test_nothing_has_changed() -> None:
    """Two files that say the same, one of them by its defaults."""
    spelled_out = {**P, "dial_timeout": "5000ms", "enabled": True, "rules": None}
    assert between({"proxies": {"p": P}}, {"version": 1, "proxies": {"p": spelled_out}}) == Difference(frozenset(), ())


def test_each_change_is_reported() -> None:
    """The file's own keys, then the proxies: those that were there, in their order, and those that are new."""
    changes = between(
        {"seed": 1, "proxies": {"a": P, "gone": P, "same": P}},
        {
            "seed": 2,
            "memory": "1MiB",
            "proxies": {"new": P, "same": P, "a": at("127.0.0.1:9", CUT, enabled=False, max_connections=3)},
        },
    )
    assert changes.texts == (
        "seed changed",
        "memory changed",
        "proxy a: max_connections, enabled, rules changed",
        "proxy gone removed",
        "proxy new added",
    )
    assert changes.proxies == {"a", "new"}
