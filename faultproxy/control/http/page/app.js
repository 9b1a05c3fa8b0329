// The page: what is always there, and which of its two views is shown.

import { setToken } from "./api.js";
import { Connections, Story } from "./connections.js";
import { Editor } from "./editor.js";
import { Feed } from "./feed.js";
import { bytes, clock, count, lasting, perSecond, plural } from "./format.js";
import { happening, listen } from "./happenings.js";
import { Component, html, render } from "./html.js";
import { Proxies } from "./proxies.js";
import { changed, drawWith, now, poll, refresh, series, state } from "./store.js";
import { theme, ThemeButton } from "./theme.js";
import { Timeline } from "./timeline.js";

const NAMED = 3;

function Header() {
  const { status } = state;
  const link = (view, text) => html`<a href=${`#${view}`} aria-current=${state.view === view ? "page" : null}>${text}</a>`;
  return html`<header class="top">
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <h1><img src="page/icon.svg" alt="" width="22" height="22" /> faultproxy</h1>
    <nav aria-label="Views">${link("watch", "Watch")}${link("configuration", "Configuration")}</nav>
    <p class="about">${status ? html`<span title=${status.file}>${status.file?.split("/").pop() ?? "no file"}</span><span>revision ${status.revision}</span><span>seed ${status.seed}</span>
      <span>up ${lasting(status.uptime_s)}</span><span>${status.version}</span>` : null}</p>
    <${ThemeButton} />
  </header>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function Lost() {
  if (state.wantsToken) return html`<${TokenForm} />`;
  if (!state.lostSince) return null;
  return html`<p class="lost" role="alert"><b>The API does not answer</b> since ${clock(state.lostSince)}. What is shown is as it was then. Trying again each second.</p>`;
}

function TokenForm() {
  const submit = (event) => {
    event.preventDefault();
    setToken(event.target.elements.token.value.trim());
    refresh();
  };
  return html`<form class="lost" onSubmit=${submit}><label>This API asks for a token <input name="token" type="password" autocomplete="off" required /></label>
    <button type="submit" class="main">Use it</button> <span class="hint">It is kept until this tab is closed.</span></form>`;
}

/** One look: whether faults are injected, into whose connections, by which rules. */
function Verdict() {
  const { rate, count: recent, clients, rules, latest, outages } = happening();
  const total = (key) => [...series.values()].reduce((sum, its) => sum + (its[key].at(-1) ?? 0), 0);
  const isNow = recent > 0 || outages.length > 0;
  const names = (all) => html`${all.slice(0, NAMED).map(([name], index) => html`${index ? ", " : ""}<b key=${name}>${name}</b>`)}${all.length > NAMED ? ` and ${all.length - NAMED} more` : ""}`;
  const open = state.proxies.reduce((sum, proxy) => sum + proxy.open, 0);
  return html`<section class=${`verdict ${isNow ? "now" : "calm"}`} aria-labelledby="verdict">
    <div>
      <h2 id="verdict">${recent ? html`<span class="figure">${perSecond(Math.max(rate, recent / 10))}</span> faults a second` : outages.length ? plural(outages.length, "outage") : "No faults now"}</h2>
      <p>${outages.length ? html`<span class="badge bad">outage</span> ${names(outages.map((one) => [`${one.proxy} / ${one.rule}`]))}. ` : null}
        ${recent ? html`In 10 s ${clients.length ? html`into ${plural(clients.length, "client")}: ${names(clients)}; ` : null}by ${plural(rules.length, "rule")}: ${names(rules)}.`
          : isNow ? null
          : latest ? html`The last one ${lasting((now() - latest.at) / 1000)} ago: <b>${latest.fault}</b> by ${latest.proxy} / ${latest.rule ?? "hand"}.`
          : state.proxies.length ? "None was injected since this page has looked." : html`No proxy runs. <a href="#configuration">Write the first one</a>.`}</p>
    </div>
    <dl class="numbers">
      <div><dt>open</dt><dd>${count(open)}</dd></div>
      <div><dt>new/s</dt><dd>${perSecond(total("connections"))}</dd></div>
      <div><dt>bytes/s</dt><dd>${bytes(total("up") + total("down"))}</dd></div>
    </dl>
  </section>`;
}

/** What a screen reader is told, at most every ten seconds, and only if it changed. */
class Announcer extends Component {
  componentDidMount() {
    this.timer = setInterval(() => {
      const { count: recent, rules, outages } = happening();
      const text = state.lostSince ? "" : recent ? `${plural(recent, "fault")} in the last ten seconds, by ${rules.slice(0, NAMED).map(([name]) => name).join(", ")}`
        : outages.length ? `Outage: ${outages.map((one) => `${one.proxy}, ${one.rule}`).join("; ")}` : "No faults in the last ten seconds";
      if (text !== this.state.text) this.setState({ text });
    }, 10_000);
  }

  render(_, { text }) {
    return html`<p class="hidden" role="status" aria-live="polite">${text}</p>`;
  }
}

function Notes() {
  return html`<div class="notes" role="status" aria-live="polite">${state.notes.map((one) => html`<p key=${one.id} class=${one.isBad ? "bad" : ""}>${one.text}</p>`)}</div>`;
}

function Watch() {
  return html`<${Verdict} />
    <div class="watch">
      <div class="left">
        <section class="panel" aria-labelledby="timeline-title"><header><h2 id="timeline-title">The last five minutes</h2></header><${Timeline} /></section>
        ${state.proxies.length ? html`<${Proxies} />` : html`<section class="panel"><p class="empty">There is no proxy yet. <a href="#configuration">Write one</a>: where it listens, where it goes, and
          the rules by which it injects faults. Or from a shell: <code>faultproxy ctl config put FILE</code>.</p></section>`}
        <${Connections} />
      </div>
      <${Feed} />
    </div>`;
}

function App() {
  return html`<${Header} /><${Lost} />
    <main id="main" tabindex="-1" class=${state.lostSince ? "stale" : ""}>${state.view === "watch" ? html`<${Watch} />` : html`<h2 class="hidden">Configuration</h2><${Editor} />`}</main>
    ${state.story ? html`<${Story} key=${state.story} connection=${state.story} />` : null}
    <${Notes} /><${Announcer} />`;
}

function route() {
  const [name, rest] = location.hash.slice(1).split("/");
  state.story = name === "connection" && rest ? decodeURIComponent(rest) : null;
  if (name === "configuration") state.view = "configuration";
  else if (name !== "connection") state.view = "watch";
  changed();
}

theme();
window.addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
const root = document.getElementById("app");
root.replaceChildren();
drawWith(() => render(html`<${App} />`, root));
route();
poll();
listen();
setInterval(() => changed(false), 500); // clocks and windows move although nothing happens
