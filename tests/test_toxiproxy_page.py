"""docs/toxiproxy.md: its tables are what the code does."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from faultproxy.control.http.toxiproxy import flags, toxics
from faultproxy.rules.rule import BaseRule, Rule

PAGE = Path(__file__).parent.parent / "docs" / "toxiproxy.md"
ROWS = dict(re.findall(r"^\| `(\w+)` \| (`.*?`) \|", PAGE.read_text(), re.MULTILINE))
TOXICS = {
    "latency": {"latency": 100, "jitter": 20},
    "bandwidth": {"rate": 100},
    "slow_close": {"delay": 500},
    "timeout": {"timeout": 2000},
    "reset_peer": {"timeout": 2000},
    "slicer": {"average_size": 1000, "size_variation": 200, "delay": 10},
    "limit_data": {"bytes": 4096},
    "noop": {},
}


def rule(faults: dict[str, Any]) -> BaseRule:
    return Rule.model_validate({"name": "r", **faults})


@pytest.mark.parametrize(("kind", "attributes"), TOXICS.items())
def test_the_rule_of_a_toxic(kind: str, attributes: dict[str, int]) -> None:
    """The faults in the table are those that a toxic with its numbers becomes."""
    faults: dict[str, Any] = {}
    for text in re.findall(r"`(.*?)`", ROWS[kind]):
        faults |= yaml.safe_load(text)
    toxic = toxics.parse({"type": kind, "attributes": attributes})
    assert rule(faults).faults == rule(toxics.to_rule(toxic)).faults


def test_every_toxic_is_there() -> None:
    """And no other."""
    assert set(TOXICS) == set(toxics.TYPES)
    assert set(TOXICS) == set(ROWS)


def test_every_flag_is_there() -> None:
    """The table has the flags that the command has."""
    shown = re.findall(r"^\| (`-.*?) \|", PAGE.read_text(), re.MULTILINE)
    assert set(re.findall(r"`(-[a-z-]+)", " ".join(shown))) == set(re.findall(r"^  (-\S+)", flags.USAGE, re.MULTILINE))
