"""What is a regular expression here, and what would be right where a text is none."""

import pytest
from pydantic import TypeAdapter, ValidationError

from faultproxy.faults.pattern import Pattern, Regex

PATTERN: TypeAdapter[str] = TypeAdapter(Pattern)


@pytest.mark.parametrize(
    "text", ["abc$", "abc\\b", "\\Babc", "abc\\Z", "abc(?!d)", "abc(?=d)", "(?<=z)abc", "(?<!z)abc"]
)
def test_what_is_beside_a_match_cannot_be_asked(text: str) -> None:
    """It may come later, and then what matches would depend on the segments."""
    with pytest.raises(ValidationError, match="looks at bytes beside the match"):
        PATTERN.validate_python(text)


@pytest.mark.parametrize(
    "text", ["a[$]", "a\\$", "[]$]a", "[^]$]a", "a\\\\b", "(?P<n>a)", "\\Qa$\\E", "(?:a)", "a(?i:b)", "[\\]$]a"]
)
def test_what_only_looks_like_it(text: str) -> None:
    """Escaped, or in a class, these are characters like others."""
    assert PATTERN.validate_python(text) == text


@pytest.mark.parametrize("text", ["a*", "x?", "|a", "(?:)", "()|b"])
def test_the_empty_text_matches_nothing(text: str) -> None:
    """An expression that needs no byte would match before there is one."""
    with pytest.raises(ValidationError, match="needs at least one byte"):
        PATTERN.validate_python(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("(", r"is not a regular expression: missing \): \(; correct it, or put \\ before what stands for itself"),
        ("[", r"missing \]: \[; correct it"),
        ("a**", r"bad repetition operator: \*\*; correct it"),
        ("(?x) a", r"invalid perl operator: \(\?x; correct it"),
        (r"(a)\1", r"uses \\1, which no search in linear time can do; write an expression without it"),
        ("(?P<n>a)(?P=n)", r"uses \(\?P, which"),
        ("(?>a)b", r"uses \(\?>, which"),
        ("a++b", r"uses \+\+, which"),
        ("(a)(?(1)b)", r"uses \(\?\(, which"),
        ("a{2000}", r"repeats more than 1000 times, \{2000\}; write a smaller count, or \+ for any"),
        ("(?:a{500}){3}", r"repeats more than 1000 times, \{3\}; write a smaller count"),
        ("a{600}b", "takes too many steps for each byte; write smaller counts, or fewer alternatives"),
        ("(?:[a-z]{900}){1}b{900}c{900}d{900}e{900}f{900}", "takes too many steps for each byte"),
    ],
)
def test_what_is_not_an_expression(text: str, error: str) -> None:
    """What cannot be understood, or not be run in linear time, is an error that says what would be right."""
    with pytest.raises(ValidationError, match=error):
        PATTERN.validate_python(text)


@pytest.mark.parametrize("text", ["", 5, None, "a" * 1001, b"a"])
def test_what_is_not_text(text: object) -> None:
    """An expression is text of 1 to 1000 characters."""
    with pytest.raises(ValidationError):
        PATTERN.validate_python(text)


@pytest.mark.parametrize(
    ("text", "data", "span"),
    [
        ("é+", "né".encode(), (1, 3)),
        ("[é]", b"\xc3", (0, 1)),
        (r"\xff.", b"a\xff\x00", (1, 3)),
        ("a.b", b"a\nb", None),
        ("(?s)a.b", b"a\nb", (0, 3)),
        (r"\w+", "é1".encode(), (2, 3)),
        ("a{5", b"a{5", (0, 3)),
    ],
)
def test_an_expression_is_over_bytes(text: str, data: bytes, span: tuple[int, int] | None) -> None:
    """Text outside ASCII stands for its UTF-8, a dot for any byte but the end of a line."""
    assert Regex(text).find(data) == span


def test_only_a_part_is_searched() -> None:
    """From a start to an end; ^ still means the beginning of all."""
    assert Regex("a").find(b"abca", 1) == (3, 4)
    assert Regex("a").find(b"abca", 1, 3) is None
    assert Regex("^a").find(b"aa", 1) is None
    assert Regex("(?m)^a").find(b"\na", 1) == (1, 2)
