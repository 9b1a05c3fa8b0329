"""How often faults struck, and whether that is what was expected."""

from collections import Counter
from collections.abc import Mapping

Expected = tuple[int | None, int | None]
"""At least, at most; None where there is no bound."""


class Tally:
    """Counts of faults that struck, by proxy and rule."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def struck(self, proxy: str, rule: str) -> None:
        """Count one fault of a rule."""
        self._counts.setdefault(proxy, Counter())[rule] += 1

    def counts(self, proxy: str) -> dict[str, int]:
        """How often each rule of a proxy struck; rules that never did are not in it."""
        return dict(self._counts.get(proxy, {}))

    def unmet(self, proxy: str, expected: Mapping[str, Expected]) -> list[str]:
        """The rules of a proxy that did not strike as often as expected, each as a sentence."""
        counts = self.counts(proxy)
        verdicts = ((rule, _unmet(counts.get(rule, 0), bounds)) for rule, bounds in expected.items())
        return [f'{proxy}: "{rule}" {verdict}' for rule, verdict in verdicts if verdict]


def _unmet(count: int, expected: Expected) -> str | None:
    least, most = expected
    fired = f"fired {count} time{'' if count == 1 else 's'}"
    if least is not None and count < least:
        return f"{fired}, expected at least {least}"
    if most is not None and count > most:
        return f"{fired}, expected at most {most}"
    return None
