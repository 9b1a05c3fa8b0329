"""Conditions on the client's first bytes hold, do not, or are not known yet."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from faultproxy.rules.conditions.base import Condition
from faultproxy.rules.conditions.first_bytes import Matches, ServerName, StartsWith
from faultproxy.rules.facts import MOST_FIRST_BYTES, ConnectionFacts, Reading
from faultproxy.rules.rule import Rule
from faultproxy.rules.rule_set import RuleSet
from tests.rules.conditions.judging import state
from tests.rules.test_client_hello import client_hello

PROPERTY = settings(derandomize=True, deadline=None, max_examples=200)


def prefix(value: object) -> StartsWith:
    return StartsWith.model_validate(value)


def said(first_bytes: bytes, *, heard_all: bool = False) -> ConnectionFacts:
    return ConnectionFacts(1, "127.0.0.1", 0.0, 1, first_bytes, heard_all)


def holds(condition: Condition, first_bytes: bytes) -> bool | None:
    return condition.holds(said(first_bytes), state())


def heard(when: dict[str, Any], first_bytes: bytes, *, heard_all: bool = False) -> str:
    """Whether the conditions hold, need more bytes, or which of them does not hold."""
    rules = RuleSet.open("redis", 42, [Rule.model_validate({"name": "r", "when": when, "reset": {}})], 0.0)
    facts = said(first_bytes, heard_all=heard_all)
    if rules.needs_more_bytes(facts):
        return "waits"
    reading = Reading(rules.rules)
    rules.decide(facts._replace(reading=reading))
    missed = reading.said()["r"].missed
    return "holds" if missed is None else missed.key


@pytest.mark.parametrize(
    ("wanted", "first_bytes", "is_met"),
    [
        ("GET ", b"", None),
        ("GET ", b"GE", None),
        ("GET ", b"GET ", True),
        ("GET ", b"GET /admin", True),
        ("GET ", b"P", False),
        ("GET ", b"GEX", False),
        ("GET ", b"get ", False),
        ("é", b"\xc3", None),
        ("é", b"\xc3\xa9", True),
        ("é", b"\xe9", False),
        ({"hex": "16 03"}, b"\x16", None),
        ({"hex": "16 03"}, b"\x16\x03\x01", True),
        ({"hex": "1603"}, b"\x16\x04", False),
        ({"hex": "fF 00 "}, b"\xff\x00", True),
    ],
)
def test_starts_with(wanted: object, first_bytes: bytes, is_met: bool | None) -> None:
    """Decided at the first byte that differs, or at the last that is asked for; text stands for its UTF-8."""
    assert holds(prefix(wanted), first_bytes) is is_met


@PROPERTY
@given(st.binary(min_size=1, max_size=6), st.binary(max_size=8))
def test_starts_with_is_decided_once(wanted: bytes, first_bytes: bytes) -> None:
    """What is decided stays so whatever else comes, and is what the whole first_bytes says."""
    answers = [holds(prefix({"hex": wanted.hex()}), first_bytes[:end]) for end in range(len(first_bytes) + 1)]
    assert all(later == earlier for earlier, later in pairwise(answers) if earlier is not None)
    assert answers[-1] is True or not first_bytes.startswith(wanted)
    differs = next((at for at, (one, other) in enumerate(zip(wanted, first_bytes, strict=False)) if one != other), None)
    assert (answers[-1] is False) == (differs is not None)
    assert differs is None or answers[: differs + 2] == [None] * (differs + 1) + [False]


@pytest.mark.parametrize("value", ["GET ", "é", {"hex": "16 03"}])
def test_written_as_read(value: object) -> None:
    """A prefix is written as it stood in the file."""
    assert prefix(value).model_dump() == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "n" * (MOST_FIRST_BYTES + 1),
        "é" * (MOST_FIRST_BYTES // 2 + 1),
        {"hex": "00" * (MOST_FIRST_BYTES + 1)},
        {"hex": "0"},
    ],
)
def test_no_prefix(value: object) -> None:
    """No bytes, more than are looked at, and what is not hexadecimal are errors."""
    with pytest.raises(ValidationError):
        prefix(value)


def test_longest_prefix() -> None:
    """As many bytes as are looked at may be asked for."""
    assert holds(prefix("n" * MOST_FIRST_BYTES), b"n" * MOST_FIRST_BYTES) is True


@pytest.mark.parametrize(
    ("pattern", "first_bytes", "found"),
    [
        ("^GET /admin", b"GET /admin HTTP/1.1", True),
        ("^GET /admin", b"PUT /", None),
        (r"user=\d+", b"POST /?user=17", True),
        (r"user=\d+", b"POST /?user=", None),
        ("é", "é".encode(), True),
        (r"\x00\xff", b"\x00\xff", True),
        ("a", b"", None),
    ],
)
def test_matches(pattern: str, first_bytes: bytes, found: bool | None) -> None:
    """It holds as soon as the expression is found anywhere; until then more may come."""
    assert holds(Matches.model_validate(pattern), first_bytes) is found


@pytest.mark.parametrize(
    ("patterns", "name", "is_met"),
    [
        (("db.example.com",), "db.example.com", True),
        (("DB.Example.COM",), "db.example.com", True),
        (("db.example.com",), "DB.EXAMPLE.com", True),
        (("*.example.com",), "db.example.com", True),
        (("*.example.com",), "a.b.example.com", True),
        (("*.example.com",), "example.com", False),
        (("a.com", "d?.example.*"), "db.example.com", True),
        (("*",), None, False),
    ],
)
def test_names(patterns: tuple[str, ...], name: str | None, is_met: bool) -> None:
    """One of the names must fit, without regard to case; a client that names nobody fits none, not even ``*``."""
    hello = client_hello(name)
    condition = ServerName.model_validate(list(patterns))
    assert holds(condition, hello) is is_met
    assert holds(condition, hello[:20]) is None
    assert holds(condition, b"GET / HTTP/1.1") is False


def test_all_must_hold() -> None:
    """A rule waits only while what is missing could still come: one condition that fails decides."""
    both = {"starts_with": "GET /", "matches": "admin"}
    assert heard(both, b"") == "waits"
    assert heard(both, b"GET /") == "waits"
    assert heard(both, b"GET /admin") == "holds"
    assert heard(both, b"PUT /admin") == "starts_with"
    assert heard(both, b"PUT") == "starts_with"
    assert heard({"starts_with": "GET", "sni": "*"}, b"GET") == "sni"


def test_nothing_more_comes() -> None:
    """What is not decided when all was heard does not hold."""
    assert heard({"starts_with": "GET"}, b"GE", heard_all=True) == "starts_with"
    assert heard({"matches": "admin"}, b"GET /", heard_all=True) == "matches"
    assert heard({"sni": "*"}, client_hello("a.com")[:50], heard_all=True) == "sni"
    assert heard({"starts_with": "GET"}, b"", heard_all=True) == "starts_with"


@PROPERTY
@given(st.binary(max_size=200))
def test_any_bytes(first_bytes: bytes) -> None:
    """No bytes make a condition fail to answer."""
    assert heard({"starts_with": "a", "matches": "b", "sni": "*"}, first_bytes, heard_all=True) in (
        "starts_with",
        "matches",
        "sni",
        "holds",
    )
