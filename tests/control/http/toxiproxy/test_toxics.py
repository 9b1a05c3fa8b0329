"""Toxics as bodies say them, and the rules that they are."""

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultproxy.config.loader import build
from faultproxy.control.http.toxiproxy.answers import Refused
from faultproxy.control.http.toxiproxy.toxics import STREAMS, TYPES, Toxic, from_rule, merge, parse, to_rule
from faultproxy.rules.rule import Rule

PROPERTY = settings(derandomize=True, deadline=None, max_examples=300)


@st.composite
def toxics(draw: st.DrawFn) -> Toxic:
    """Any toxic that may be."""
    kind = draw(st.sampled_from(sorted(TYPES)))
    attributes = {key: draw(st.integers(key == "average_size", most)) for key, most in TYPES[kind].items()}
    if kind == "slicer":
        attributes["size_variation"] = draw(st.integers(0, attributes["average_size"]))
    name = draw(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=200))
    stream = draw(st.sampled_from([*STREAMS, "Upstream", "DOWNSTREAM"]))
    return Toxic(name, kind, stream, draw(st.floats(0, 1) | st.just(80.0)), attributes)


@PROPERTY
@given(toxics())
def test_a_toxic_is_a_rule_and_the_rule_is_the_toxic(toxic: Toxic) -> None:
    """There and back nothing is lost but how the stream and a toxicity above 1 were written; a request is as good."""
    rule = Rule.model_validate(to_rule(toxic))
    assert from_rule(rule) == toxic.normalized()
    assert parse(toxic.json()) == toxic
    assert not rule.holds_verdict


def test_toxics_stand_in_a_file() -> None:
    """The rules of all types, as they stand in YAML, make a configuration; what it dumps are the same toxics."""
    made = [parse({"type": kind, "attributes": {"average_size": 1, "timeout": 5}, "toxicity": 0.5}) for kind in TYPES]
    proxy = {"listen": ":0", "upstream": "localhost:1", "rules": [to_rule(toxic) for toxic in made]}
    dumped = build({"proxies": {"p": proxy}}).proxies["p"].dump()["rules"]
    assert [from_rule(Rule.model_validate(rule)) for rule in dumped] == made


def test_what_a_body_may_leave_out() -> None:
    """Everything but the type; null is as nothing, names of keys are in any case, unknown ones are ignored."""
    assert parse({"type": "latency"}) == Toxic(
        "latency_downstream", "latency", "downstream", 1.0, {"latency": 0, "jitter": 0}
    )
    nulls: dict[str, Any] = {
        "NAME": None,
        "Type": "bandwidth",
        "stream": "Upstream",
        "toxicity": None,
        "x": [],
        "attributes": None,
    }
    assert parse(nulls) == Toxic("bandwidth_Upstream", "bandwidth", "Upstream", 1.0, {"rate": 0})
    attributes = {"DELAY": 7, "delay": None, "other": "x"}
    body: dict[str, Any] = {"name": "a:b", "type": "slow_close", "Attributes": attributes, "toxicity": 0}
    assert parse(body) == Toxic("a:b", "slow_close", "downstream", 0.0, {"delay": 7})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "bad request body: the toxic must be an object"),
        (None, "invalid toxic type"),
        ({"type": "Latency"}, "invalid toxic type"),
        ({"type": 7}, "bad request body: type must be a string"),
        ({"type": "none", "stream": "up"}, "stream was invalid, can be either upstream or downstream"),
        ({"type": "latency", "stream": ""}, "stream was invalid, can be either upstream or downstream"),
        ({"type": "latency", "name": "a\nb"}, "bad request body: name must be one line of at most 200 characters"),
        ({"type": "latency", "name": "a" * 201}, "bad request body: name must be one line of at most 200 characters"),
        ({"type": "latency", "toxicity": "1"}, "bad request body: toxicity must be a number from 0 to 1"),
        ({"type": "latency", "toxicity": 2**53 + 2}, "bad request body: toxicity must be a number from 0 to 1"),
        ({"type": "latency", "toxicity": float("nan")}, "bad request body: toxicity must be a number from 0 to 1"),
        ({"type": "latency", "toxicity": True}, "bad request body: toxicity must be a number from 0 to 1"),
        ({"type": "latency", "attributes": 5}, "bad request body: attributes must be an object"),
    ],
)
def test_what_is_no_toxic(body: object, message: str) -> None:
    """It is refused in the words of Toxiproxy."""
    with pytest.raises(Refused) as refused:
        parse(body)
    assert (refused.value.status, refused.value.message, str(refused.value)) == (400, message, message)


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("latency", {"latency": 1.0}, "latency must be an integer"),
        ("latency", {"latency": "1"}, "latency must be an integer"),
        ("latency", {"jitter": True}, "jitter must be an integer"),
        ("latency", {"jitter": 2**62}, "jitter must be from 0 to 3153600000000"),
        ("latency", {"latency": -1}, "latency must be from 0 to 3153600000000"),
        ("bandwidth", {"rate": -1}, "rate must be from 0 to 9007199254740"),
        ("slicer", {"average_size": 0}, "average_size must be from 1 to 9007199254740992"),
        ("slicer", {"average_size": 5, "size_variation": 6}, "size_variation must not be above average_size"),
        ("limit_data", {"bytes": 10**30}, "bytes must be from 0 to 9007199254740992"),
    ],
)
def test_attributes_that_cannot_be(kind: str, attributes: dict[str, Any], message: str) -> None:
    """Those that crash the original are among them. An update to them is refused likewise."""
    with pytest.raises(Refused) as refused:
        parse({"type": kind, "attributes": attributes})
    assert refused.value.message == f"bad request body: {message}"
    sound = parse({"type": kind, "attributes": {"average_size": 9}})
    with pytest.raises(Refused) as refused:
        merge(sound, {"attributes": attributes})
    assert refused.value.message == f"bad request body: {message}"


