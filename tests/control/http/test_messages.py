"""Answers have the type of what they hold."""

import json

from faultproxy.control.http.messages import HttpProblem, Response


def test_json_and_text_say_what_they_are() -> None:
    """And keep the headers that are given."""
    answer = Response.json({"a": 1}, 201, {"etag": '"1"'})
    assert (answer.status, answer.body, answer.headers["etag"]) == (201, b'{"a":1}', '"1"')
    assert answer.headers["content-type"] == "application/json"
    assert Response.text("é").body.decode() == "é"


def test_a_problem_leaves_out_what_it_has_not() -> None:
    """Title and status are always there (RFC 9457)."""
    answer = HttpProblem(404, "Not Found", headers={"allow": "GET"}).response()
    assert json.loads(answer.body) == {"title": "Not Found", "status": 404}
    assert answer.headers == {"allow": "GET", "content-type": "application/problem+json"}
    assert json.loads(HttpProblem(400, "Bad", "why", ["a", "b"]).response().body)["errors"] == ["a", "b"]
