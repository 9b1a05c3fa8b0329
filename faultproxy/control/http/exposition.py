"""What runs, in numbers, as Prometheus reads them; loaded when it is first asked for, as the library takes 50 ms.

Nothing is counted for it on the way of a byte: connections know how many bytes they have carried. The text is made
piece by piece, so that connections do not wait for it.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from platform import python_version
from typing import Any, get_args

import trio
from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from faultproxy.control.http.metrics import Measurements
from faultproxy.control.manager import Manager
from faultproxy.events.totals import FaultKey
from faultproxy.events.types import EndedBy
from faultproxy.faults.base import Verdict
from faultproxy.proxy.connections import ConnectionCounts
from faultproxy.proxy.proxy import RunningProxy
from faultproxy.rules.rule import BaseRule
from faultproxy.upstream.durations import BOUNDS_S
from faultproxy.version import __version__

_END = b"# EOF\n"
_BATCH = 50
_LONGEST_EXEMPLAR = 128 - len("connection")  # characters, its name among them: what OpenMetrics allows
_OPEN_METRICS = "application/openmetrics-text"
_AS_IT_IS = ";version=1.0.0;escaping=allow-utf-8"  # our names need no escaping; to find that out costs as much again


@dataclass(frozen=True, slots=True)
class _Proxy:
    """One proxy, as it stands at a scrape."""

    name: str
    proxy: RunningProxy
    rules: Sequence[BaseRule]
    counts: ConnectionCounts
    measured: Measurements

    def faults(self) -> Mapping[FaultKey, int]:
        """How often each fault of each rule was injected, also if never."""
        never = dict.fromkeys(((*key, "exact") for key in self._keys(dry_run=False)), 0)
        return never | self.measured.totals.faults.get(self.name, {})

    def latest(self) -> Mapping[tuple[str, ...], str]:
        """The connection of the last fault of each kind."""
        latest: Mapping[Any, str] = self.measured.totals.latest.get(self.name, {})
        return latest

    def dry_runs(self) -> Mapping[tuple[str, str], int]:
        """How often each fault of each dry run would have been injected, also if never."""
        return dict.fromkeys(self._keys(dry_run=True), 0) | self.measured.totals.dry_runs.get(self.name, {})

    def failures(self) -> Mapping[str, int]:
        """How often the upstream was not reached, by the errno."""
        return self.measured.totals.failures.get(self.name, {})

    def unmet(self) -> Mapping[str, bool]:
        """Each rule that expects something, and whether that is not met so far."""
        injected = self.measured.stats.injected(self.name)
        return {rule: not bounds.hold(injected.get(rule, 0)) for rule, bounds in self.proxy.expected.items()}

    def _keys(self, *, dry_run: bool) -> Iterator[tuple[str, str]]:
        return (
            (rule.name, fault.key)
            for rule in self.rules
            if rule.dry_run is dry_run
            for fault in rule.faults
            if not isinstance(fault, Verdict)
        )


Rows = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class _Family:
    """A metric of proxies. ``rows`` are the values of one, each with those of the ``labels`` beside ``proxy``."""

    kind: str
    name: str
    text: str
    rows: Callable[[_Proxy], Rows]
    labels: tuple[str, ...] = ()
    exemplars: Callable[[_Proxy], Mapping[tuple[str, ...], str]] = lambda _: {}

    def collect(self, proxies: Iterable[_Proxy], *, exemplars: bool) -> Metric:
        """The metric of these proxies."""
        metric = Metric(self.name, self.text, self.kind)
        sample = f"{self.name}_total" if self.kind == "counter" else self.name
        names = ("proxy", *self.labels)
        for proxy in proxies:
            latest = self.exemplars(proxy) if exemplars else {}
            for values, value in self.rows(proxy):
                labels = dict(zip(names, (proxy.name, *values), strict=True))
                metric.add_sample(sample, labels, value, exemplar=_exemplar(latest.get(values)) if latest else None)
        return metric


def _exemplar(connection: str | None) -> Exemplar | None:
    if connection is None or len(connection) > _LONGEST_EXEMPLAR:
        return None
    return Exemplar({"connection": connection}, 1)


def _received(its: _Proxy) -> Mapping[str, int]:
    carried = its.counts.carried
    return {"upstream": carried.from_client, "downstream": carried.from_server}


def _sent(its: _Proxy) -> Mapping[str, int]:
    carried = its.counts.carried
    return {"upstream": carried.to_server, "downstream": carried.to_client}


def _by_one(counts: Mapping[str, float]) -> Rows:
    return (((key,), count) for key, count in counts.items())


_FAMILIES = (
    _Family(
        "counter",
        "faultproxy_connections",
        "Clients that were accepted, or judged by their SYN.",
        lambda its: [((), its.proxy.accepted)],
    ),
    _Family(
        "gauge",
        "faultproxy_connections_open",
        "Connections that are open now.",
        lambda its: [((), its.counts.open)],
    ),
    _Family(
        "counter",
        "faultproxy_connections_ended",
        "Connections that are over, by who ended them.",
        lambda its: _by_one({by: its.counts.ended.get(by, 0) for by in get_args(EndedBy)}),
        ("ended_by",),
    ),
    _Family(
        "counter",
        "faultproxy_received_bytes",
        "Bytes that came from clients (upstream) and from servers (downstream).",
        lambda its: _by_one(_received(its)),
        ("direction",),
    ),
    _Family(
        "counter",
        "faultproxy_sent_bytes",
        "Bytes that were sent to servers (upstream) and to clients (downstream).",
        lambda its: _by_one(_sent(its)),
        ("direction",),
    ),
    _Family(
        "counter",
        "faultproxy_faults_injected",
        "Faults that were injected; what no rule asked for has an empty rule.",
        lambda its: its.faults().items(),
        ("rule", "fault", "fidelity"),
        lambda its: its.latest(),
    ),
    _Family(
        "counter",
        "faultproxy_faults_dry_run",
        "Faults that dry runs would have injected.",
        lambda its: its.dry_runs().items(),
        ("rule", "fault"),
    ),
    _Family(
        "counter",
        "faultproxy_upstream_failures",
        "Dials that did not reach the upstream, by the name of the error.",
        lambda its: _by_one(its.failures()),
        ("error",),
    ),
    _Family(
        "gauge",
        "faultproxy_expect_unmet",
        "1 while a rule's faults are fewer or more than its expect says, else 0.",
        lambda its: _by_one(its.unmet()),
        ("rule",),
    ),
)


def _toxiproxy(name: str, text: str, counts: Callable[[_Proxy], Mapping[str, int]]) -> _Family:
    return _Family(
        "counter",
        name,
        text,
        lambda its: (
            ((way, str(its.proxy.listener.address), str(its.proxy.upstream)), count)
            for way, count in counts(its).items()
        ),
        ("direction", "listener", "upstream"),
    )


_OF_TOXIPROXY = (
    _toxiproxy("toxiproxy_proxy_received_bytes", "Bytes that were received.", _received),
    _toxiproxy("toxiproxy_proxy_sent_bytes", "Bytes that were sent.", _sent),
)


class _Piece(Collector):
    """A metric, as the encoders want to be handed it."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


