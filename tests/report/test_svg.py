"""The pictures: well-formed, drawn to scale, and harmless whatever a log holds."""

import itertools
from xml.etree import ElementTree as ET

import pytest

from faultproxy.report.svg import timeline, waits
from tests.report.events import Script

_SVG = "{http://www.w3.org/2000/svg}"


def boxes(picture: ET.Element, kind: str) -> list[dict[str, float]]:
    """The rectangles of a class, as numbers."""
    found = (rect for rect in picture.iter(f"{_SVG}rect") if rect.get("class") == kind)
    return [{key: float(value) for key, value in rect.items() if key != "class"} for rect in found]


def test_the_bars_are_the_buckets() -> None:
    """Each as high as its count, on one scale; served ones stand on failed ones; the disturbance lies behind them."""
    script = Script()
    for number in range(40):
        script.serves(number / 10)
        if number >= 20:
            script.fails(number / 10 + 0.05, f"10.0.0.{number}")
    (storm,) = script.report().proxies[0].storms
    picture = ET.fromstring(timeline(storm, "shop"))
    failed, served = boxes(picture, "failed"), boxes(picture, "served")
    unit = failed[0]["height"] / next(count for count in storm.failed if count)
    assert sum(box["height"] for box in failed) == pytest.approx(unit * sum(storm.failed), rel=0.02)
    assert sum(box["height"] for box in served) == pytest.approx(unit * sum(storm.served), rel=0.02)
    (span,) = boxes(picture, "span")
    assert span["x"] - 1 <= min(box["x"] for box in failed)
    assert max(box["x"] for box in failed) <= span["x"] + span["width"] + 1


def test_one_scale_for_several_pictures() -> None:
    """A top makes the bars of two pictures comparable."""
    script = Script()
    script.retries([0.1] * 30)
    (storm,) = script.report().proxies[0].storms

    def highest(top: float | None) -> float:
        picture = ET.fromstring(timeline(storm, "shop", top=top))
        return max(box["height"] for box in boxes(picture, "failed"))

    assert highest(10 * max(storm.rates)) < highest(None) / 8


@pytest.mark.parametrize("gaps", [[0.1], [0.0, 0.0], [0.1, 0.2, 0.4, 0.8, 1.6], [0.001, 3600.0, 0.5], [1.0] * 150])
def test_each_wait_is_a_dot(gaps: list[float]) -> None:
    """Higher is longer; what doubles rises by the same step. At most forty are drawn."""
    script = Script()
    script.retries(gaps)
    picture = ET.fromstring(waits(script.report().clients[0]))
    heights = [float(dot.get("cy", "")) for dot in picture.iter(f"{_SVG}circle")]
    assert len(heights) == min(len(gaps), 40)
    assert all(30 <= height <= 220 for height in heights)
    if len(gaps) == 5:
        steps = {round(before - after) for before, after in itertools.pairwise(heights)}
        assert max(steps) - min(steps) <= 1


def test_names_are_escaped() -> None:
    """A client or a proxy is whatever a log says."""
    script = Script("</title><script>alert(1)</script>\x1b&")
    script.retries([0.1, 0.2], client="<b>")
    report = script.report()
    for picture in (waits(report.clients[0]), timeline(report.proxies[0].storms[0], script.proxy)):
        assert ET.fromstring(picture).find(f"{_SVG}title") is not None
        assert "<script" not in picture
        assert "<b>" not in picture
