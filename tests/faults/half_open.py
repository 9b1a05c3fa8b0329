"""A half-open client that only remembers how it was answered."""

from typing import Literal


class Remembered:
    """Implements faults.base.Knock; ``answers`` is what connect faults gave."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, ...]] = []

    def refuse(self) -> None:
        self.answers.append(("refuse",))

    def unreachable(self, what: Literal["host", "net"]) -> None:
        self.answers.append(("unreachable", what))

    def ignore(self) -> None:
        self.answers.append(("ignore",))
