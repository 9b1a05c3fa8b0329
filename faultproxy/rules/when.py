"""``when``: the conditions of a rule."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, create_model

from faultproxy.faults.base import YamlModel
from faultproxy.rules.conditions import CONDITIONS
from faultproxy.rules.conditions.base import Condition


class BaseWhen(YamlModel):
    """Conditions; all that are given must hold. ``first`` to ``every`` and ``probability`` choose among the counted."""

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """Those that are given, in the order in which they are judged."""
        given = (getattr(self, kind.key) for kind in CONDITIONS)
        return tuple(sorted((one for one in given if one is not None), key=lambda one: one.stage))


def _field(kind: type[Condition]) -> tuple[Any, None]:
    """What the condition is, is what its docstring says first."""
    return Annotated[kind | None, Field(default=None, description=kind.__doc__)], None


_FIELDS: Mapping[str, Any] = {kind.key: _field(kind) for kind in CONDITIONS}
When = create_model("When", __base__=BaseWhen, __doc__=BaseWhen.__doc__, **_FIELDS)
"""Conditions, with one optional field for each of the catalogue."""
