"""window: when the connection comes."""

from functools import cached_property
from math import inf
from typing import ClassVar

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from faultproxy.faults.base import YamlModel
from faultproxy.rules.conditions.base import Condition
from faultproxy.rules.facts import ConnectionFacts, RuleState
from faultproxy.units import Duration, PositiveDuration, format_duration

_SHORTEST_PERIOD_S = 0.01
_TICKS_PER_S = 1_000_000


class Window(Condition, YamlModel):
    """Accept times in [from, to) since the rule took effect, again and again if ``every`` is given."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["from"]}, {"required": ["to"]}]})
    key: ClassVar[str] = "window"

    start: Duration = Field(default=0.0, alias="from")
    """When it opens, since the rule took effect."""
    to: PositiveDuration | None = None
    """When it closes; without it, at the end of the period, or never."""
    every: PositiveDuration | None = None
    """The period, after which it opens again."""

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return self.is_open(facts.at_s - state.since_s)

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        end = "on" if self.end_s == inf else f"to {format_duration(self.end_s)}"
        every = f" of every {format_duration(self.every)}" if self.every is not None else ""
        at = format_duration(_ticks(facts.at_s - state.since_s) / _TICKS_PER_S)  # as it is judged
        return (
            f"at {at} its window, from {format_duration(self.start)} {end}{every}, is {'open' if holds else 'closed'}"
        )

    @cached_property
    def end_s(self) -> float:
        """Where the window closes within its period; for ever if nothing says otherwise."""
        return self.to if self.to is not None else self.every if self.every is not None else inf

    def is_open(self, elapsed_s: float) -> bool:
        """Whether a moment, in seconds since the rule took effect, lies in the window."""
        return self._is_open_at(_ticks(elapsed_s))

    def next_edge(self, elapsed_s: float) -> float | None:
        """The first moment after this one at which the window opens or closes; None if there is none."""
        now, period = _ticks(elapsed_s), self._period
        edges = [_ticks(edge) for edge in (self.start, self.end_s) if edge != inf]
        if period is not None:
            base = now - now % period
            edges = [base + turn + edge for turn in (0, period) for edge in edges]
        coming = (edge for edge in edges if edge > now and self._is_open_at(edge) != self._is_open_at(now))
        edge = min(coming, default=None)
        return None if edge is None else edge / _TICKS_PER_S

    def _is_open_at(self, time_us: int) -> bool:
        start, end = self._ends
        return start <= (time_us if self._period is None else time_us % self._period) < end

    @cached_property
    def _ends(self) -> tuple[int, float]:
        return _ticks(self.start), inf if self.end_s == inf else _ticks(self.end_s)

    @cached_property
    def _period(self) -> int | None:
        return None if self.every is None else _ticks(self.every)

    @model_validator(mode="after")
    def _is_a_window(self) -> "Window":
        if not self.model_fields_set & {"start", "to"}:
            raise PydanticCustomError("window", "is always open; add from, to or both, such as {from: 30s, to: 45s}")
        if self.every is not None and self.every < _SHORTEST_PERIOD_S:
            raise PydanticCustomError("window", "repeats too often; write an every of 10ms or longer")
        if self.every is not None and self.end_s > self.every:
            raise PydanticCustomError(
                "window", "closes after its period is over; write a to that is not later than every"
            )
        if self.start >= self.end_s:
            raise PydanticCustomError("window", "is never open; write a from that comes before to, and before every")
        return self


def _ticks(seconds: float) -> int:
    # Floats miss an edge by a rounding error (0.3 % 0.1 is 0.0999...), whole microseconds do not.
    return round(seconds * _TICKS_PER_S)
