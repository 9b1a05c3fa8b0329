"""The report as a page."""

import re
from html.parser import HTMLParser

import pytest

from faultproxy.report.html import as_html
from tests.browser import chromium
from tests.report.events import Script


class Page(HTMLParser):
    """Which tags there are, which are not closed, and what the text is."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.stack: list[str] = []
        self.attributes: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += (name for name, _ in attrs)
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_says_what_the_text_says_and_shows_it() -> None:
    """Sentences, a picture of the attempts and one of each client's waits; notes too."""
    script = Script()
    script.retries([0.1, 0.2, 0.4, 0.8, 1.6])
    script.outage(20.0, 21.0)
    page = Page(as_html(script.report()))
    assert page.stack == []
    assert "10.0.0.7 retried 5 times, waiting 0.1, 0.2, 0.4, 0.8, 1.6 s, and recovered after 3.1 s" in page.text
    assert "exponential, factor 2, no jitter" in page.text
    assert "the kernel refuses clients that are not seen" in page.text
    assert page.tags.count("svg") == 3


_MISPLACED = """() => [...document.querySelectorAll("svg")].flatMap(svg => {
    const whole = svg.getBoundingClientRect()
    const head = svg.querySelector(".head")
    return [...svg.querySelectorAll("text")].filter(text => {
        const at = text.getBoundingClientRect(), by = head.getBoundingClientRect()
        const overlaps = text != head && at.left < by.right && by.left < at.right && at.top < by.bottom && by.top < at.bottom
        return overlaps || at.left < whole.left - 1 || at.right > whole.right + 1
    }).map(text => text.textContent)
})"""


@pytest.mark.parametrize("width", [380, 1280])
def test_long_names_have_their_place(width: int) -> None:
    """Whatever a proxy and its clients are called, no heading overlaps a legend, and the page is as wide as the window."""
    script = Script("orders-in-the-cluster-of-eu-west-1-production-" * 4)
    script.retries([0.1, 0.2, 0.4, 0.8], client="2001:db8:85a3:1234:5678:8a2e:370:7334")
    script.retries([0.1, 0.2, 0.4, 0.8], client=f"unix:/{'M' * 100}", rule="V" * 100)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.set_content(as_html(script.report()))
        assert page.evaluate(_MISPLACED) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_it_is_one_file() -> None:
    """Nothing is fetched, and nothing runs."""
    script = Script()
    script.retries([0.1, 0.2, 0.4])
    text = as_html(script.report())
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [name for name in page.attributes if name.startswith("on") or name in {"src", "href"}]
    assert re.findall(r"https?://\S+?\"", text) == ['http://www.w3.org/2000/svg"'] * page.tags.count("svg")


def test_what_a_log_holds_is_escaped() -> None:
    """Names of proxies, rules and clients are no markup."""
    script = Script('<img src=x onerror="alert(1)">')
    script.retries([0.1, 0.2], client="<b>", rule="</td><script>alert(1)</script>")
    script.fails(90.0, "<i>", rule="'\"><script>")
    script.outage(95.0, 96.0)
    page = Page(as_html(script.report()))
    assert page.stack == []
    assert not {"script", "img", "b", "i"} & set(page.tags)
    assert "<img src=x" in page.text


def test_many_clients_are_cut_short() -> None:
    """Fifty rows, twelve pictures, and how many more there are."""
    script = Script()
    for number in range(60):
        script.retries([0.1, 0.2], at_s=float(number * 5), client=f"10.0.0.{number}")
    page = Page(as_html(script.report()))
    assert page.tags.count("tr") == 51
    assert "And 10 more clients that failed." in page.text
    assert page.tags.count("svg") <= 12 + 5


def test_nothing_happened() -> None:
    """That is a page, too."""
    assert Page(as_html(Script().report())).tags.count("svg") == 0
