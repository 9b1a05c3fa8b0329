import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from faultproxy.config.json_schema import example, json_schema, valid_keys
from faultproxy.config.loader import ConfigError, parse
from faultproxy.config.yaml_tree import Unreadable, read_tree
from faultproxy.faults import CATALOGUE

CORPUS = Path(__file__).parent / "corpus"
VALIDATOR = Draft202012Validator(json_schema())

# What JSON Schema cannot say: the list in the docstring of json_schema, as the loader words it.
LOADER_ONLY = (
    "(accept_proxy)",
    "already names the rule",
    "listens already",
    "is never open",
    "closes after its period",
    "repeats too often",
    "holds for no count",
    "is not a whole number of bytes",
    "is longer than a century",
    "is larger than 8 PiB",
    "is too large; write one up to 65535",
    "is not an IPv6 address",
    "is not an IP network",
    "has bits beyond its prefix",
    "never matches",
    "bytes long",
    "is more than 8 PiB/s",
    "needs exactly one of probability and at",
    "looks at what it says",
    "is not a regular expression",
    "which no search in linear time can do",
    "repeats more than 1000 times",
    "takes too many steps",
    "matches the empty text",
    "looks at bytes beside the match",
    "is longer than the 4 KiB that are looked at",
    "is no time that the kernel takes",
    "is too little to carry bytes",
    "itself listens",
    "is a circle",
    "is where the kernel has led a client away from",
    "is not set",
)


def errors_of(data: Any) -> tuple[str, ...]:
    """The loader's errors in a value, which is handed to it as JSON."""
    try:
        parse(json.dumps(data).encode(), "f")
    except ConfigError as error:
        return error.errors
    return ()


def assert_agreed(data: Any) -> None:
    """The schema accepts what the loader accepts, and refuses what the loader refuses for a reason that it can say."""
    errors = errors_of(data)
    complaints = [error.message for error in VALIDATOR.iter_errors(data)]
    if not errors:
        assert not complaints
    if not all(any(phrase in line for phrase in LOADER_ONLY) for line in errors):
        assert complaints, errors


def proxy(**settings: Any) -> dict[str, Any]:
    return {"proxies": {"p": {"listen": ":1", "upstream": "a:1", **settings}}}


def rule(**settings: Any) -> dict[str, Any]:
    return proxy(rules=[{"name": "r", **settings}])


GOOD = [
    *(
        {"proxies": {name: {"listen": ":1", "upstream": "a:1"}}}
        for name in ("a b", "redis:6379", "shop/orders#2", ".b")
    ),
    proxy(rules=None),
    proxy(rules=[]),
    rule(refuse=None),
    rule(reset={}, close={"after": "2s"}, when={"window": {"from": "1s"}}, live=True),
    rule(reset={}, live=True),
    rule(latency={"delay": "1s"}, live=True),
    rule(reset={}, live=True, when={"first": 3}),
    rule(reset={"after": {"idle": "60s"}}, stop=False),
    rule(reset={"after": {"match": "x", "nth": 3}}, stop=True),
    rule(latency={"delay": "1s"}, stop=False),
    rule(bandwidth={"rate": "1MB/s", "per": "proxy"}, loss={"probability": "1%", "direction": "downstream"}),
    rule(refuse={}, stop=True, limit=3, expect={"min": 1}),
    rule(reset={"after": {"bytes": "4KiB", "direction": "upstream"}}),
    rule(latency={"delay": "1s"}, slice={"size": "4KiB"}, corrupt={"at": [1]}, bandwidth={"rate": "1MB/s"}),
    rule(reset=None, when={"client": ["10.0.0.0/8", "::1"], "nth": 3, "connection": [1, 2], "probability": 0.1}),
    proxy(max_connections=4096, keepalive="off"),
    {"memory": "256MiB", **proxy(keepalive="2m")},
    proxy(listen="[fe80::1%eth0]:80", upstream="unix:/run/redis.sock", peek_timeout="0s"),
    proxy(listen="unix:/run/proxy.sock"),
    rule(reset={}, when={"starts_with": "GET /", "matches": "a+", "sni": "*.example.com"}),
    rule(latency={"delay": "1s"}, when={"starts_with": {"hex": "16 03"}, "sni": ["a.com", "b.*"], "first": 3}),
    proxy(rules=[{"name": "r", "refuse": {}}, {"name": "q", "when": {"starts_with": "GET"}, "pass": {}}]),
    {"x-shared": [1, {"a": None}], "x-": None, **proxy()},
]


