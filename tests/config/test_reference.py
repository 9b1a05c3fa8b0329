"""docs/configuration.md and the schema beside the examples are what the models say, and every example is valid."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from faultproxy.config.loader import parse
from tests.config.reference import PAGE, ROOT, SCHEMA, SECTIONS, page, schema_file
from tests.locked import need_locked

HINT = "# yaml-language-server: $schema="
PROXY = {"listen": "127.0.0.1:0", "upstream": "a:1"}


def test_the_page_is_not_stale() -> None:
    """It is what scripts/docs would write."""
    assert PAGE.read_text() == page(), "run scripts/docs"


def test_the_schema_is_not_stale() -> None:
    """So that editors tell of what there is."""
    need_locked("pydantic")
    assert SCHEMA.read_text() == schema_file(), "run scripts/docs"


def examples() -> Iterator[tuple[str, str, str]]:
    for title, _, _, values in SECTIONS:
        for key, value in values.items():
            yield title, key, value


@pytest.mark.parametrize(("title", "key", "value"), list(examples()))
def test_every_example_is_valid(title: str, key: str, value: str) -> None:
    """A reader can copy it to where the page says that it belongs."""
    given = f"{key}: {value}"
    proxy = [f"{name}: {address}" for name, address in PROXY.items() if (title, name) != ("A proxy", key)]
    rule = {
        "A rule": given,
        "when": f"when: {{{given}}}",
        "window": f"when: {{window: {{{given if key != 'every' else f'to: 1s, {given}'}}}}}",
        "open_connections, expect": f"expect: {{{given}}}",
    }.get(title, "")
    name = [] if (title, key) == ("A rule", "name") else ["name: r"]
    rules = (
        ""
        if (title, key) == ("A proxy", "rules")
        else f"rules: [{{{', '.join([*name, rule or 'limit: 1', 'close: '])}}}]"
    )
    lines = [*proxy, rules, given if title == "A proxy" else ""]
    body = "".join(f"    {line}\n" for line in lines if line)
    top = {"The file": given, "log": f"log: {{{given}}}"}.get(title, "")
    text = f"{top}\n" + ("" if key == "proxies" else f"proxies:\n  p:\n{body}")
    assert parse(text.encode(), "example").proxies


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda file: file.name)
def test_every_file_names_its_schema(file: Path) -> None:
    """The first line of each example says to editors where the schema lies, seen from the file."""
    first = file.read_text().splitlines()[0]
    assert first.startswith(HINT)
    assert (file.parent / first.removeprefix(HINT)).resolve() == SCHEMA
    assert re.search(rf"^{re.escape(HINT)}", PAGE.read_text(), re.MULTILINE)
