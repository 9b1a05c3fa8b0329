"""docs/configuration.md and config/faultproxy.schema.json, written from the models; scripts/docs runs this."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from faultproxy.config.json_schema import json_schema
from faultproxy.config.schema import Config, LogOptions, ProxyConfig
from faultproxy.faults import CATALOGUE
from faultproxy.rules.conditions.client import NETWORK_PATTERN
from faultproxy.rules.conditions.counts import Bounds
from faultproxy.rules.conditions.window import Window
from faultproxy.rules.expect import Expect
from faultproxy.rules.rule import BaseRule
from faultproxy.rules.when import When
from tests.faults.reference import TYPES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / "config" / "faultproxy.schema.json"
ADDRESS = 'address: `127.0.0.1:80` `"[::1]:80"` `:80` `redis:6379` `unix:/path`'

HEAD = """\
# The configuration file

A file is YAML. `faultproxy check FILE` tells all that is wrong in it, each with its place and with what would be right.
This page is written by `scripts/docs` from the models in the code; a test fails when it is stale. What each fault
takes is in [faults.md](faults.md).

```yaml
# yaml-language-server: $schema=faultproxy.schema.json
proxies:
  redis:
    listen: 127.0.0.1:16379
    upstream: ${REDIS:-127.0.0.1:6379}
    rules:
      - name: cold start
        when: {first: 3}
        refuse:
```

- **Quantities carry their unit**: `250us 10ms 1.5s 2m 1h`, `512B 4KiB 1MiB 10kB 1MB`, `64KiB/s 1MB/s 8Mbit/s`, `10%` or `0.1`.
- **Variables**: `${NAME}` in a value is the environment's variable of that name, `${NAME:-default}` the default where it is
  unset or empty, `$$` a dollar. One that is not set is an error with its place. A value that is one variable alone is
  read as a plain value is, so `"${N}"` may be a number; flow style (`{first: "${N}"}`) asks for the quotes. Keys hold no
  variables, and what a variable holds is neither looked through again nor read as YAML.
- **Top-level keys that begin with `x-` are ignored**: a place for anchors (`x-slow: &slow {delay: 100ms}`, then
  `latency: *slow`).
- **IPv6 addresses are quoted**, `"[::1]:80"`: brackets begin a list in YAML.
- **`-` is standard input** for `run`, `check` and `explain`. `run -` reads it once; a file is followed, and a saved change
  takes effect by itself.
- **Editors**: `faultproxy schema > faultproxy.schema.json` writes the JSON Schema, and the first line above, with the path
  from the file to the schema, gives completion, checks, and these sentences, in every editor with the YAML language server.
- **Unix sockets**: `listen: unix:/path` makes the file with mode 0660, replaces one that a dead process left, and removes
  its own at the end; a living socket there is an error. Such a socket has no SYNs, packets or resets: faults that need
  them are degraded, and the log says so. Its clients have no address: no `client` condition matches them, and the log
  calls them `unix:` and the number of their process.
