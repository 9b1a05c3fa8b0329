"""A rule: a name, conditions, and one or more faults under their own keys."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, StrictStr, create_model, model_validator
from pydantic_core import PydanticCustomError

from faultproxy.faults import CATALOGUE
from faultproxy.faults.base import MODEL, Connect, Ending, Fault
from faultproxy.rules.conditions import Bounds, Count, When


class BaseRule(BaseModel):
    """What every rule has beside its faults."""

    model_config = MODEL

    name: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    when: When = When()
    limit: Count | None = None
    expect: Bounds | None = None
    mode: Literal["enforce", "shadow"] = "enforce"
    stop: StrictBool = False
    live: StrictBool = False

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """The rule's faults, in the catalogue's order."""
        return tuple(fault for kind in CATALOGUE if (fault := getattr(self, _field(kind))) is not None)

    @cached_property
    def connect(self) -> Connect | None:
        """The fault that strikes before the connection exists, if the rule has one."""
        return next((fault for fault in self.faults if isinstance(fault, Connect)), None)

    @cached_property
    def endings(self) -> tuple[Ending, ...]:
        """The rule's endings, each with a trigger of its own."""
        return tuple(fault for fault in self.faults if isinstance(fault, Ending))

    @cached_property
    def holds_verdict(self) -> bool:
        """Whether this rule, once it matches, ends the reading. A shadow never does."""
        return self.mode != "shadow" and self.gives_verdict

    @cached_property
    def gives_verdict(self) -> bool:
        """Whether its faults, or its ``stop``, would end the reading were it carried out."""
        return self.stop or bool(self.faults)

    @cached_property
    def is_outage(self) -> bool:
        """Whether it refuses every connection (while its window is open), so that the listener can be shut.

        The caller knows whether a verdict stands above it.
        """
        only_window = self.when.model_fields_set <= {"window"}
        return self.connect is not None and self.connect.key == "refuse" and only_window and self.limit is None and self.mode != "shadow"

    def dump(self) -> dict[str, Any]:
        """The rule as it would stand in YAML, without what is left at its default."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @model_validator(mode="after")
    def _is_a_rule(self) -> "BaseRule":
        keys = ", ".join(kind.key for kind in CATALOGUE)
        if not self.faults:
            raise PydanticCustomError("no_fault", "has no fault; add one of {keys}", {"keys": keys})
        if self.connect is not None and len(self.faults) > 1:
            others = ", ".join(fault.key for fault in self.faults if fault is not self.connect)
            raise PydanticCustomError(
                "connect",
                "{connect} happens before there is a connection, so {others} can never strike; put it in a rule of its own",
                {"connect": self.connect.key, "others": others},
            )
        if self.live and not (self.endings and self.when.window):
            raise PydanticCustomError("live", "live needs an ending and a window: it strikes open connections when the window opens")
        return self


def _field(kind: type[Fault]) -> str:
    return f"fault_{kind.key}"


def _nothing_is_defaults(value: object) -> object:
    return {} if value is None else value


_FIELDS: Mapping[str, Any] = {
    _field(kind): (Annotated[kind | None, BeforeValidator(_nothing_is_defaults)], Field(default=None, alias=kind.key))
    for kind in CATALOGUE
}
Rule = create_model("Rule", __base__=BaseRule, **_FIELDS)
"""A rule with one optional field for each fault of the catalogue."""
