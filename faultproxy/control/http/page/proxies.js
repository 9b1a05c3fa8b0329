// The proxies: how each stands, its charts, and its rules in their order.

import { ask, segment } from "./api.js";
import { Chart } from "./charts.js";
import { copyMenu } from "./copy.js";
import { brief, bytes, count, flow, lasting, pairs, perSecond, plural, quantity } from "./format.js";
import { Component, html } from "./html.js";
import { Slider, knobsOf } from "./slider.js";
import { attempt, changed, now, proxyPath, rulePath, series, state } from "./store.js";

const CONNECTIONS = [{ key: "connections", name: "", color: "attempt" }];
const TRAFFIC = [{ key: "up", name: "up", color: "up" }, { key: "down", name: "down", color: "down" }];
const MANY = 8;
const SAYS = {
  open: "accepts clients", outage: "an outage: clients are refused", disabled: "disabled, like a stopped server",
  failed: "cannot listen: its address is taken", draining: "accepts no more clients",
};

export function Proxies() {
  const all = state.proxies;
  return html`<section class="proxies" aria-labelledby="proxies-title">
    <h2 id="proxies-title" class="hidden">Proxies</h2>
    ${all.map((proxy) => html`<${Proxy} key=${proxy.name} proxy=${proxy} isFolded=${isFolded(proxy.name, all.length)} />`)}
  </section>`;
}

function isFolded(name, howMany) {
  return state.folded.has(name) !== howMany > MANY;
}

function fold(name) {
  if (!state.folded.delete(name)) state.folded.add(name);
  changed();
}

/** A proxy; drawn again only if something changed, when it is folded: there may be hundreds. */
class Proxy extends Component {
  shouldComponentUpdate({ proxy, isFolded }) {
    const its = series.get(proxy.name);
    const shown = [isFolded, proxy.state, proxy.listen, proxy.upstream, proxy.open, its?.injected, state.status?.degraded.length,
      ...["connections", "up", "down"].map((key) => its?.[key].at(-1))].join();
    const isSame = isFolded && shown === this.shown;
    this.shown = shown;
    return !isSame;
  }

  render(props) {
    return shownProxy(props);
  }
}

function shownProxy({ proxy, isFolded: isClosed }) {
  const its = series.get(proxy.name);
  const last = (key) => its?.[key].at(-1) ?? 0;
  const id = `proxy-${segment(proxy.name)}`;
  const enable = (enabled) => attempt(
    () => ask("PATCH", proxyPath(proxy.name), { body: { enabled } }),
    enabled ? `${proxy.name} accepts clients again` : `${proxy.name} is disabled: connects are refused`,
  );
  return html`<article class=${`panel proxy ${proxy.state}`} aria-labelledby=${id}>
    <header>
      <button type="button" class="fold" aria-expanded=${!isClosed} aria-controls=${`${id}-body`} onClick=${() => fold(proxy.name)}>
        <span aria-hidden="true">${isClosed ? "▸" : "▾"}</span><span class="hidden">${isClosed ? "Show" : "Hide"} ${proxy.name}</span></button>
      <span class=${`state ${proxy.state}`} title=${SAYS[proxy.state]}>${proxy.state}</span>
      <h3 id=${id}>${proxy.name}</h3>
      <span class="way"><code>${proxy.listen}</code> <span aria-label="goes to">→</span> <code>${proxy.upstream}</code></span>
      <dl class="numbers">
        <div><dt>open</dt><dd>${count(proxy.open)}</dd></div>
        <div><dt>new/s</dt><dd>${perSecond(last("connections"))}</dd></div>
        <div><dt>bytes/s</dt><dd>${bytes(last("up") + last("down"))}</dd></div>
        <div class=${its?.injected ? "hot" : ""}><dt>faults/s</dt><dd>${perSecond(its?.injected ?? 0)}</dd></div>
      </dl>
      <button type="button" role="switch" class="switch" aria-checked=${proxy.state !== "disabled"} aria-label=${`${proxy.name} accepts clients`}
        title=${proxy.state === "disabled" ? "Enable it" : "Disable it: connects are refused, open connections are reset"}
        onClick=${() => enable(proxy.state === "disabled")}></button>
    </header>
    ${(state.status?.degraded ?? []).filter((one) => one.proxy === proxy.name).map((one) => html`<p class="warn" key=${one.reason}>
      <b>Degraded:</b> ${one.faults.join(", ")}. ${one.reason}</p>`)}
    <div id=${`${id}-body`} hidden=${isClosed}>${isClosed ? null : html`
      ${proxy.connections
        ? html`<div class="charts">
            <${Chart} title="connections/s" of=${its} lines=${CONNECTIONS} write=${perSecond} />
            <${Chart} title="bytes/s" of=${its} lines=${TRAFFIC} write=${bytes} />
          </div>`
        : html`<p class="empty">No client has come yet. Point yours at <code>${proxy.listen}</code> instead of <code>${proxy.upstream}</code>.</p>`}
      ${proxy.rules.length
        ? html`<ol class="rules" aria-label=${`Rules of ${proxy.name}, in the order in which they are read`}>
            ${proxy.rules.map((rule, index) => html`<${Rule} key=${rule.name} proxy=${proxy.name} rule=${rule} number=${index + 1} />`)}</ol>`
        : html`<p class="empty">It has no rules, so it changes nothing. <a href="#configuration">Add one</a>, such as
            <code>- {name: far away, latency: {delay: 100ms}}</code></p>`}`}
    </div>
  </article>`;
}

