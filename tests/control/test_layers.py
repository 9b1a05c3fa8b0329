"""What the file says and what the API has changed make one configuration, whichever changes."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultproxy.config.loader import ConfigError
from faultproxy.config.schema import Config
from faultproxy.control.edits import delete_proxy, delete_rule, patch_proxy, put_proxy, put_rule, rebase
from faultproxy.control.layers import Layers
from tests.managing import at, configuration


def rule(name: str, delay: str = "1ms") -> dict[str, Any]:
    return {"name": name, "latency": {"delay": delay}}


def file(*rules: str, **settings: Any) -> Config:
    return configuration({"proxies": {"p": at("a:1", *map(rule, rules), **settings)}})


def names(layers: Layers) -> str:
    return "".join(each["name"] for each in layers.config.proxies["p"].dump()["rules"])


def test_a_key_that_was_patched_stands_above_the_files() -> None:
    """Whatever a saved file says of it; of the other keys, what the file says is in force."""
    layers = patch_proxy("p", {"enabled": False})(Layers.of(file()))
    layers = layers.rebased(file(enabled=True, dial_timeout="1s"))
    proxy = layers.config.proxies["p"]
    assert (proxy.enabled, proxy.dial_timeout) == (False, 1.0)


def test_a_proxy_that_was_not_touched_follows_the_file() -> None:
    """Whatever is laid over another."""
    layers = delete_proxy("q")(Layers.of(configuration({"proxies": {"p": at("a:1", rule("a")), "q": at("b:1")}})))
    assert names(layers.rebased(file("b", "a"))) == "ba"


def test_what_the_file_says_too_is_no_overlay() -> None:
    """Neither what was changed back, nor what was saved: from then on the file decides again."""
    layers = patch_proxy("p", {"enabled": False})(Layers.of(file()))
    assert layers.has_overlay
    assert not patch_proxy("p", {"enabled": None})(layers).has_overlay
    saved = layers.rebased(configuration(layers.config.dump()))
    assert not saved.has_overlay
    assert saved.rebased(file()).config == file()


def test_a_proxy_that_was_deleted_stays_so_while_the_file_has_it() -> None:
    """A file that drops it takes that along, so that it runs when a file has it again."""
    both = {"p": at("a:1"), "q": at("b:1")}
    layers = delete_proxy("q")(Layers.of(configuration({"proxies": both})))
    layers = layers.rebased(configuration({"proxies": {**both, "q": at("c:1")}}))
    assert list(layers.config.proxies) == ["p"]
    layers = layers.rebased(file()).rebased(configuration({"proxies": both}))
    assert list(layers.config.proxies) == ["p", "q"]


def test_a_proxy_that_the_file_drops_takes_its_overlay_with_it() -> None:
    """One that only the API has made stays, whatever the file says."""
    layers = put_proxy("mine", at("b:1"))(put_rule("p", rule("x"))(Layers.of(file("a"))))
    layers = layers.rebased(configuration({"proxies": {"q": at("c:1")}}))
    assert list(layers.config.proxies) == ["q", "mine"]
    layers = layers.rebased(file("a"))
    assert names(layers) == "a"


def test_a_proxy_that_both_have_made() -> None:
    """The API's stands, whole."""
    layers = put_proxy("p", at("b:1", rule("x")))(Layers.of(configuration({"proxies": {"q": at("c:1")}})))
    layers = layers.rebased(file("a", "b"))
    assert names(layers) == "x"
    assert str(layers.config.proxies["p"].upstream) == "b:1"


