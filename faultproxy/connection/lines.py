"""The lines that connections of one proxy share."""

from collections.abc import Collection

from faultproxy.faults.base import Direction, Join, StreamShape


class Lines:
    """A line for each rule, shape and direction. When an edit changes the shape, another takes its place."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, Direction], tuple[StreamShape, Join]] = {}

    def get(self, rule: str, shape: StreamShape, direction: Direction) -> Join | None:
        """The line of this shape of a rule's; None if its connections share nothing."""
        key = (rule, shape.key, direction)
        made_of, line = self._lines.get(key, (None, None))
        if made_of != shape:
            line = shape.line(line)
            if line is not None:
                self._lines[key] = (shape, line)
        return line

    def keep(self, rules: Collection[str]) -> None:
        """Forget the lines of all other rules."""
        self._lines = {key: line for key, line in self._lines.items() if key[0] in rules}