/** The rule without its name, as it would stand in YAML. */
function written(rule) {
  const { name, when, dry_run: _, expect: __, ...rest } = brief(rule);
  const faults = pairs(rest);
  return html`${when && Object.keys(when).length ? html`<span class="when">when ${flow(when)}</span> ` : null}<span class="does">${faults}</span>`;
}

function Rule({ proxy, rule, number }) {
  const { rule: mapping } = rule;
  const put = (changes) => ask("PUT", rulePath(proxy, rule.name), { body: { ...mapping, ...changes } });
  const isDry = Boolean(mapping.dry_run);
  const turn = () => attempt(() => put({ dry_run: !isDry }), isDry ? `${rule.name}: carried out` : `${rule.name}: dry run, only counted and logged`);
  const label = `rule-${segment(proxy)}-${number}`;
  return html`<li class=${`rule ${isDry ? "dry" : ""} ${rule.injected ? "struck" : ""}`} aria-labelledby=${label}>
    <button type="button" role="switch" class="switch" aria-checked=${!isDry} aria-label=${`${rule.name} is carried out`}
      title=${isDry ? "A dry run: counted and logged, not carried out" : "Carried out. Off: a dry run, only counted and logged"} onClick=${turn}></button>
    <div class="is"><b id=${label}><i>${number}</i> ${rule.name}${isDry ? html` <i class="badge">dry run</i>` : null}</b> <code>${written(mapping)}</code></div>
    <dl class="numbers">
      <div><dt>considered</dt><dd>${count(rule.considered)}</dd></div>
      <div><dt>matched</dt><dd>${count(rule.matched)}</dd></div>
      <div class=${rule.injected ? "hot" : ""}><dt>${isDry ? "would inject" : "injected"}</dt><dd>${count(isDry ? rule.dry_runs : rule.injected)}</dd></div>
    </dl>
    <div class="extras">
      ${rule.expect ? html`<${Expect} injected=${rule.injected} expect=${rule.expect} />` : null}
      ${mapping.when?.window ? html`<${Strip} window=${mapping.when.window} live=${rule.window} />` : null}
      ${knobsOf(mapping).map((knob) => html`<${Slider} key=${knob.fault} knob=${knob} mapping=${mapping} proxy=${proxy} put=${put} />`)}
    </div>
    ${copyMenu(proxy, mapping)}
  </li>`;
}

function Expect({ injected, expect: { min, max } }) {
  const bounds = [min != null ? `at least ${min}` : "", max != null ? `at most ${max}` : ""].filter(Boolean).join(", ");
  if (max != null && injected > max) return html`<span class="expect badge bad">✗ more than expected (${bounds})</span>`;
  if (min != null && injected < min) return html`<span class="expect badge warn">… ${plural(min - injected, "fault")} to go (${bounds})</span>`;
  return html`<span class="expect badge good">✓ as expected (${bounds})</span>`;
}

/** A window as a strip of time: where it is open, and now. live: {elapsed_s, is_open, next_edge_s, at}. */
function Strip({ window: { from = "0s", to, every }, live }) {
  const start = quantity(from);
  const end = to ? quantity(to) : every ? quantity(every) : Infinity;
  const length = every ? quantity(every) : Math.min(end, start * 2 || 60) * 1.2;
  const since = live ? live.elapsed_s + (now() - live.at) / 1000 : 0;
  const at = every ? since % length : Math.min(since, length);
  const edge = live?.next_edge_s == null ? null : Math.max(0, live.next_edge_s - (now() - live.at) / 1000);
  const isOpen = at >= start && at < end;
  const says = `${isOpen ? "open" : "closed"}${edge === null ? (isOpen ? " from now on" : " for good") : `, ${isOpen ? "closes" : "opens"} in ${edge < 1 ? "a moment" : lasting(Math.ceil(edge))}`}`;
  const percent = (seconds) => `${Math.min(100, (seconds / length) * 100).toFixed(2)}%`;
  const name = `from ${from} ${to ? `to ${to}` : "on"}${every ? ` of every ${every}` : ""}`;
  return html`<div class="window">
    <div class=${`strip ${isOpen ? "is-open" : ""}`} role="img" aria-label=${`Window ${name}: ${says}`} title=${name}>
      <i class="opening" style=${{ left: percent(start), width: percent(Math.min(end, length) - start) }}></i>
      <i class="now" style=${{ left: percent(at) }}></i>
    </div><span>${says}</span></div>`;
}
