"""expect: how often a rule's faults should be injected, and what the clients should do about them."""

from typing import Any

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from faultproxy.faults.base import YamlModel
from faultproxy.report.backoff import Policy
from faultproxy.rules.conditions.counts import Bounds
from faultproxy.units import Duration


class Longest(YamlModel):
    """A time of at most ``max``."""

    max: Duration
    """At most so long."""


class Expect(Bounds):
    """How often faults should be injected, from ``min`` to ``max``, and what each client that they fail should do."""

    backoff: Policy | None = None
    """How it should wait between its attempts."""
    recovery: Longest | None = None
    """How long it may take from its first failure to the attempt that is served."""
    attempts: Bounds | None = None
    """How many attempts it should make in one episode, the first and the one that is served included."""

    @property
    def is_of_clients(self) -> bool:
        """Whether it says what clients should do."""
        return self.backoff is not None or self.recovery is not None or self.attempts is not None

    @model_validator(mode="after")
    def _are_bounds(self) -> Any:
        if not self.model_fields_set:
            raise PydanticCustomError("bounds", "is empty; add min, max, backoff, recovery or attempts")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise PydanticCustomError("bounds", "holds for no count; write a min that is not larger than max")
        return self
