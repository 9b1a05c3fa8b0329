"""The report's pictures, as SVG that stands alone: no script, no font; light or dark as the reader's page."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from faultproxy.report.backoff import Backoff
from faultproxy.report.report import ClientReport
from faultproxy.report.storms import Storm
from faultproxy.report.text import count, seconds
from faultproxy.text import one_line

_WIDTH, _HEIGHT = 760, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 34, 42
_STYLE = """<style>
.fp{font:12px system-ui,sans-serif}.fp text{fill:#1f2328}.fp .head{font-weight:600;font-size:13px}
.fp .grid{stroke:#d1d9e0;stroke-width:1}.fp .span{fill:#8250df;opacity:.12}
.fp .failed{fill:#c2410c}.fp .served,.fp .dot{fill:#0e7490}
.fp .wait{stroke:#0e7490;fill:none;stroke-width:1.5}.fp .fit{stroke:#c2410c;fill:none;stroke-dasharray:6 4}
@media (prefers-color-scheme:dark){.fp text{fill:#e6edf3}.fp .grid{stroke:#3d444d}.fp .span{fill:#ab7df8;opacity:.2}
.fp .failed{fill:#fb923c}.fp .served,.fp .dot{fill:#22d3ee}.fp .wait{stroke:#22d3ee}.fp .fit{stroke:#fb923c}}
</style>"""
_MOST_EPISODES = 20
_MOST_WAITS = 40
_SMALLEST_S = 1e-4
_WHOLE_LINE, _BESIDE_LEGEND = 72, 56  # letters of a heading, in the widest of common fonts


def timeline(
    storm: Storm, title: str, *, top: float | None = None, from_s: float | None = None, to_s: float | None = None
) -> str:
    """Attempts a second around a disturbance: served and failed, stacked; the disturbance shaded.

    ``top`` is the upper end of the scale, ``from_s`` and ``to_s`` those of time, where pictures are to be compared.
    """
    rates = list(storm.rates)
    ends_s = storm.begins_s + storm.bucket_s * len(rates)
    across = _Scale(from_s or storm.begins_s, to_s or ends_s, _LEFT, _WIDTH - _RIGHT)
    up = _Scale(0, max(1.0, top or 0.0, *rates), _HEIGHT - _BOTTOM, _TOP)
    width = max(0.5, across.at(storm.bucket_s) - across.at(0) - 0.5)
    begin, end = across.at(storm.started_s), across.at(storm.ended_s)
    parts = [
        f'<rect class="span" {_box(begin, max(1.0, end - begin), _TOP, _HEIGHT - _BOTTOM)}/>',
        *_grid(across, up, [f"{tick:g}" for tick in up.ticks()], up.ticks()),
    ]
    for number, (served, failed) in enumerate(zip(storm.served, storm.failed, strict=True)):
        x = across.at(storm.begins_s + storm.bucket_s * number)
        if not _LEFT - 1 <= x < _WIDTH - _RIGHT:
            continue
        parts += (
            f'<rect class="{kind}" {_box(x, width, up.at(to / storm.bucket_s), up.at(base / storm.bucket_s))}/>'
            for kind, base, to in (("failed", 0, failed), ("served", failed, failed + served))
            if to > base
        )
    legend = (
        f'<text x="{_WIDTH - _RIGHT}" y="18" text-anchor="end"><tspan class="failed">■</tspan> failed  '
        '<tspan class="served">■</tspan> served  <tspan class="span" style="opacity:1">■</tspan> clients fail</text>'
    )
    about = f"{count(storm.attempts, 'attempt')} of {count(storm.clients, 'client')}, {storm.peak} a second at the peak"
    return _picture(title, about, [*parts, legend], "attempts a second", "seconds", _BESIDE_LEGEND)


def waits(client: ClientReport) -> str:
    """The wait before each retry against its number, on a logarithmic scale; dashed, the policy that was recognised."""
    shown = [episode.waits_s[:_MOST_WAITS] for episode in client.episodes if episode.waits_s][-_MOST_EPISODES:]
    floored = [[max(gap, _SMALLEST_S) for gap in gaps] for gaps in shown]
    every = [gap for gaps in floored for gap in gaps] or [1.0]
    across = _Scale(0.5, max([2, *map(len, shown)]) + 0.5, _LEFT, _WIDTH - _RIGHT)
    low = 10 ** math.floor(math.log10(min(every) * 0.8))
    up = _Scale(math.log10(low), math.log10(max(low * 10, max(every) * 1.25)), _HEIGHT - _BOTTOM, _TOP)
    powers = [math.log10(low) + power for power in range(math.ceil(up.end - up.begin + 1e-9))]
    finer = [power + math.log10(part) for power in powers for part in (2, 5)] if len(powers) <= 2 else []
    ticks = sorted(tick for tick in (*powers, *finer) if up.begin - 1e-9 <= tick <= up.end)
    numbers = [float(number) for number in range(1, math.floor(across.end) + 1)]
    step = math.ceil(len(numbers) / 20)
    parts = list(_grid(across, up, [f"{seconds(10**tick)}" for tick in ticks], ticks, numbers[::step]))
    fitted = _fitted(client.backoff, max(map(len, shown), default=0))
    parts.append(_line("fit", [(across.at(number), up.at(math.log10(gap))) for number, gap in fitted]))
    for gaps in floored:
        dots = [(across.at(number), up.at(math.log10(gap))) for number, gap in enumerate(gaps, 1)]
        parts.append(_line("wait", dots))
        parts += (f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in dots)
    about = ", ".join(f"{seconds(gap)} s" for gap in (shown[0] if shown else ())[:10])
    return _picture(f"{client.client} at {client.proxy}", f"waits of {about}", parts, "seconds waited", "retry")


class _Scale:
    """From values to places on the picture."""

    def __init__(self, begin: float, end: float, first: float, last: float) -> None:
        self.begin, self.end = begin, end if end > begin else begin + 1
        self._first = first
        self._per_unit = (last - first) / (self.end - self.begin)

    def at(self, value: float) -> float:
        return self._first + (value - self.begin) * self._per_unit

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers, not more than so many."""
        rough = (self.end - self.begin) / most
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * part for part in (1, 2, 5, 10) if power * part >= rough * (1 - 1e-9))
        first = math.ceil(self.begin / step - 1e-9)
        return [round(number * step, 9) for number in range(first, math.floor(self.end / step + 1e-9) + 1)]


def _fitted(backoff: Backoff, length: int) -> Iterable[tuple[int, float]]:
    """What the recognised policy would wait before each retry."""
    if backoff.first_s is None or backoff.kind not in {"constant", "exponential"}:
        return
    first = 2 if backoff.first_at_once else 1
    for number in range(first, length + 1):
        gap_s = backoff.first_s * (backoff.factor or 1.0) ** (number - first)
        yield number, max(_SMALLEST_S, min(gap_s, backoff.cap_s or math.inf))


def _grid(
    across: _Scale, up: _Scale, labels: Sequence[str], ticks: Sequence[float], columns: Sequence[float] | None = None
) -> Iterable[str]:
    for tick, label in zip(ticks, labels, strict=True):
        y = up.at(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    for column in columns if columns is not None else across.ticks(10):
        yield f'<text x="{across.at(column):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{column:g}</text>'


def _box(x: float, width: float, top: float, bottom: float) -> str:
    return f'x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}"'


def _line(kind: str, dots: Sequence[tuple[float, float]]) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in dots)}"/>' if dots else ""


def _picture(title: str, about: str, parts: Iterable[str], up: str, across: str, room: int = _WHOLE_LINE) -> str:
    head = one_line(title)
    shown = head if len(head) <= room else f"{head[: room - 1]}…"
    middle = (_TOP + _HEIGHT - _BOTTOM) // 2
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="fp" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            f"<title>{escape(head)}</title><desc>{escape(about)}</desc>{_STYLE}",
            f'<text class="head" x="{_LEFT}" y="18">{escape(shown)}</text>',
            *filter(None, parts),
            f'<text x="{(_LEFT + _WIDTH - _RIGHT) // 2}" y="{_HEIGHT - 8}" text-anchor="middle">{across}</text>',
            f'<text transform="rotate(-90)" x="{-middle}" y="14" text-anchor="middle">{up}</text>',
            "</svg>",
        ]
    )
