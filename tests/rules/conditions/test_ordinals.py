"""Which of the connections that a rule counts."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rules.conditions.judging import chosen

PROPERTY = settings(derandomize=True, deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("when", "counts"),
    [
        ({"first": 3}, [1, 2, 3]),
        ({"skip": 9}, [10, 11, 12]),
        ({"nth": 5}, [5]),
        ({"nth": [7, 2]}, [2, 7]),
        ({"every": 4}, [4, 8, 12]),
        ({"every": 1, "first": 2}, [1, 2]),
        ({"skip": 3, "first": 6}, [4, 5, 6]),
        ({"skip": 3, "every": 3}, [6, 9, 12]),
        ({"skip": 2, "first": 10, "every": 2, "nth": [2, 4, 5, 12]}, [4]),
        ({"skip": 3, "first": 3}, []),
    ],
)
def test_ordinals(when: dict[str, Any], counts: list[int]) -> None:
    """first, skip, nth and every choose among the rule's own counts from 1; together, all must hold."""
    assert chosen(when) == counts


COUNT = st.integers(1, 30)


@PROPERTY
@given(
    when=st.fixed_dictionaries(
        {}, optional={"first": COUNT, "skip": COUNT, "nth": st.lists(COUNT, min_size=1), "every": COUNT}
    )
)
def test_ordinals_combine_as_sets(when: dict[str, Any]) -> None:
    """What several ordinals choose is what each of them chooses."""
    each = [set(chosen({key: value}, most=40)) for key, value in when.items()]
    assert set(chosen(when, most=40)) == set(range(1, 41)).intersection(*each)
