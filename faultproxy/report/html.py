"""The report as one HTML file, with its pictures. Nothing is fetched, no script runs, what a log holds is escaped."""

from collections.abc import Iterator
from html import escape

from faultproxy.report.report import ClientReport, ProxyReport, RetryReport
from faultproxy.report.svg import timeline, waits
from faultproxy.report.text import count, episode_sentence, proxy_sentences, seconds, sentence
from faultproxy.text import one_line

_MOST_CLIENTS = 50
_MOST_PICTURES = 12
_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{margin-top:2.5rem}h2,li,td{overflow-wrap:anywhere}
figure{margin:.5rem 0;overflow-x:auto}svg{width:100%;min-width:36rem;height:auto}
table{border-collapse:collapse;width:100%}
th{min-width:5rem}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8886;vertical-align:top}
.note{border-left:3px solid #8250df;padding-left:.8rem}
"""


def as_html(report: RetryReport) -> str:
    """The whole page."""
    begins = f", from {escape(report.begins)} on" if report.begins else ""
    body = [
        "<h1>What the clients did</h1>",
        f"<p>{seconds(report.lasts_s)} s{begins}. Times are seconds since the first event.</p>",
        *(f'<p class="note">{_text(note)}</p>' for note in report.notes),
    ]
    for proxy in report.proxies:
        body += _proxy(proxy, [client for client in report.clients if client.proxy == proxy.proxy])
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>What the clients did</title><style>{_STYLE}</style></head><body>",
            *body,
            "</body></html>",
        ]
    )


def _proxy(proxy: ProxyReport, clients: list[ClientReport]) -> Iterator[str]:
    yield f"<h2>{_text(proxy.proxy)}</h2>"
    head, *more = proxy_sentences(proxy)
    yield f"<p>{_text(head.removeprefix(f'{proxy.proxy}: '))}.</p>"
    if more:
        yield f"<ul>{''.join(f'<li>{_text(line.strip())}</li>' for line in more)}</ul>"
    for storm in proxy.storms:
        lasts = seconds(storm.ended_s - storm.started_s)
        yield _figure(timeline(storm, f"attempts around {seconds(storm.started_s)} s, for {lasts} s"))
    if not clients:
        return
    yield "<table><thead><tr><th>client</th><th>how it waits</th><th>what it did</th></tr></thead><tbody>"
    for client in clients[:_MOST_CLIENTS]:
        did = [_text(episode_sentence(client, episode, with_backoff=False)) for episode in client.episodes[:3]]
        if len(client.episodes) > len(did):
            did.append(f"and {count(len(client.episodes) - len(did), 'more episode')}")
        yield (
            f"<tr><td>{_text(client.client)}<br>{count(client.attempts, 'attempt')}</td>"
            f"<td>{_text(sentence(client.backoff))}</td><td>{'<br>'.join(did)}</td></tr>"
        )
    yield "</tbody></table>"
    if len(clients) > _MOST_CLIENTS:
        yield f"<p>And {count(len(clients) - _MOST_CLIENTS, 'more client')} that failed.</p>"
    retried = [client for client in clients if any(episode.waits_s for episode in client.episodes)]
    for client in retried[:_MOST_PICTURES]:
        yield _figure(waits(client))


def _figure(picture: str) -> str:
    return f"<figure>{picture}</figure>"


def _text(text: str) -> str:
    return escape(one_line(text))