def test_is_a_schema() -> None:
    """The schema is one, says of which draft, and JSON holds it."""
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("key", [kind.key for kind in CATALOGUE])
def test_faults_are_described(key: str) -> None:
    """Each fault has the first line of its docstring, where an editor shows it."""
    described = json_schema()["$defs"]["Rule"]["properties"][key]["description"]
    assert described
    assert "\n" not in described
    assert "``" not in described


def test_every_key_is_described() -> None:
    """Each key has a sentence, where an editor shows it: of the file, a proxy, a rule, its conditions and faults."""
    schema = json_schema()
    reported = [
        (name, key, option.get("description", ""))
        for name, definition in {"": schema, **schema["$defs"]}.items()
        for alternative in (definition, *definition.get("anyOf", ()))
        for key, option in alternative.get("properties", {}).items()
    ]
    assert len(reported) > 80
    assert [one for one in reported if not one[2] or one[2].splitlines() != [one[2]] or "``" in one[2]] == []


def bad_values() -> list[Any]:
    """The values of the loader's corpus; a text that YAML itself refuses has none."""
    head = "proxies:\n  p:\n    listen: :1\n    upstream: b:2\n"
    heads = {"file.txt": "", "proxy.txt": head, "rule.txt": f"{head}    rules:\n      - "}
    values = []
    for name, before in heads.items():
        for block in (CORPUS / name).read_text().removesuffix("\n").split("\n\n"):
            try:
                root, problems = read_tree(before + block.partition("\n-> ")[0])
            except Unreadable:
                continue
            if not problems and "3.0" not in block and "\\n" not in block:
                values.append(root.plain())
    return values


@pytest.mark.parametrize("data", bad_values())
def test_corpus(data: Any) -> None:
    """What the loader refuses, the schema refuses, as far as it can say it."""
    assert_agreed(data)


@pytest.mark.parametrize("data", GOOD)
def test_good_values(data: Any) -> None:
    """What the loader accepts, the schema accepts."""
    assert not errors_of(data)
    assert VALIDATOR.is_valid(data)


@pytest.mark.parametrize(
    "data",
    [
        rule(),
        rule(refuse=None, reset=None),
        rule(slice={"size": "0B"}),
        rule(bandwidth={"rate": "1MB/s", "burst": "0.0KiB"}),
        rule(refuse={}, live=True, when={"window": {"to": "1s"}}),
        rule(slow_connect={"delay": "1s"}, live=True),
        rule(refuse={}, stop=False),
        rule(latency={"delay": "1s"}, stop=False, **{"pass": {}}),
        rule(reset={"after": {"idle": "0s"}}),
        rule(reset={"after": {"idle": "1s", "nth": 2}}),
        rule(reset={"after": {"nth": 2}}),
        rule(reset={"after": {"match": "x", "nth": 0}}),
        rule(reset={}, stop=None),
        rule(reset={}, when=None),
        rule(reset={}, limit=None),
        rule(reset={"after": {}}),
        rule(reset={"after": {"bytes": "1B", "time": "1s"}}),
        rule(reset={"after": None}),
        rule(reset={}, when={"window": {"every": "1m"}}),
        rule(reset={}, when={"window": {"to": "0.0s"}}),
        rule(reset={}, when={"probability": "٤%"}),
        rule(reset={}, expect={}),
        rule(refuse={}, when={"starts_with": "GET"}),
        rule(refuse={}, when={"matches": "GET", "first": 1}),
        rule(refuse={}, dry_run=True, when={"sni": "a.com"}),
        rule(reset={}, when={"starts_with": {"hex": "16 0"}}),
        rule(reset={}, when={"starts_with": {"text": "GET"}}),
        rule(reset={}, when={"starts_with": "n" * 4097}),
        rule(reset={}, when={"starts_with": {"hex": "00 " * 4097}}),
        rule(reset={}, when={"sni": []}),
        rule(reset={}, when={"sni": ["a b"]}),
        rule(reset={}, when={"sni": "n" * 254}),
        rule(reset={}, when={"matches": ""}),
        proxy(peek_timeout=1),
        proxy(max_connections=0),
        proxy(keepalive=60),
        proxy(keepalive=None),
        {"memory": 256, **proxy()},
        proxy(listen="5432:54"),
        proxy(enabled="on"),
        *(
            {"proxies": {name: {"listen": ":1", "upstream": "a:1"}}}
            for name in ("", ".", "..", "a ", "a\tb", "x" * 201)
        ),
        {"proxies": {" a b": {"listen": ":1", "upstream": "a:1"}}},
        {"version": True, **proxy()},
    ],
)
def test_bad_values(data: Any) -> None:
    """What the schema can say, it refuses as the loader does."""
    assert errors_of(data)
    assert not VALIDATOR.is_valid(data)


