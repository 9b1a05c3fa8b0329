"""Variables in values: what they become, and the errors of those that become nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultproxy.config.variables import CannotExpand, escape, expand, is_variable

SET = {"HOST": "redis", "PORT": "6379", "EMPTY": "", "TRICK": "${HOST}$$", "BAD": "\udcff"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${HOST}:${PORT}", "redis:6379"),
        ("${NONE:-a b}", "a b"),
        ("${HOST:-other}", "redis"),
        ("${EMPTY:-other}", "other"),
        ("${NONE:-}", ""),
        ("${EMPTY}", ""),
        ("$${HOST}", "${HOST}"),
        ("$$$$", "$$"),
        ("a$", "a$"),
        ("$HOST", "$HOST"),
        ("${TRICK}", "${HOST}$$"),
        ("${NONE:-redis:6379}", "redis:6379"),
    ],
)
def test_expand(text: str, expanded: str) -> None:
    """A variable is its value, or its default if it is unset or empty; what it holds is not looked through again."""
    assert expand(text, SET) == expanded


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a${NONE}", "${NONE} is not set; set NONE, or write ${NONE:-default}"),
        ("${BAD}", "${BAD} is not UTF-8; set BAD to text"),
        (
            "x${1}",
            '"${1" begins a variable that is none; write ${NAME} or ${NAME:-default}, or $${ for the text itself',
        ),
        ("${HOST:?no}", '"${HOST:?no" begins'),
        ("${HOST", '"${HOST" begins'),
        ("${}", '"${" begins'),
        ("${NONE:-${HOST}}", '"${NONE:-${HOST" begins'),
        ("${NONE:-$HOST}", '"${NONE:-$HOST" begins'),
    ],
)
def test_cannot_expand(text: str, reason: str) -> None:
    """What is not set, and what is no form of ours, is reported with what to write."""
    with pytest.raises(CannotExpand) as error:
        expand(text, SET)
    assert str(error.value).startswith(reason)


@pytest.mark.parametrize(("text", "alone"), [("${A}", True), ("${A:-1}", True), ("${A}1", False), ("$$", False)])
def test_is_variable(text: str, *, alone: bool) -> None:
    """Whether a value is one variable alone."""
    assert is_variable(text) is alone


@given(st.text("ab${}:-") | st.text())
def test_escaped_text_expands_to_itself(text: str) -> None:
    """So that what is written out is read back the same."""
    assert expand(str(escape(text)), {}) == text


def test_escape() -> None:
    """Values are escaped wherever they stand; keys, in which nothing is expanded, are not."""
    assert escape({"$$": ["${A}", 1, {"b": "a$"}]}) == {"$$": ["$${A}", 1, {"b": "a$"}]}
