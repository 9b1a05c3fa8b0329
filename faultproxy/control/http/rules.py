"""/v1/proxies/NAME/rules/RULE: one rule at a time."""

from functools import partial

from faultproxy.config.yaml_tree import Node, plant
from faultproxy.control.edits import delete_rule, put_rule
from faultproxy.control.http.applying import IF_MATCH, apply, etag, offloaded
from faultproxy.control.http.bodies import tree
from faultproxy.control.http.messages import ApiModel, HttpProblem, Request, Response
from faultproxy.control.http.proxies import RuleWithCounts, rule_answers, running
from faultproxy.control.http.router import Route
from faultproxy.control.manager import Manager
from faultproxy.units import quote


class NamedRule(ApiModel):
    """A rule as a file has it; its name, if it is given, is that of the path."""


def routes(manager: Manager) -> tuple[Route, ...]:
    """The routes of this module."""

    async def rule(request: Request) -> Response:
        return _answer(manager, request)

    async def put(request: Request) -> Response:
        proxy, name = request.parameters["name"], request.parameters["rule"]
        value = _named(await offloaded(request, partial(tree, request)), name)
        is_new = name not in running(manager, proxy).rules.states
        await apply(manager, put_rule(proxy, value, request.query.get("before")), request)
        return _answer(manager, request, 201 if is_new else 200)

    async def delete(request: Request) -> Response:
        await apply(manager, delete_rule(request.parameters["name"], request.parameters["rule"]), request)
        return Response(204, headers={"etag": etag(manager)})

    one = "/v1/proxies/{name}/rules/{rule}"
    return (
        Route("GET", one, rule, "A rule, and what it has done.", answer=RuleWithCounts),
        Route(
            "PUT",
            one,
            put,
            "Add a rule, first or before another; or change one, which keeps its place and its counts.",
            body=NamedRule,
            answer=RuleWithCounts,
            query={"before": "The name of the rule before which this one is to stand."},
            headers=IF_MATCH,
        ),
        Route("DELETE", one, delete, "Take a rule away.", headers=IF_MATCH),
    )


def _named(value: object, name: str) -> Node:
    """The rule with its name. Raises HttpProblem (422) if it has another."""
    rule = plant(value)
    if not isinstance(rule.value, dict):
        return rule
    given = rule.value.get("name")
    if given is not None and given.value != name:
        text = f"name: {quote(given.value)} is not the name in the path; write {quote(name)}, or leave the key out"
        where = f"body:{given.place.line}:{given.place.column}: " if given.place.line else ""
        raise HttpProblem(422, "Unprocessable Content", "the rule has another name", [where + text])
    named = {"name": given or Node(rule.place, name, name), **rule.value}
    return Node(rule.place, named, keys=rule.keys)


def _answer(manager: Manager, request: Request, status: int = 200) -> Response:
    name = request.parameters["rule"]
    found = [rule for rule in rule_answers(running(manager, request.parameters["name"])) if rule["name"] == name]
    if not found:
        raise HttpProblem(404, "Not Found", f"there is no rule {quote(name)}")
    return Response.json(found[0], status, {"etag": etag(manager)})