async def render(manager: Manager, measured: Measurements, accept: str) -> tuple[bytes, str]:
    """All metrics in the format that ``accept`` asks for, and its content type."""
    _, content_type = choose_encoder(accept)
    is_open = content_type.startswith(_OPEN_METRICS)
    encode, _ = choose_encoder((_OPEN_METRICS if is_open else "text/plain") + _AS_IT_IS)
    text = bytearray()
    async for metric, is_first in _pieces(manager, measured, exemplars=is_open):
        piece = encode(_Piece(metric)).removesuffix(_END)
        while not is_first and piece.startswith(b"#"):
            piece = piece.partition(b"\n")[2]
        text += piece
        await trio.lowlevel.checkpoint()  # connections do not wait meanwhile
    return bytes(text) + (_END if is_open else b""), content_type


async def _pieces(manager: Manager, measured: Measurements, *, exemplars: bool) -> AsyncIterator[tuple[Metric, bool]]:
    """Metric by metric, each of some proxies at a time, and whether it is the first of that name."""
    proxies, counted = [], 0
    for name, proxy in tuple(manager.proxies.items()):
        rules = manager.config.proxies[name].rules if name in manager.config.proxies else ()
        counts = proxy.connections.counts()
        proxies.append(_Proxy(name, proxy, rules, counts, measured))
        counted += 1 + counts.open
        if counted >= _BATCH:
            counted = 0
            await trio.lowlevel.checkpoint()
    for family in (*_FAMILIES, *(_OF_TOXIPROXY if "toxiproxy" in measured.scraping.extra else ())):
        for start in range(0, max(1, len(proxies)), _BATCH):
            yield family.collect(proxies[start : start + _BATCH], exemplars=exemplars), start == 0
    for metric in _of_all(measured):
        yield metric, True


def _of_all(measured: Measurements) -> Iterator[Metric]:
    totals, dials = measured.totals, measured.dials
    buckets = zip([*map(str, BOUNDS_S), "+Inf"], accumulate(dials.counts), strict=True)
    yield HistogramMetricFamily(
        "faultproxy_dial_duration_seconds", "How long it took to reach upstreams.", list(buckets), dials.sum_s
    )
    yield GaugeMetricFamily(
        "faultproxy_config_last_reload_successful",
        "1 while the file that was saved last is in force, 0 if it was rejected.",
        totals.is_reloaded,
    )
    yield GaugeMetricFamily(
        "faultproxy_config_last_reload_success_timestamp_seconds",
        "When a file was last in force, in seconds since 1970.",
        totals.reloaded_at,
    )
    yield CounterMetricFamily(
        "faultproxy_log_dropped", "Lines of the log that nobody took.", measured.scraping.log_dropped()
    )
    info = GaugeMetricFamily("faultproxy_build_info", "1; the labels say what runs.", labels=("version", "python"))
    info.add_metric((__version__, python_version()), 1)
    yield info
    if "process" in measured.scraping.extra:
        yield from ProcessCollector(registry=None).collect()
