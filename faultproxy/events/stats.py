"""How often faults were injected, and whether that is what was expected."""

from collections import Counter
from collections.abc import Mapping

from faultproxy.events.types import Event, FaultDryRun, FaultInjected, OutageStarted

Expected = tuple[int | None, int | None]
"""At least, at most; None where there is no bound."""


class Stats:
    """A subscriber that counts injected faults and dry runs by proxy and rule. An outage is one fault of its rule.

    It subscribes before all who ask it for the count of an event that they are handed.
    """

    wants: frozenset[type[Event]] = frozenset({FaultInjected, FaultDryRun, OutageStarted})

    def __init__(self) -> None:
        self._injected: dict[str, Counter[str]] = {}
        self._dry_runs: dict[str, Counter[str]] = {}
        self._by_hand: Counter[str] = Counter()

    def receive(self, event: Event) -> None:
        """Count it."""
        match event:
            case FaultInjected(rule=str(rule)) | OutageStarted(rule=rule):
                self._injected.setdefault(event.proxy, Counter())[rule] += 1
            case FaultInjected(source="api"):
                self._by_hand[event.proxy] += 1
            case FaultDryRun(rule=str(rule)):
                self._dry_runs.setdefault(event.proxy, Counter())[rule] += 1

    def count(self, event: Event) -> int | None:
        """How many events of this kind its proxy and rule have had by now; None if it is none of a rule.

        Faults that were injected by hand into connections of a proxy are counted together.
        """
        match event:
            case FaultInjected(rule=str(rule)) | OutageStarted(rule=rule):
                return self._injected[event.proxy][rule]
            case FaultInjected(source="api"):
                return self._by_hand[event.proxy]
            case FaultDryRun(rule=str(rule)):
                return self._dry_runs[event.proxy][rule]
        return None

    def reset(self, proxy: str) -> None:
        """Count a proxy's rules anew."""
        self._injected.pop(proxy, None)
        self._dry_runs.pop(proxy, None)
        self._by_hand.pop(proxy, None)

    def injected(self, proxy: str) -> dict[str, int]:
        """How often faults of each rule of a proxy were injected; rules of which none was are not in it."""
        return dict(self._injected.get(proxy, {}))

    def dry_runs(self, proxy: str) -> dict[str, int]:
        """How often faults of each dry-run rule of a proxy would have been injected; rules without any are left out."""
        return dict(self._dry_runs.get(proxy, {}))

    def unmet(self, proxy: str, expected: Mapping[str, Expected]) -> list[str]:
        """The rules of a proxy that did not inject as many faults as expected, each as a sentence."""
        counts = self.injected(proxy)
        verdicts = ((rule, _unmet(counts.get(rule, 0), bounds)) for rule, bounds in expected.items())
        return [f'{proxy}: "{rule}" {verdict}' for rule, verdict in verdicts if verdict]


def _unmet(count: int, expected: Expected) -> str | None:
    least, most = expected
    injected = f"injected {count} fault{'' if count == 1 else 's'}"
    if least is not None and count < least:
        return f"{injected}, expected at least {least}"
    if most is not None and count > most:
        return f"{injected}, expected at most {most}"
    return None
