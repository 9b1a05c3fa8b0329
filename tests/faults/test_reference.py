import re

import pytest

from faultproxy.config.loader import parse
from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import Fault
from faultproxy.rules.rule import BaseRule
from tests.faults.reference import PAGE, example, page, rows_of


def test_the_page_is_not_stale() -> None:
    """docs/faults.md is what scripts/docs would write."""
    assert PAGE.read_text() == page(), "run scripts/docs"


@pytest.mark.parametrize("fault", CATALOGUE, ids=lambda fault: fault.key)
def test_every_example_is_valid(fault: type[Fault]) -> None:
    """A reader can copy the least that can be written into the rules of a proxy."""
    text = f"proxies: {{p: {{listen: ':0', upstream: 'a:1', rules: [{example(fault).removeprefix('- ')}]}}}}"
    rules: tuple[BaseRule, ...] = parse(text.encode(), "example").proxies["p"].rules
    (rule,) = rules
    assert [one.key for one in rule.faults] == [fault.key]


@pytest.mark.parametrize("fault", CATALOGUE, ids=lambda fault: fault.key)
def test_every_option_is_there(fault: type[Fault]) -> None:
    """Each under the key that a file has, with what it takes."""
    names = [field.alias or name for name, field in fault.model_fields.items()]
    assert sorted(re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", "\n".join(rows_of(fault)), re.MULTILINE)) == sorted(names)