@pytest.mark.parametrize(
    ("base", "edits", "saved", "expected"),
    [
        ("ab", [put_rule("p", rule("x"))], "cab", "cxab"),
        ("ab", [put_rule("p", rule("x"))], "ba", "bxa"),
        ("ab", [put_rule("p", rule("x"))], "b", "xb"),
        ("ab", [put_rule("p", rule("x"), "b")], "acb", "acxb"),
        ("ab", [put_rule("p", rule("x"), "b")], "a", "ax"),
        ("abc", [put_rule("p", rule("x"), "b")], "ca", "xca"),
        ("ab", [put_rule("p", rule("y"), "b"), put_rule("p", rule("x"), "y")], "cdb", "cdxyb"),
        ("abc", [put_rule("p", rule("c"), "a")], "abcd", "cabd"),
        ("abc", [put_rule("p", rule("b", "9ms"))], "cba", "cba"),
        ("abc", [put_rule("p", rule("b", "9ms"))], "ac", "ac"),
        ("abc", [put_rule("p", rule("c"), "a")], "ab", "ab"),
        ("abc", [delete_rule("p", "b")], "cbda", "cda"),
        ("", [put_rule("p", rule("x"))], "ab", "abx"),
        ("a", [put_proxy("p", at("a:1", rule("a"), rule("x")))], "ba", "bax"),
        ("a", [delete_rule("p", "a"), put_rule("p", rule("x"))], "ba", "bx"),
        ("ab", [put_rule("p", rule("b"), "a")], "ab", "ba"),
        ("ab", [put_rule("p", rule("x"))], "xab", "xab"),
    ],
)
def test_where_a_rule_stands(base: str, edits: Any, saved: str, expected: str) -> None:
    """Before the rule that it stood before, or the next that the file still has; a changed one where the file has it."""
    layers = Layers.of(file(*base))
    for edit in edits:
        layers = edit(layers)
    assert names(layers.rebased(file(*saved))) == expected


RULES = st.lists(st.sampled_from("abcdef"), unique=True).map("".join)


@given(RULES, RULES, RULES)
def test_rules_are_merged_whole(base: str, ours: str, saved: str) -> None:
    """None is lost or doubled: what the API added stays, what it removed is gone, and the file has its way beside."""
    layers = put_proxy("p", at("a:1", *map(rule, ours)))(Layers.of(file(*base)))
    merged = names(layers.rebased(file(*saved)))
    added, removed = set(ours) - set(base), set(base) - set(ours)
    assert len(merged) == len(set(merged))
    if saved and ours not in (base, saved) and saved != base:
        assert added <= set(merged)
        assert not removed & set(merged)
        assert set(merged) == set(saved) - removed | added
    assert layers.rebased(file(*base)) == layers
    assert layers.rebased(layers.config).config == layers.config


@pytest.mark.parametrize(
    ("saved", "error"),
    [
        ({"q": at("c:1", listen="127.0.0.1:7")}, 'proxies.mine.listen: "127.0.0.1:7" is where proxy q listens already'),
        ({"q": at("127.0.0.1:7")}, None),
        (
            {"q": at("127.0.0.1:7", listen="127.0.0.1:8")},
            'proxies.q.upstream: "127.0.0.1:7" is where proxy mine listens',
        ),
    ],
)
def test_a_file_that_the_overlay_makes_invalid(saved: Mapping[str, Any], error: str | None) -> None:
    """It says so, and that it will do once the overlay is gone."""
    mine = at("127.0.0.1:8", listen="127.0.0.1:7")
    layers = put_proxy("mine", mine)(Layers.of(file()))
    if error is None:
        rebase(configuration({"proxies": saved}))(layers)
        return
    with pytest.raises(ConfigError) as caught:
        rebase(configuration({"proxies": saved}))(layers)
    assert caught.value.errors[0].startswith(error)
    assert "drop it (DELETE /v1/overlay)" in caught.value.errors[-1]
    assert caught.value.may_pass


def test_a_rule_that_the_overlay_makes_invalid() -> None:
    """No SYN can be judged below a rule that looks at what the client says, wherever the two come from."""
    hears = {"name": "hears", "when": {"starts_with": "x"}, "reset": {}}
    layers = put_rule("p", hears)(Layers.of(file("a")))
    saved = configuration({"proxies": {"p": at("a:1", rule("a"), {"name": "no", "refuse": None})}})
    with pytest.raises(ConfigError) as caught:
        layers.rebased(saved)
    assert caught.value.errors[0].startswith("proxies.p.rules[2]: refuse is injected before the client can say")


def test_the_rest_of_the_file() -> None:
    """The seed, the drain and the like are merged key by key."""
    base = configuration({"seed": 1, "drain": "1s", "proxies": {}, "api": "unix:/a"})
    layers = Layers.of(base).edited(configuration({**base.dump(), "seed": 2}))
    layers = layers.rebased(configuration({"seed": 3, "drain": "2s", "proxies": {}, "api": "unix:/a"}))
    assert (layers.config.seed, layers.config.drain) == (2, 2.0)