def test_a_slicer_needs_a_size() -> None:
    """The defaults of the original crash it."""
    with pytest.raises(Refused, match="average_size must be from 1"):
        parse({"type": "slicer"})


def test_updates() -> None:
    """What is given is changed, of attributes and toxicity; name, type and stream stay."""
    toxic = parse({"type": "latency", "attributes": {"latency": 10, "jitter": 2}})
    merged = merge(
        toxic, {"attributes": {"JITTER": 3}, "toxicity": 0.25, "stream": "upstream", "name": 7, "type": None}
    )
    assert merged == Toxic("latency_downstream", "latency", "downstream", 0.25, {"latency": 10, "jitter": 3})
    assert merge(merged, None) == merge(merged, {"attributes": None, "toxicity": None}) == merged
    with pytest.raises(Refused, match="toxicity must be"):
        merge(toxic, {"toxicity": []})


def test_what_an_answer_shows() -> None:
    """The fields in the order of the original; a whole toxicity without a fraction."""
    toxic = Toxic("n", "limit_data", "Upstream", 1.0, MappingProxyType({"bytes": 5}))
    shown = {"attributes": {"bytes": 5}, "name": "n", "type": "limit_data", "stream": "Upstream", "toxicity": 1}
    assert list(toxic.json().items()) == list(shown.items())
    assert isinstance(toxic.json()["toxicity"], int)


LATENCY = {"latency": {"delay": "5ms", "direction": "upstream"}}


@pytest.mark.parametrize(
    "rule",
    [
        {"latency": {"delay": "5ms"}},
        {"latency": {"delay": "5us", "direction": "upstream"}},
        {"latency": {"delay": "5ms", "direction": "upstream", "distribution": "normal"}},
        {"bandwidth": {"rate": "5B/s", "direction": "upstream"}},
        {"bandwidth": {"rate": "5kB/s", "direction": "upstream", "per": "proxy"}},
        {**LATENCY, "slow_close": {"delay": "5ms", "direction": "upstream"}},
        {**LATENCY, "stop": True},
        {**LATENCY, "when": {"first": 3}},
        {**LATENCY, "limit": 3},
        {**LATENCY, "expect": {"min": 1}},
        {**LATENCY, "dry_run": True},
        {"reset": {"after": {"time": "5ms", "direction": "upstream"}}, "stop": False},
        {"reset": {"after": {"time": "5ms", "direction": "upstream"}}, "live": True},
        {"reset": {"after": "5ms"}, "live": True, "stop": False},
        {"reset": {"after": {"time": "5ms", "direction": "upstream"}}, "live": True, "stop": False},
        {"reset": {"after": "5ms", "to": "client"}, "live": True, "stop": False},
        {"reset": {"after": "5B"}, "live": True, "stop": False},
        {"close": {"after": {"idle": "5s"}}, "live": True, "stop": False},
        {"blackhole": {"direction": "upstream"}, "close": {"after": {"idle": "5s"}}, "live": True, "stop": False},
        {"blackhole": {"direction": "upstream", "after": "5B"}, "live": True, "stop": False},
        {"hang": None, "live": True, "stop": False},
        {"refuse": None},
        {"pass": None},
    ],
)  # fmt: skip
def test_rules_that_no_toxic_says(rule: dict[str, Any]) -> None:
    """They are shown to nobody as toxics."""
    assert from_rule(Rule.model_validate({"name": "r", **rule})) is None


def test_rules_that_a_user_might_write() -> None:
    """A shape of one direction is a toxic, live or not; 100 % is a toxicity of 1."""
    toxic = Toxic("r", "latency", "upstream", 1.0, {"latency": 5, "jitter": 0})
    for more in ({}, {"live": True}, {"stop": False}, {"when": {"probability": "100%"}}):
        assert from_rule(Rule.model_validate({"name": "r", **LATENCY, **more})) == toxic