"""

Section = tuple[str, str, type[BaseModel], Mapping[str, str]]
SECTIONS: tuple[Section, ...] = (
    (
        "The file",
        "",
        Config,
        {
            "version": "1",
            "seed": "42",
            "log": "{format: console, level: debug}",
            "api": "127.0.0.1:8474",
            "drain": "5s",
            "memory": "256MiB",
            "proxies": '{redis: {listen: "127.0.0.1:16379", upstream: "redis:6379"}}',
        },
    ),
    ("log", "", LogOptions, {"format": "console", "level": "debug"}),
    (
        "A proxy",
        'Below `proxies`, under a name of at most 200 characters of one line. Quoted it may hold what YAML reads otherwise: `"shop: orders #2"`.',
        ProxyConfig,
        {
            "listen": "127.0.0.1:16379",
            "upstream": "redis:6379",
            "dial_timeout": "2s",
            "peek_timeout": "200ms",
            "max_connections": "4096",
            "keepalive": "off",
            "accept_proxy": "true",
            "send_proxy": "v2",
            "enabled": "false",
            "rules": "[{name: cold start, when: {first: 3}, refuse: }]",
        },
    ),
    (
        "A rule",
        "An item of `rules`: a name, conditions, and one or more faults, each under its own key.",
        BaseRule,
        {
            "name": "cold start",
            "when": "{first: 3}",
            "limit": "20",
            "expect": "{min: 1, max: 5}",
            "dry_run": "true",
            "stop": "true",
            "live": "true",
        },
    ),
    (
        "when",
        "A rule counts the connections that meet all but `first` to `probability`, which choose among those it counts.",
        When,
        {
            "client": '[10.0.0.0/8, "::1"]',
            "destination": "10.0.0.0/8",
            "port": "[5432, 6379]",
            "window": "{from: 30s, to: 45s, every: 1m}",
            "open_connections": "{min: 10}",
            "connection": "17",
            "starts_with": '"GET /admin"',
            "matches": '"(?i)drop +table"',
            "sni": '"*.example.com"',
            "first": "3",
            "skip": "3",
            "nth": "[2, 5]",
            "every": "3",
            "probability": "10%",
        },
    ),
    ("window", "", Window, {"from": "30s", "to": "45s", "every": "1m"}),
    ("open_connections", "At least one of the two.", Bounds, {"min": "1", "max": "5"}),
    (
        "expect",
        "At least one of them. What clients do is judged as [the report](testing-your-retries.md) tells it.",
        Expect,
        {
            "min": "1",
            "max": "5",
            "backoff": "exponential",
            "recovery": "{max: 5s}",
            "attempts": "{max: 10}",
        },
    ),
)


def page() -> str:
    """All of it."""
    return "\n".join([HEAD, *(section(*each) for each in SECTIONS)])


def section(title: str, text: str, model: type[BaseModel], examples: Mapping[str, str]) -> str:
    """One heading and its table; a rule's ends with its faults."""
    head = [f"## {title}", "", *([text, ""] if text else [])]
    table = ["| key | takes | default | what it is | example |", "| --- | --- | --- | --- | --- |"]
    faults = []
    if model is BaseRule:
        links = ", ".join(f"[{kind.key}](faults.md#{kind.key})" for kind in CATALOGUE)
        faults = [f"And one or more faults: {links}.", ""]
    return "\n".join([*head, *table, *rows(model, examples), "", *faults])


def rows(model: type[BaseModel], examples: Mapping[str, str]) -> Iterator[str]:
    """A row for each key, in the order of the model."""
    schema = model.model_json_schema()
    defaults = model.model_construct().model_dump(mode="json", by_alias=True, warnings=False)
    for key, option in schema["properties"].items():
        sentence = option["description"].split("\n\n")[0].replace("``", "`").replace("\n", " ").replace("|", "\\|")
        given = "required" if key in schema.get("required", ()) else default(defaults[key])
        example = f"`{key}: {examples[key]}`".replace("|", "\\|")
        yield f"| `{key}` | {takes(option, schema.get('$defs', {}))} | {given} | {sentence} | {example} |"


def default(value: object) -> str:
    """What stands for a key that is left out."""
    if value is None or value in ((), [], {}):
        return "—"
    if isinstance(value, Mapping):
        return f"`{json.dumps(dict(value)).replace(chr(34), '')}`" if any(value.values()) else "—"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def takes(option: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """The values of a key."""
    return " or ".join(dict.fromkeys(_ways(option, definitions)))


def _ways(option: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in option:
        name = option["$ref"].rpartition("/")[2]
        yield from {
            "BaseWhen": ["[conditions](#when)"],
            "Window": ["[a mapping](#window)"],
            "Expect": ["[a mapping](#expect)"],
        }.get(name, _ways(definitions[name], definitions))
    elif "anyOf" in option and option.get("type") != "object":
        for way in option["anyOf"]:
            yield from _ways(way, definitions)
    elif "enum" in option or "const" in option:
        yield " or ".join(f"`{value}`" for value in option.get("enum", [option.get("const")]))
    elif option.get("pattern", "") in TYPES:
        yield TYPES[option["pattern"]]
    elif option.get("pattern") == NETWORK_PATTERN:
        yield "address or network"
    elif "HOST" in option.get("description", "") or option.get("pattern", "").startswith(("^unix", "^(?:(?:(?:25")):
        yield ADDRESS
    elif option.get("type") == "array":
        yield f"a list{'' if option['items'].get('type') == 'object' or '$ref' in option['items'] else ' of them'}"
    elif option.get("type") == "object":
        keys = option.get("properties", {})
        yield f"a mapping with {', '.join(f'`{key}`' for key in keys)}" if keys else "a mapping"
    elif option.get("type") in {"integer", "boolean", "string"}:
        yield {"integer": "a whole number", "boolean": "`true` or `false`", "string": "text"}[option["type"]]


def schema_file() -> str:
    """What `faultproxy schema` prints."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    SCHEMA.write_text(schema_file())
