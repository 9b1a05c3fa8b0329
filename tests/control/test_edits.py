"""Edits: what each makes of the layers, and what it refuses."""

import pytest

from faultproxy.config.loader import ConfigError
from faultproxy.control.edits import (
    Edit,
    NotFound,
    all_of,
    delete_proxy,
    delete_rule,
    drop_overlay,
    patch_proxy,
    put_proxy,
    put_rule,
)
from faultproxy.control.layers import Layers
from tests.managing import at, configuration

CUT = {"name": "cut", "reset": {}}
SLOW = {"name": "slow", "latency": {"delay": "1ms"}}
LAYERS = Layers.of(configuration({"proxies": {"p": at("a:1", SLOW, CUT, dial_timeout="1s"), "q": at("b:1")}}))


def names(layers: Layers, proxy: str = "p") -> list[str]:
    return [each["name"] for each in layers.config.proxies[proxy].dump()["rules"]]


def test_proxies_come_and_go() -> None:
    """The base stays as it was; without the overlay it is what runs again."""
    layers = all_of(put_proxy("new", at("c:1")), put_proxy("q", at("d:1")), delete_proxy("p"))(LAYERS)
    assert list(layers.config.proxies) == ["q", "new"]
    assert str(layers.config.proxies["q"].upstream) == "d:1"
    assert layers.base is LAYERS.base
    assert drop_overlay()(layers) == LAYERS


def test_a_patch_leaves_what_it_does_not_name() -> None:
    """None is the default, which for ``rules`` is none."""
    layers = patch_proxy("p", {"peek_timeout": "2s", "dial_timeout": None})(LAYERS)
    proxy = layers.config.proxies["p"]
    assert (proxy.peek_timeout, proxy.dial_timeout, str(proxy.upstream)) == (2.0, 5.0, "a:1")
    assert names(layers) == ["slow", "cut"]
    assert names(patch_proxy("p", {"rules": None})(layers)) == []


def test_rules_keep_their_place() -> None:
    """A new one stands first, or before another; one that is changed stays, unless it is moved."""
    new = {"name": "new", "close": {}}
    assert names(put_rule("p", new)(LAYERS)) == ["new", "slow", "cut"]
    assert names(put_rule("p", new, "cut")(LAYERS)) == ["slow", "new", "cut"]
    changed = put_rule("p", {"name": "cut", "close": {}})(LAYERS)
    assert names(changed) == ["slow", "cut"]
    assert changed.config.proxies["p"].dump()["rules"][1] == {"name": "cut", "close": {}}
    assert names(put_rule("p", CUT, "slow")(LAYERS)) == ["cut", "slow"]
    assert put_rule("p", CUT, "cut")(LAYERS) == LAYERS
    assert names(delete_rule("p", "slow")(LAYERS)) == ["cut"]


@pytest.mark.parametrize(
    ("edit", "kind", "name"),
    [
        (patch_proxy("x", {}), "proxy", "x"),
        (delete_proxy("x"), "proxy", "x"),
        (put_rule("x", CUT), "proxy", "x"),
        (put_rule("p", CUT, "x"), "rule", "x"),
        (delete_rule("x", "cut"), "proxy", "x"),
        (delete_rule("p", "x"), "rule", "x"),
        (all_of(delete_proxy("p"), put_rule("p", CUT)), "proxy", "p"),
    ],
)
def test_what_there_is_not(edit: Edit, kind: str, name: str) -> None:
    """It is named."""
    with pytest.raises(NotFound, match=f'there is no {kind} "{name}"') as caught:
        edit(LAYERS)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (
            put_proxy("p", at("a:1", {"name": "r", "resett": {}})),
            'proxies.p.rules[0].resett: "resett" is not a key here',
        ),
        (put_proxy("a\nb", at("a:1")), 'proxies."a\\nb": "a\\nb" '),
        (put_proxy("p", "x"), 'proxies.p: "x" is not a mapping'),
        (patch_proxy("p", {"listen": None}), "proxies.p: listen is missing"),
        (patch_proxy("p", {"nothing": None}), 'proxies.p.nothing: "nothing" is not a key here'),
        (put_rule("p", {"name": "r", "reset": {"after": 4}}), "proxies.p.rules[0].reset.after"),
        (put_rule("p", {"reset": {}}), "proxies.p.rules[0]: name is missing"),
        (put_rule("p", {"name": "r", "reset": {"after": 4}}, "cut"), "proxies.p.rules[1].reset.after"),
    ],
)
def test_a_bad_value(edit: Edit, error: str) -> None:
    """Its errors name the path, as a file's do."""
    with pytest.raises(ConfigError) as caught:
        edit(LAYERS)
    assert caught.value.errors[0].startswith(error)


def test_a_rule_is_what_it_was() -> None:
    """A proxy that is validated again is equal: rules that an edit did not touch keep their counts and clocks."""
    layers = put_rule("p", {"name": "new", "close": {}})(LAYERS)
    before, after = LAYERS.config.proxies["p"], layers.config.proxies["p"]
    assert tuple(after.rules[1:]) == tuple(before.rules)
