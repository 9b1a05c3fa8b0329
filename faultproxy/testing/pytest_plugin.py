"""The pytest plugin: a fixture that makes proxies, their story in the report of a test that failed, and a marker.

It is loaded by every run of pytest where faultproxy is installed, so the program itself is imported only when a test
asks for it.
"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Unpack

import pytest

if TYPE_CHECKING:
    from os import PathLike

    from faultproxy.testing.base import MustFire
    from faultproxy.testing.settings import Options, Overrides, Rules
    from faultproxy.testing.threaded import Proxy

_MARKER = "faultproxy(must_fire): fail the test if a rule of its proxies injected nothing; True for all, or their names"


class Proxies:
    """Makes proxies for one test, and ends them with it. What the ``faultproxy`` fixture is."""

    def __init__(self, must_fire: "MustFire" = False) -> None:
        self.made: list[Proxy] = []
        self._must_fire = must_fire
        self._marked: list[Proxy] = []
        self._stack = ExitStack()

    def __call__(
        self,
        upstream: str,
        rules: "Rules" = (),
        *,
        name: str | None = None,
        seed: int = 0,
        must_fire: "MustFire | None" = None,
        **options: "Unpack[Options]",
    ) -> "Proxy":
        """A proxy that listens already; see ``faultproxy.Proxy``. Without a name it is proxy, proxy2, and so on.

        Raises ConfigError and CannotListen.
        """
        __tracebackhide__ = True
        from faultproxy.testing.threaded import Proxy  # noqa: PLC0415

        number = len(self.made) + 1
        name = name or (f"proxy{number}" if number > 1 else "proxy")
        must = self._must(must_fire)
        return self._start(Proxy(upstream, rules, name=name, seed=seed, must_fire=must, **options), must_fire)

    def from_file(
        self,
        path: "str | PathLike[str]",
        proxy: str | None = None,
        *,
        must_fire: "MustFire | None" = None,
        **overrides: "Unpack[Overrides]",
    ) -> "Proxy":
        """A proxy of a configuration file that listens already; see ``faultproxy.Proxy.from_file``.

        Raises ConfigError and CannotListen.
        """
        __tracebackhide__ = True
        from faultproxy.testing.threaded import Proxy  # noqa: PLC0415

        return self._start(Proxy.from_file(path, proxy, must_fire=self._must(must_fire), **overrides), must_fire)

    def _must(self, must_fire: "MustFire | None") -> "MustFire":
        return must_fire if must_fire is not None else self._must_fire is True

    def _start(self, proxy: "Proxy", must_fire: "MustFire | None") -> "Proxy":
        if must_fire is None:
            self._marked.append(proxy)
        proxy.start()
        self._stack.callback(proxy.stop)
        self.made.append(proxy)
        return proxy

    def unmet(self) -> list[str]:
        """The rules that injected fewer or more faults than they should have, each as a sentence.

        Raises RuntimeError if a bug of faultproxy's own has shown.
        """
        names = [self._must_fire] if isinstance(self._must_fire, str) else self._must_fire
        by_name = [] if isinstance(names, bool) else [sentence for name in names for sentence in self._idle(name)]
        return [sentence for proxy in self.made for sentence in proxy.unmet()] + by_name

    def _idle(self, rule: str) -> Iterator[str]:
        """Of a rule that the marker names: not every proxy need have it."""
        is_there = False
        for proxy in self._marked:
            with suppress(ValueError):  # it has no such rule
                has_injected = proxy.times(rule) or any(fault.rule == rule for fault in proxy.dry_runs)
                is_there = True
                if not has_injected:
                    yield f'{proxy.name}: "{rule}" injected no fault, and must have'
        if not is_there:
            yield f'there never was a rule "{rule}", which must fire'

    def report(self) -> str:
        """What happened at every proxy."""
        return "\n\n".join(proxy.summary() for proxy in self.made)

    def close(self) -> None:
        """Stop them all."""
        self._stack.close()


_PROXIES = pytest.StashKey[Proxies]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def faultproxy(request: pytest.FixtureRequest) -> Iterator[Proxies]:
    """Makes proxies that inject faults: ``faultproxy(upstream="127.0.0.1:6379", rules=[...])``.

    They stop with the test. When it fails, its report shows the faults and connections of each. It fails when a rule
    injected fewer or more faults than its ``expect``, the argument ``must_fire``, or the marker says.
    """
    proxies = Proxies(_must_fire(request.node))
    request.node.stash[_PROXIES] = proxies
    yield proxies
    proxies.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Judge the rules as part of the test, so that it fails rather than errs; a test that failed is left alone."""
    result = yield
    proxies = item.stash.get(_PROXIES, None)
    unmet = proxies.unmet() if proxies is not None else []
    is_marked = any(mark.name == "faultproxy" for mark in item.own_markers) and _must_fire(item)
    if is_marked and (proxies is None or not proxies.made):
        unmet = ["its faultproxy marker is for the proxies that the faultproxy fixture makes, and it made none"]
    if unmet:
        pytest.fail("\n".join(unmet), pytrace=False)  # what happened stands in the report's own section
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what happened at the proxies to the report of a test that failed."""
    report = yield
    if report.failed and _PROXIES in item.stash and item.stash[_PROXIES].made:
        report.sections.append(("faultproxy", item.stash[_PROXIES].report()))
    return report


def _must_fire(node: pytest.Item) -> Any:
    marker = node.get_closest_marker("faultproxy")
    if marker is None:
        return False
    if marker.args or set(marker.kwargs) - {"must_fire"}:
        raise pytest.UsageError(f"{node.nodeid}: the faultproxy marker takes must_fire=True or must_fire=[rule, ...]")
    return marker.kwargs.get("must_fire", True)
