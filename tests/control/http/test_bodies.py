"""Bodies are JSON, or YAML where the Content-Type says so; what cannot be read is told with its place."""

import pytest

from faultproxy.control.http.bodies import body
from faultproxy.control.http.messages import HttpProblem, Request

YAML = "application/yaml; charset=utf-8"


def of(data: bytes, content_type: str | None = None) -> object:
    headers = {} if content_type is None else {"content-type": content_type}
    return body(Request("PUT", "/", headers=headers, body=data))


def errors(data: bytes, content_type: str | None = None) -> tuple[str, ...]:
    with pytest.raises(HttpProblem) as refused:
        of(data, content_type)
    assert refused.value.status == 400
    return refused.value.errors


@pytest.mark.parametrize("kind", ["application/yaml", "text/x-yaml", YAML, "Application/YAML"])
def test_yaml_is_read_as_a_file_is(kind: str) -> None:
    """In whatever type of YAML's: `on` is text, and 010 too."""
    assert of(b"a: {after: 4KiB}\nb: [1, on, 010, null]", kind) == {"a": {"after": "4KiB"}, "b": [1, "on", "010", None]}


@pytest.mark.parametrize("kind", [None, "application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_all_else_is_json(kind: str | None) -> None:
    """Also what curl sends without a Content-Type of one's own."""
    assert of(b'{"a": {"b": [1, 2.5, "\\u00e9", null, true]}}', kind) == {"a": {"b": [1, 2.5, "é", None, True]}}
    assert of(b'"\\ud83d\\ude00 \\\\ud83d"', kind) == "\U0001f600 \\ud83d"


@pytest.mark.parametrize(
    ("data", "kind", "error"),
    [
        (b'{"a": 1,\n "b" 2}', None, "body:2:6: this is not JSON: Expecting ':' delimiter"),
        (b"", None, "body: is empty; send JSON, or YAML with Content-Type: application/yaml"),
        (b" \n", YAML, "body: is empty; send YAML"),
        (b"{\xff}", None, "body: byte 2 is not UTF-8; send UTF-8"),
        (b'{"a": NaN}', None, "body: NaN is not JSON; write a number"),
        (b'{"a": {"b": 1, "b": 2}}', None, 'body: "b" stands twice in one object; write it once'),
        (b"[" * 66 + b"]" * 66, None, "body: is nested deeper than 64 levels; send something flatter"),
        (b"[" * 100_000, None, "body: is nested deeper than 64 levels; send something flatter"),
        (b"a: 1\nb: [", YAML, "body:3:1: this is not YAML: "),
        (b"a: 1\na: 2", YAML, 'body:2:1: "a" '),
        (b"[" * 100_000, YAML, "body:1:66: is nested deeper than 64 levels; write it flatter"),
        (b"a: " + b"b" * 2**20, YAML, "body: is larger than 1 MiB of YAML; send less, or JSON"),
        (b"[" + b"0," * 200_000 + b"0]", None, "body: holds more than 200000 values; send fewer"),
        (b"[" + b"9" * 5000 + b"]", None, "body: holds a number that is too long; write a shorter one"),
        (b'{"a": "x\\uD83d"}', None, 'body: "\\ud83d" is half of a pair of surrogates; write the whole character'),
        (b'{"\\ude00": 1}', None, 'body: "\\ude00" is half of a pair of surrogates; write the whole character'),
    ],
    ids=range(16),
)
def test_what_cannot_be_read_says_where(data: bytes, kind: str | None, error: str) -> None:
    """And what would be right."""
    (found, *_) = errors(data, kind)
    assert found.startswith(error)