TEXTS = (
    *(
        "",
        "4KiB",
        "0B",
        "2s",
        "0s",
        "1.5ms",
        "10%",
        "101%",
        "on",
        "both",
        "client",
        "upstream",
        "json",
        "off",
        "256MiB",
        "r",
        "q",
    ),
    *("GET ", "16 03", "a+", "a*", "(", "*.example.com", "a b"),
    *(":1", ":0", "a:1", "a:0", "1:2", "1.2.3.4:5", "1.2.3:4", "[::1]:1", "unix:/a", "10.0.0.0/8", "::1", "10.0.0.1/8"),
)
KEYS = (
    *("listen", "upstream", "dial_timeout", "enabled", "rules", "seed", "log", "drain", "version", "p", "a b", "x"),
    *(
        "name",
        "when",
        "limit",
        "expect",
        "dry_run",
        "stop",
        "live",
        "direction",
        "after",
        "bytes",
        "time",
        "idle",
        "to",
        "from",
    ),
    *(
        "client",
        "window",
        "open_connections",
        "connection",
        "first",
        "skip",
        "nth",
        "every",
        "probability",
        "min",
        "max",
    ),
    *("peek_timeout", "max_connections", "keepalive", "memory", "starts_with", "matches", "sni", "hex", "text"),
    *(kind.key for kind in CATALOGUE),
    *(option for kind in CATALOGUE for option in kind.model_fields),
)
NUMBERS = st.integers(-1, 3) | st.sampled_from([0.5, 1.5, 2**63, 10**16])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2),
    max_leaves=3,
)


def mappings(value: Any) -> list[dict[str, Any]]:
    """Every mapping in a value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [*([value] if isinstance(value, dict) else []), *(found for child in inner for found in mappings(child))]


@st.composite
def nearly_good(draw: st.DrawFn) -> Any:
    """A good value with one or two keys changed, added or left out, anywhere in it."""
    data = deepcopy(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 2))):
        mapping = draw(st.sampled_from(mappings(data) or [{}]))
        key = draw(st.sampled_from([*mapping, *KEYS]))
        if draw(st.booleans()):
            mapping[key] = draw(VALUES)
        else:
            mapping.pop(key, None)
    return data


@settings(max_examples=500, derandomize=True, deadline=None)
@given(nearly_good())
def test_agreement(data: Any) -> None:
    """Of files that are nearly right, the schema and the loader think alike."""
    assert_agreed(data)


@pytest.mark.parametrize(
    "data",
    [
        proxy(listen="127.0.0.1:${PORT}", max_connections="${MOST}", enabled="${ON}", dial_timeout="${T:-5}s"),
        rule(reset={"to": "${SIDE}"}, when={"first": "${N}", "probability": "${P}", "nth": ["${N}", 3]}),
        rule(hang={"acks": "${ACKS:-true}"}, live="${LIVE}", expect={"min": "${N}"}),
        {"seed": "${SEED}", "version": "${V}", "log": {"level": "${LEVEL:-info}"}, **proxy()},
    ],
)
def test_variables(data: Any) -> None:
    """A variable may stand in every value, whatever its type."""
    VALIDATOR.validate(data)


def test_lookups() -> None:
    """What may stand at a path is found through lists, names and alternatives."""
    rule_path = ("proxies", "any", "rules", 3)
    assert valid_keys(("log",)) == ["format", "level"]
    assert set(valid_keys((*rule_path, "reset", "after"))) >= {"bytes", "time", "direction"}
    assert valid_keys((*rule_path, "refuse")) == []
    assert example((*rule_path, "when", "client", 0)) == "10.0.0.0/8"
    assert example((*rule_path, "nothing", "here")) is None
